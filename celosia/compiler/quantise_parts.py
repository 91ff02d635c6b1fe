"""Parts of a quantised model, as the quantiser makes them and the layout takes them."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from celosia.compiler.graph import Encoder
from celosia.compiler.quantise import QuantisedLinear, QuantisedNorm
from celosia.golden.fixed import IntArray

__all__ = [
    "QuantisedAttention",
    "QuantisedBlock",
    "QuantisedEncoder",
    "QuantisedFeedForward",
    "QuantisedNorms",
]


@dataclass(frozen=True, eq=False)
class QuantisedAttention:
    """The attention of one block; `multiplier / 2**shift` takes scores to base-2 logits."""

    heads: int
    head_dim: int
    q: QuantisedLinear
    k: QuantisedLinear
    v: QuantisedLinear
    o: QuantisedLinear
    multiplier: int
    shift: int


@dataclass(frozen=True, eq=False)
class QuantisedFeedForward:
    """The feed-forward half of one block; `table` is (256, 2) of value and slope."""

    up: QuantisedLinear
    table: IntArray
    down: QuantisedLinear


@dataclass(frozen=True, eq=False)
class QuantisedNorms:
    """What is normed after a sum.

    Attributes
    ----------
    source : QuantisedNorm or None
        What the next product reads; without it, that is the residual stream itself.
    stream : QuantisedNorm or None
        What the residual stream becomes, where a model norms that.
    chained : bool
        `source` norms the result of `stream`, not the sum.
    """

    source: QuantisedNorm | None = None
    stream: QuantisedNorm | None = None
    chained: bool = False


@dataclass(frozen=True, eq=False)
class QuantisedBlock:
    """One block: both halves, and the norms behind the sum of each."""

    attention: QuantisedAttention
    after_attention: QuantisedNorms
    ffn: QuantisedFeedForward
    after_ffn: QuantisedNorms


@dataclass(frozen=True, eq=False)
class QuantisedEncoder:
    """A model in integers, for any machine whose accumulators it was checked against.

    Attributes
    ----------
    encoder : Encoder
        The float model.
    input_scale : float
        Real value of one step of the rows that the host writes.
    patch : QuantisedLinear or None
        Projection of patches; `offsets` (tokens, hidden) int16 are added to it.
    embedding : QuantisedNorms
        Norms behind the embedding.
    output_scale : float
        Real value of one step of the final rows.
    report : list of dict
        One entry per layer: scales, error of the weights, use of the accumulators.
    """

    encoder: Encoder
    input_scale: float
    patch: QuantisedLinear | None
    offsets: NDArray[np.int16] | None
    embedding: QuantisedNorms
    blocks: tuple[QuantisedBlock, ...]
    final_norm: QuantisedNorm | None
    head: QuantisedLinear | None
    output_scale: float
    report: list[dict[str, Any]] = field(default_factory=list)
