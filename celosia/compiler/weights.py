"""Rounds the matrices of a model, each to the format that it was given."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from celosia.compiler.graph import Linear
from celosia.compiler.hessians import Moments
from celosia.compiler.layout_tiles import TiledFormat
from celosia.compiler.pruning import prune_blocks
from celosia.compiler.quantise import quantise_weights
from celosia.compiler.rounding import round_weights
from celosia.compiler.weight_format import RoundedWeights, WeightFormat
from celosia.config import MachineConfig

__all__ = ["NEAREST", "WeightRounder"]


@dataclass(frozen=True, eq=False)
class WeightRounder:
    """Formats of a model's matrices, and what is known of the rows that they multiply.

    Attributes
    ----------
    formats : mapping of str to WeightFormat
        By name, such as "block0.down"; int8 and dense for those not named.
    moments : mapping of str to Moments
        Of all named ones.
    config : MachineConfig or None
        The machine; None if all are int8 and dense.
    """

    formats: Mapping[str, WeightFormat] = field(default_factory=dict)
    moments: Mapping[str, Moments] = field(default_factory=dict)
    config: MachineConfig | None = None

    def format(self, key: str) -> WeightFormat:
        """Return the format of a matrix."""
        return self.formats.get(key, WeightFormat())

    def outliers(
        self, key: str, factors: NDArray[np.floating] | None = None
    ) -> NDArray[np.bool_] | None:
        """Return the inputs of a matrix that are to keep 16 bits, if there are any.

        Source: LLM.int8(), whose threshold for rows of unit scale is 6.
        """
        times = self.format(key).outliers
        if not times:
            return None
        peak = self.moments[key].peak
        peak = peak if factors is None else peak / np.abs(factors)
        found = peak > times * np.median(peak)
        return found if found.any() else None

    def round(
        self, key: str, linear: Linear, factors: NDArray[np.floating] | None = None
    ) -> RoundedWeights:
        """Round a matrix, whose columns have been multiplied by `factors`.

        The order and the scales of its channels need not be those of the model.
        """
        format = self.format(key)
        if format == WeightFormat():
            values, scale = quantise_weights(linear.weight)
            ones = np.ones((len(values), 1), np.int64)
            return RoundedWeights(values.astype(np.int64), ones, scale)
        assert self.config is not None, "formats are those of a machine"
        moments = self.moments[key]
        if factors is not None:
            moments = moments.divided(factors)
        # Channels that share a column also share the pattern of their sparsity.
        pair = 0 if format.code == "int8" else self.config.columns
        kept = None
        if format.blocks:
            block = TiledFormat(self.config, format, linear.inputs).block
            _, kept = prune_blocks(linear.weight, moments.second, block, format.blocks)
        return round_weights(linear.weight, format, moments.second, pair=pair, kept=kept)


#: All matrices int8, each weight rounded to the nearest.
NEAREST = WeightRounder()
