"""Quantises a whole encoder: which tensor has which scale, and why."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from celosia.compiler.calibrate import Calibration
from celosia.compiler.graph import (
    Attention,
    Block,
    Encoder,
    FeedForward,
    Linear,
    Norm,
    PatchEmbedding,
)
from celosia.compiler.quantise import (
    ACTIVATION_LIMIT,
    QuantisedLinear,
    QuantisedNorm,
    check_accumulators,
    dyadic,
    linear_floor,
    norm_floor,
    quantise_linear,
    quantise_norm,
    quantise_rows,
    residual_shift,
)
from celosia.compiler.quantise_parts import (
    QuantisedAttention,
    QuantisedBlock,
    QuantisedEncoder,
    QuantisedFeedForward,
    QuantisedNorms,
)
from celosia.compiler.quantise_smooth import smooth, smooth_scale, smoothed_linear, smoothed_norm
from celosia.compiler.recipe import describe
from celosia.compiler.weights import NEAREST, WeightRounder
from celosia.config import MachineConfig
from celosia.errors import ModelError
from celosia.golden.activation import make_table

__all__ = ["quantise_encoder"]

#: Fraction bits of a base-2 logit.
LOGIT_FRACTION = 64
#: The shift of the logits has the exponents of Q and K taken off.
LOGIT_SHIFT = 16


@dataclass(frozen=True, eq=False)
class _Sum:
    """A sum and its norms: what they are called, and which reads it.

    Attributes
    ----------
    source, stream : (str, Norm) or None
        Name of the result in the calibration and the norm; as in `QuantisedNorms`.
    parts : tuple of Linear
        Products that read the source.
    final : Norm or None
        The final norm, if that reads the sum.
    """

    source: tuple[str, Norm] | None
    stream: tuple[str, Norm] | None
    parts: tuple[Linear, ...]
    final: Norm | None = None

    @property
    def chained(self) -> bool:
        """Whether the source is a norm of its own behind that of the stream."""
        return bool(self.source and self.stream and self.source[1] is not self.stream[1])

    @property
    def floor(self) -> float:
        """Least scale of the sum."""
        norms = [self.stream[1]] if self.stream else []
        if not self.chained:
            norms += [self.source[1]] if self.source else []
            norms += [self.final] if self.final and not self.stream else []
        return max((norm_floor(norm) for norm in norms), default=0.0)


class _Quantiser:
    """Walks the encoder in the order of execution.

    `stream` is the scale of the residual stream, `source` that of what the next product reads,
    and `factors` are what its columns were divided by.
    """

    def __init__(
        self,
        encoder: Encoder,
        ranges: Calibration,
        config: MachineConfig,
        rounder: WeightRounder,
    ) -> None:
        self.encoder, self.ranges, self.config = encoder, ranges, config
        self.rounder = rounder
        self.report: list[dict[str, Any]] = []
        self.stream = self.source = 1.0
        self.factors: NDArray[np.float64] | None = None

    def linear(
        self,
        key: str,
        part: Linear,
        in_scale: float,
        out_scale: float,
        r_shift: int = 0,
        factors: NDArray[np.float64] | None = None,
    ) -> QuantisedLinear:
        """Quantise one matrix and note how well that went.

        `key` is its name in the model; its columns have been multiplied by `factors`.
        """
        format = self.rounder.format(key)
        if format.outliers:
            raise ModelError(
                f"{part.name}: outliers are for language models; an encoder's norms even out "
                "their columns instead"
            )
        rounded = self.rounder.round(key, part, factors)
        found = quantise_linear(
            part,
            in_scale,
            out_scale,
            self.config,
            r_shift=r_shift,
            rounded=rounded,
            format=format,
        )
        error = np.linalg.norm(found.real - part.weight)
        self.report.append({
            "layer": part.name,
            "name": key,
            "format": describe(format),
            "bytes": found.stored(self.config).bytes,
            "in_scale": in_scale,
            "out_scale": out_scale,
            "weight_error": float(error / max(np.linalg.norm(part.weight), 1e-30)),
            "accumulator_use": found.bound,
        })
        return found

    def norm(self, named: tuple[str, Norm], floor: float = 0.0) -> QuantisedNorm:
        """Quantise a norm whose result is exact to int16: the stream, or the last."""
        name, part = named
        floor = max(floor, float(np.abs(part.beta).max()) / 32767)
        scale = max(self.ranges.needed(name), floor)
        return self._noted(quantise_norm(part, self.stream, scale))

    def smoothed(self, named: tuple[str, Norm], parts: tuple[Linear, ...]) -> QuantisedNorm:
        """Quantise a norm whose result `parts` read, its columns evened out for them."""
        name, part = named
        self.factors = smooth(name, self.ranges, parts)
        part = smoothed_norm(part, self.factors)
        scale = smooth_scale(name, self.ranges, self.factors, float(np.abs(part.beta).max()))
        return self._noted(quantise_norm(part, self.stream, scale))

    def _noted(self, norm: QuantisedNorm) -> QuantisedNorm:
        self.report.append({
            "layer": norm.name,
            "in_scale": norm.in_scale,
            "out_scale": norm.out_scale,
        })
        return norm

    def norms(self, after: _Sum) -> QuantisedNorms:
        """Quantise the norms behind a sum, and take their scales over."""
        # In the order of execution, but for a source that reads the sum: it must come first.
        early = None
        if after.source and not after.chained:
            early = self.smoothed(after.source, after.parts)
        stream = None
        if after.stream:
            readers = [after.source[1]] if after.source and after.chained else []
            readers += [after.final] if after.final else []
            stream = self.norm(after.stream, max(map(norm_floor, readers), default=0.0))
            self.stream = stream.out_scale
        late = self.smoothed(after.source, after.parts) if after.source and after.chained else None
        source = early or late
        self.source = source.out_scale if source else self.stream
        if source is None:
            self.factors = None
        return QuantisedNorms(source, stream, after.chained)

    def projected(
        self, key: str, part: Linear, name: str, in_scale: float, *, plain: bool = False
    ) -> QuantisedLinear:
        """Quantise a matrix whose result has a scale of its own, and that reads the source."""
        factors = None if key in ("head", "patch") else self.factors
        part = part if factors is None else smoothed_linear(part, factors)
        floor = linear_floor(part, in_scale)
        scale = max(self.ranges.needed(name), floor)
        scale = scale if plain else self.ranges.scale(name, floor)
        return self.linear(key, part, in_scale, scale, factors=factors)

    def summed(
        self, key: str, part: Linear, name: str, in_scale: float, after: _Sum
    ) -> QuantisedLinear:
        """Quantise a matrix that is added to the residual stream, and take its scale over."""
        needed = max(self.ranges.needed(name), linear_floor(part, in_scale), after.floor)
        r_shift = residual_shift(self.stream, needed)
        self.stream *= 2**r_shift
        return self.linear(key, part, in_scale, self.stream, r_shift)

    def attention(self, part: Attention, name: str, after: _Sum) -> QuantisedAttention:
        q, k, v = (
            self.projected(f"{name}.{what}", getattr(part, what), f"{name}.{what}", self.source)
            for what in "qkv"
        )
        worst = part.head_dim * ACTIVATION_LIMIT**2
        check_accumulators(f"{part.q.name}, scores", part.head_dim, worst, self.config)
        factor = q.out_scale * k.out_scale / math.sqrt(part.head_dim) * LOGIT_FRACTION
        multiplier, shift = (int(x) for x in dyadic(factor / math.log(2)))
        if shift < LOGIT_SHIFT:
            raise ModelError(
                f"{part.q.name}: attention logits may reach "
                f"{self.ranges.largest(f'{name}.q') * self.ranges.largest(f'{name}.k'):.3g}, more "
                "than the machine can tell apart; check the weights or the calibration inputs"
            )
        o = self.summed(f"{name}.o", part.o, f"{name}.attention.sum", v.out_scale, after)
        return QuantisedAttention(part.heads, part.head_dim, q, k, v, o, multiplier, shift)

    def feed_forward(self, part: FeedForward, name: str, after: _Sum) -> QuantisedFeedForward:
        up = self.projected(f"{name}.up", part.up, f"{name}.ffn.up", self.source, plain=True)
        scale = self.ranges.scale(f"{name}.ffn.act")
        table = np.stack(make_table(part.activation, up.out_scale, scale), axis=1)
        down = self.summed(f"{name}.down", part.down, f"{name}.ffn.sum", scale, after)
        return QuantisedFeedForward(up, table, down)

    def block(self, part: Block, index: int) -> QuantisedBlock:
        """Quantise one block."""
        name, pre = f"block{index}", part.order == "pre"
        norm1, norm2 = (f"{name}.norm1", part.norm1), (f"{name}.norm2", part.norm2)
        inner = _Sum(norm2 if pre else norm1, None if pre else norm1, (part.ffn.up,))
        outer = self.into(index + 1, None if pre else norm2)
        attention = self.attention(part.attention, name, inner)
        after_attention = self.norms(inner)
        ffn = self.feed_forward(part.ffn, name, outer)
        return QuantisedBlock(attention, after_attention, ffn, self.norms(outer))

    def into(self, index: int, stream: tuple[str, Norm] | None) -> _Sum:
        """Describe the sum in front of block `index`, whose norm `stream` the model has."""
        if index == len(self.encoder.blocks):
            return _Sum(None, stream, (), self.encoder.final_norm)
        block = self.encoder.blocks[index]
        parts = (block.attention.q, block.attention.k, block.attention.v)
        source = (f"block{index}.norm1", block.norm1) if block.order == "pre" else stream
        return _Sum(source, stream, parts)

    def embedding(self) -> tuple[float, QuantisedLinear | None, NDArray[np.int16] | None, _Sum]:
        """Quantise the embedding; return input scale, projection, offsets, and what follows."""
        encoder, ranges = self.encoder, self.ranges
        norm = encoder.embedding_norm
        after = self.into(0, ("embedding.norm", norm) if norm else None)
        floor = after.floor
        if not isinstance(encoder.embedding, PatchEmbedding):
            self.stream = max(ranges.needed("embedding.sum"), floor)
            return self.stream, None, None, after
        source = encoder.embedding
        input_scale = ranges.scale("embedding.rows")
        bare = Linear(name=source.projection.name, weight=source.projection.weight)
        floor = max(floor, linear_floor(bare, input_scale))
        floor = max(floor, float(np.abs(source.offsets).max()) / 32767)
        self.stream = max(ranges.needed("embedding.sum"), floor)
        patch = self.linear("patch", bare, input_scale, self.stream)
        return input_scale, patch, quantise_rows(source.offsets, self.stream), after

    def run(self) -> QuantisedEncoder:
        encoder = self.encoder
        input_scale, patch, offsets, after = self.embedding()
        embedding = self.norms(after)
        blocks = tuple(self.block(part, index) for index, part in enumerate(encoder.blocks))
        final_norm = head = None
        if encoder.final_norm is not None:
            final_norm = self.norm(("final_norm", encoder.final_norm))
            self.stream = final_norm.out_scale
        if encoder.head is not None:
            head = self.projected("head", encoder.head, "head", self.stream, plain=True)
        return QuantisedEncoder(
            encoder,
            input_scale,
            patch,
            offsets,
            embedding,
            blocks,
            final_norm,
            head,
            self.stream,
            self.report,
        )


def quantise_encoder(
    encoder: Encoder,
    ranges: Calibration,
    config: MachineConfig,
    rounder: WeightRounder = NEAREST,
) -> QuantisedEncoder:
    """Quantise a model by the ranges of its activations, its weights as `rounder` says.

    Only the accumulators' width of `config` takes part, in a check.

    Raises
    ------
    ModelError
        If a layer does not suit the machine's numbers; the message names it.
    """
    return _Quantiser(encoder, ranges, config, rounder).run()
