"""Quantises a whole encoder: which tensor has which scale, and why."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from celosia.compiler.calibrate import Calibration
from celosia.compiler.graph import Attention, Block, Encoder, Linear, Norm, PatchEmbedding
from celosia.compiler.quantise import (
    QuantisedLinear,
    QuantisedNorm,
    bias_floor,
    dyadic,
    linear_floor,
    norm_floor,
    quantise_linear,
    quantise_norm,
    quantise_rows,
    residual_shift,
)
from celosia.config import MachineConfig
from celosia.errors import ModelError
from celosia.golden.activation import make_table
from celosia.golden.fixed import IntArray

__all__ = [
    "QuantisedAttention",
    "QuantisedBlock",
    "QuantisedEncoder",
    "QuantisedFeedForward",
    "quantise_encoder",
]

#: Fraction bits of a base-2 logit.
LOGIT_FRACTION = 64
#: The shift of the logits has the exponents of Q and K taken off.
LOGIT_SHIFT = 16


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
class QuantisedBlock:
    """One block; `pre` says whether its norms come first."""

    pre: bool
    attention: QuantisedAttention
    ffn: QuantisedFeedForward
    norm1: QuantisedNorm
    norm2: QuantisedNorm


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
    output_scale : float
        Real value of one step of the final rows.
    report : list of dict
        One entry per layer: scales, error of the weights, use of the accumulators.
    """

    encoder: Encoder
    input_scale: float
    patch: QuantisedLinear | None
    offsets: NDArray[np.int16] | None
    embedding_norm: QuantisedNorm | None
    blocks: tuple[QuantisedBlock, ...]
    final_norm: QuantisedNorm | None
    head: QuantisedLinear | None
    output_scale: float
    report: list[dict[str, Any]] = field(default_factory=list)


class _Quantiser:
    """Walks the encoder in the order of execution, `scale` being that of the residual stream."""

    def __init__(self, encoder: Encoder, ranges: Calibration, config: MachineConfig) -> None:
        self.encoder, self.ranges, self.config = encoder, ranges, config
        self.report: list[dict[str, Any]] = []

    def linear(self, part: Linear, in_scale: float, out_scale: float, r_shift: int = 0):
        """Quantise one matrix and note how well that went."""
        found = quantise_linear(part, in_scale, out_scale, self.config, r_shift=r_shift)
        scale = np.abs(part.weight).max(axis=1, keepdims=True) / 127
        error = np.linalg.norm(found.weight * scale - part.weight)
        self.report.append({
            "layer": part.name,
            "in_scale": in_scale,
            "out_scale": out_scale,
            "weight_error": float(error / max(np.linalg.norm(part.weight), 1e-30)),
            "accumulator_use": found.bound,
        })
        return found

    def norm(self, part: Norm, name: str, in_scale: float, *, plain: bool = False):
        """Quantise one norm; `plain` if no array reads its result."""
        floor = float(np.abs(part.beta).max()) / 32767
        scale = max(self.ranges.needed(name), floor)
        if not plain:
            scale = self.ranges.scale(name, floor)
        found = quantise_norm(part, in_scale, scale)
        self.report.append({"layer": part.name, "in_scale": in_scale, "out_scale": scale})
        return found

    def projected(self, part: Linear, name: str, in_scale: float, *, plain: bool = False):
        """Quantise a matrix whose result has a scale of its own."""
        floor = linear_floor(part, in_scale)
        scale = max(self.ranges.needed(name), floor)
        return self.linear(part, in_scale, scale if plain else self.ranges.scale(name, floor))

    def summed(self, part: Linear, name: str, in_scale: float, residual: float, norm: Norm | None):
        """Quantise a matrix that a residual is added to, and which `norm` may read."""
        needed = max(self.ranges.needed(name), linear_floor(part, in_scale))
        needed = max(needed, norm_floor(norm)) if norm else needed
        r_shift = residual_shift(residual, needed)
        return self.linear(part, in_scale, residual * 2**r_shift, r_shift)

    def attention(self, part: Attention, name: str, in_scale: float, residual: float, norm):
        q, k, v = (self.projected(getattr(part, w), f"{name}.{w}", in_scale) for w in "qkv")
        factor = q.out_scale * k.out_scale / math.sqrt(part.head_dim) * LOGIT_FRACTION
        multiplier, shift = (int(x) for x in dyadic(factor / math.log(2)))
        if shift < LOGIT_SHIFT:
            raise ModelError(
                f"{part.q.name}: attention logits may reach "
                f"{self.ranges.largest(f'{name}.q') * self.ranges.largest(f'{name}.k'):.3g}, more "
                "than the machine can tell apart; check the weights or the calibration inputs"
            )
        o = self.summed(part.o, f"{name}.attention.sum", v.out_scale, residual, norm)
        return QuantisedAttention(part.heads, part.head_dim, q, k, v, o, multiplier, shift)

    def feed_forward(self, part, name: str, in_scale: float, residual: float, norm):
        up = self.projected(part.up, f"{name}.ffn.up", in_scale, plain=True)
        scale = self.ranges.scale(f"{name}.ffn.act")
        table = np.stack(make_table(part.activation, up.out_scale, scale), axis=1)
        down = self.summed(part.down, f"{name}.ffn.sum", scale, residual, norm)
        return QuantisedFeedForward(up, table, down)

    def block(self, part: Block, index: int, scale: float, after: Norm | None):
        """Quantise one block; `after` reads its sum, if the block does not norm it itself."""
        name, pre = f"block{index}", part.order == "pre"
        if pre:
            norm1 = self.norm(part.norm1, f"{name}.norm1", scale)
            attention = self.attention(part.attention, name, norm1.out_scale, scale, part.norm2)
            norm2 = self.norm(part.norm2, f"{name}.norm2", attention.o.out_scale)
            ffn = self.feed_forward(part.ffn, name, norm2.out_scale, attention.o.out_scale, after)
            return QuantisedBlock(pre, attention, ffn, norm1, norm2), ffn.down.out_scale
        attention = self.attention(part.attention, name, scale, scale, part.norm1)
        norm1 = self.norm(part.norm1, f"{name}.norm1", attention.o.out_scale)
        ffn = self.feed_forward(part.ffn, name, norm1.out_scale, norm1.out_scale, part.norm2)
        norm2 = self.norm(part.norm2, f"{name}.norm2", ffn.down.out_scale)
        return QuantisedBlock(pre, attention, ffn, norm1, norm2), norm2.out_scale

    def first_norm(self) -> Norm | None:
        """Return the norm that reads the embedded rows."""
        first = self.encoder.blocks[0]
        return self.encoder.embedding_norm or (first.norm1 if first.order == "pre" else None)

    def embedding(self):
        """Quantise the embedding; the last result is the scale of the rows behind it."""
        encoder, ranges = self.encoder, self.ranges
        norm = self.first_norm()
        floor = norm_floor(norm) if norm else 0.0
        patch = offsets = None
        if isinstance(encoder.embedding, PatchEmbedding):
            source = encoder.embedding
            input_scale = ranges.scale("embedding.rows")
            bare = Linear(name=source.projection.name, weight=source.projection.weight)
            floor = max(floor, linear_floor(bare, input_scale), bias_floor(source.projection))
            floor = max(floor, float(np.abs(source.offsets).max()) / 32767)
            scale = ranges.scale("embedding.sum", floor)
            patch = self.linear(bare, input_scale, scale)
            offsets = quantise_rows(source.offsets, scale)
        else:
            input_scale = scale = ranges.scale("embedding.sum", floor)
        embedding_norm = None
        if encoder.embedding_norm is not None:
            embedding_norm = self.norm(encoder.embedding_norm, "embedding.norm", scale)
            scale = embedding_norm.out_scale
        return input_scale, patch, offsets, embedding_norm, scale

    def run(self) -> QuantisedEncoder:
        encoder = self.encoder
        input_scale, patch, offsets, embedding_norm, scale = self.embedding()
        blocks = []
        for index, part in enumerate(encoder.blocks):
            following = encoder.blocks[index + 1] if part is not encoder.blocks[-1] else None
            after = encoder.final_norm
            if following is not None:
                after = following.norm1 if following.order == "pre" else None
            block, scale = self.block(part, index, scale, after)
            blocks.append(block)
        final_norm = head = None
        if encoder.final_norm is not None:
            final_norm = self.norm(encoder.final_norm, "final_norm", scale)
            scale = final_norm.out_scale
        if encoder.head is not None:
            head = self.projected(encoder.head, "head", scale, plain=True)
        return QuantisedEncoder(
            encoder,
            input_scale,
            patch,
            offsets,
            embedding_norm,
            tuple(blocks),
            final_norm,
            head,
            scale,
            self.report,
        )


def quantise_encoder(
    encoder: Encoder, ranges: Calibration, config: MachineConfig
) -> QuantisedEncoder:
    """Quantise a model by the ranges of its activations.

    Only the accumulators' width of `config` takes part, in a check.

    Raises
    ------
    ModelError
        If a layer does not suit the machine's numbers; the message names it.
    """
    return _Quantiser(encoder, ranges, config).run()
