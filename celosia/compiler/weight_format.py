"""How the weights of a layer are stored: number format, groups that share a scale, sparsity."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from celosia.golden.fixed import IntArray

__all__ = ["CODES", "RoundedWeights", "WeightFormat"]

#: Bits of a weight in memory, and the integers that it can stand for, by name of the format.
#: Ternary weights are stored as int4; FP4 (E2M1) stands for twice its value.
CODES: dict[str, tuple[int, tuple[int, ...]]] = {
    "int8": (8, tuple(range(-127, 128))),
    "int4": (4, tuple(range(-8, 8))),
    "fp4": (4, (-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12)),
    "ternary": (4, (-1, 0, 1)),
}


@dataclass(frozen=True)
class WeightFormat:
    """How the weights of one layer are stored.

    Attributes
    ----------
    code : str
        Number format, a key of `CODES`.
    group : int
        Consecutive inputs that share a scale; 0 if all inputs of a channel do.
    sparsity : (int, int)
        N weights of every M consecutive inputs are kept, the others are 0; (1, 1) is dense.
    outliers : float
        Inputs that reach so many times the median input's peak keep 16 bits (LLM.int8); 0 if none
        do.
    blocks : float
        Share of the blocks of weights that are 0: of the channels of a tile, and inputs of a run.
    """

    code: str = "int8"
    group: int = 0
    sparsity: tuple[int, int] = (1, 1)
    blocks: float = 0.0
    outliers: float = 0.0


@dataclass(frozen=True, eq=False)
class RoundedWeights:
    """A matrix as integers: about `scale · group_scale · values`.

    Attributes
    ----------
    values : (out, in) int64
        Integers of the format, 0 where sparsity has dropped a weight.
    group_scale : (out, groups) int64
        1 to 255, one for each group of inputs; all 1 without groups.
    scale : (out,) float64
        Real value of one step of a channel.
    """

    values: IntArray
    group_scale: IntArray
    scale: NDArray[np.float64]

    def real(self, group: int) -> NDArray[np.float64]:
        """Return the weights that the integers stand for."""
        return self.scale[:, np.newaxis] * self.whole(group)

    def whole(self, group: int) -> IntArray:
        """Return the integers times the scales of their groups."""
        inputs = self.values.shape[1]
        return np.repeat(self.group_scale, group or inputs, axis=1)[:, :inputs] * self.values
