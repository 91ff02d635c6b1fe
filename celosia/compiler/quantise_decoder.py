"""Quantises a decoder: which tensor has which scale, and which products keep 16 bits.

The residual stream is int16, its scale growing by powers of two. Keys and values are int8 with
static scales, one for each pair of channels that RoPE turns and one for each channel: they stay in
the cache. Queries take the pairs' scales of their keys. RoPE turns adjacent pairs of lanes; a model
that pairs the halves of a head has the channels of its Q and K reordered, which no score sees.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from celosia.compiler.calibrate import HEADROOM, best_scale
from celosia.compiler.calibrate_decoder import DecoderCalibration
from celosia.compiler.decoder import Decoder, DecoderBlock, GroupedAttention, RmsNorm
from celosia.compiler.graph import Linear, Norm
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
    residual_shift,
)
from celosia.compiler.recipe import describe
from celosia.compiler.weight_format import WeightFormat
from celosia.compiler.weights import NEAREST, WeightRounder
from celosia.config import MachineConfig
from celosia.errors import ModelError
from celosia.golden.activation import make_table
from celosia.golden.fixed import IntArray

__all__ = [
    "CONTEXT_SHIFT",
    "KEY_SHIFT",
    "ROPE_FRACTION",
    "WIDE_ACCUMULATORS",
    "QuantisedDecoder",
    "QuantisedDecoderBlock",
    "QuantisedProduct",
    "quantise_decoder",
    "rope_rows",
]

#: Largest int8 and int16.
LIMIT8, LIMIT16 = 127, 32767
#: Fraction bits of cosine and sine.
ROPE_FRACTION = 14
#: Bits that a key has below its int8, until it has been turned.
KEY_SHIFT = 7
#: Bits that the output of attention has below the values' int8.
CONTEXT_SHIFT = 7
#: What keys and values that were not in the samples may exceed them by.
CACHE_HEADROOM = 1.0
#: Fraction bits of a base-2 logit.
LOGIT_FRACTION = 64
#: Least shift of the logits where queries have exponents.
LOGIT_SHIFT = 8
#: Accumulators that streamed rows of 16 bits need.
WIDE_ACCUMULATORS = 32
#: Largest shift of a MULTIPLY.
MAX_PRODUCT_SHIFT = 31


@dataclass(frozen=True, eq=False)
class QuantisedProduct:
    """A matrix; with `rest`, what its weights lack of more bits is a second one, added to it.

    Attributes
    ----------
    main : QuantisedLinear
        Weights of 8 bits.
    rest : QuantisedLinear or None
        What they lack, in steps 1/254 as large.
    wide : bool
        The rows that stream keep 16 bits (A16), else 8 and an exponent (A8).
    outliers : (in,) bool or None
        Inputs that keep 16 bits, where the others have 8: the weights of these are in `rest`.
    """

    main: QuantisedLinear
    rest: QuantisedLinear | None
    wide: bool
    outliers: NDArray[np.bool_] | None = None


@dataclass(frozen=True, eq=False)
class QuantisedDecoderBlock:
    """One layer.

    Attributes
    ----------
    wide_scores : bool
        Queries keep their 16 bits in the scores.
    logits : tuple of (int, int)
        For each head of K multiplier and shift, from scores to base-2 logits.
    table : (256, 2) int64
        Value and slope of the gate's activation.
    product_shift : int
        Right shift of gate times up.
    """

    norm1: QuantisedNorm
    q: QuantisedProduct
    k: QuantisedProduct
    v: QuantisedProduct
    wide_scores: bool
    logits: tuple[tuple[int, int], ...]
    o: QuantisedProduct
    norm2: QuantisedNorm
    gate: QuantisedProduct
    table: IntArray
    up: QuantisedProduct
    product_shift: int
    down: QuantisedProduct


@dataclass(frozen=True, eq=False)
class QuantisedDecoder:
    """A decoder in integers.

    Attributes
    ----------
    decoder : Decoder
        The float model.
    input_scale, logit_scale : float
        Real value of one step of the rows that the host writes, and of a logit.
    report : list of dict
        One entry per matrix: precision and why, error of the weights, use of the accumulators.
    """

    decoder: Decoder
    input_scale: float
    blocks: tuple[QuantisedDecoderBlock, ...]
    final_norm: QuantisedNorm
    head: QuantisedProduct
    logit_scale: float
    report: list[dict[str, Any]] = field(default_factory=list)


def rope_rows(decoder: Decoder, head_dim: int) -> NDArray[np.int16]:
    """Return cosine and sine of every position, interleaved: (context, head_dim) int16."""
    angles = decoder.rope.angles(np.arange(decoder.context), head_dim)
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=-1).reshape(decoder.context, head_dim)
    return np.rint(rows * (1 << ROPE_FRACTION)).astype(np.int16)


def paired(linear: Linear, heads: int, layout: str) -> Linear:
    """Return Q or K with the elements that RoPE pairs beside each other."""
    if layout == "adjacent":
        return linear

    bias = None if linear.bias is None else paired_values(linear.bias, heads, layout)
    weight = np.ascontiguousarray(paired_values(linear.weight.T, heads, layout).T)
    return replace(linear, weight=weight, bias=bias)


def paired_values(values: NDArray, heads: int, layout: str) -> NDArray:
    """Return rows (..., heads * head_dim) with the elements that RoPE pairs beside each other."""
    if layout == "adjacent":
        return values
    halves = values.reshape(*values.shape[:-1], heads, 2, -1)
    return halves.swapaxes(-1, -2).reshape(values.shape)


def scaled_channels(linear: Linear, factors: NDArray[np.float64]) -> Linear:
    """Return a matrix whose results are multiplied by a factor for each channel."""
    bias = None if linear.bias is None else (linear.bias * factors).astype(np.float32)
    weight = (linear.weight * factors[:, np.newaxis]).astype(np.float32)
    return replace(linear, weight=weight, bias=bias)


class _Quantiser:
    def __init__(
        self,
        decoder: Decoder,
        ranges: DecoderCalibration,
        config: MachineConfig,
        precision: Mapping[str, str],
        rounder: WeightRounder,
    ) -> None:
        self.decoder, self.ranges, self.config = decoder, ranges, config
        self.precision, self.rounder = precision, rounder
        self.report: list[dict[str, Any]] = []
        self.stream = 0.0

    def product(
        self,
        key: str,
        linear: Linear,
        in_scale: float,
        out_scale: float | NDArray[np.float64],
        *,
        r_shift: int = 0,
        narrow: bool = False,
        factors: NDArray[np.float64] | None = None,
    ) -> QuantisedProduct:
        """Quantise a matrix in the precision chosen for it, such as "A8W8" or "A16W16".

        What the weights lack is added in a second product. A `narrow` result of the first then has
        all 16 bits, so that it is rounded to 8 only once. The columns have been multiplied by
        `factors`.
        """
        chosen = self.precision.get(key, "A8W8")
        wide, twice = chosen.startswith("A16"), chosen.endswith("W16")
        outliers = None if wide or twice else self.rounder.outliers(key, factors)
        if outliers is not None:
            chosen = "A8/16W8"
        if (wide or outliers is not None) and self.config.accumulator_width < WIDE_ACCUMULATORS:
            raise ModelError(
                f"{linear.name}: precision {chosen} needs accumulators of {WIDE_ACCUMULATORS} "
                f"bits, but configuration {self.config.name!r} has "
                f"{self.config.accumulator_width}; raise accumulator_width or take A8W8"
            )
        finer = KEY_SHIFT if narrow and (twice or outliers is not None) else 0
        exact = linear
        if outliers is not None:
            linear = replace(linear, weight=np.where(outliers, 0, linear.weight))
        main = quantise_linear(
            linear,
            in_scale,
            out_scale / 2.0**finer,
            self.config,
            r_shift=r_shift,
            wide=wide,
            rounded=self.rounder.round(key, linear, factors),
            format=self.rounder.format(key),
        )
        rest = None
        if twice:
            lacking = linear.weight - main.real
            bare = replace(linear, weight=lacking.astype(np.float32), bias=None)
            rest = quantise_linear(bare, in_scale, out_scale, self.config, r_shift=finer, wide=wide)
        if outliers is not None:
            few = replace(exact, weight=np.where(outliers, exact.weight, 0), bias=None)
            # Of a machine that can, only the tiles with outliers are stored and computed.
            share = float(1 - outliers.mean()) if self.config.sparsity > 1 else 0.0
            rest = quantise_linear(
                few,
                in_scale,
                out_scale,
                self.config,
                r_shift=finer,
                wide=True,
                format=WeightFormat(blocks=share),
            )
        self.note(key, linear, main, chosen, rest if outliers is not None else None)
        return QuantisedProduct(main, rest, wide, outliers)

    def note(
        self,
        key: str,
        linear: Linear,
        main: QuantisedLinear,
        chosen: str,
        outliers: QuantisedLinear | None,
    ) -> None:
        exact = linear.weight.astype(np.float64)
        error = main.real - exact
        self.report.append({
            "layer": key,
            "name": linear.name,
            "precision": chosen,
            "format": describe(main.format),
            "bytes": sum(
                part.stored(self.config).bytes for part in (main, outliers) if part is not None
            ),
            "weight_error": float(np.linalg.norm(error) / max(np.linalg.norm(exact), 1e-30)),
            "accumulator_use": main.bound,
        })

    def norm(self, norm: RmsNorm, name: str) -> QuantisedNorm:
        plain = Norm(name=norm.name, gamma=norm.gamma, beta=np.zeros_like(norm.gamma), eps=norm.eps)
        return quantise_norm(plain, self.stream, self.ranges.scale(name))

    def summed(
        self,
        key: str,
        linear: Linear,
        in_scale: float,
        total: str,
        factors: NDArray[np.float64] | None = None,
    ) -> QuantisedProduct:
        """Quantise a product that is added to the residual stream, whose scale may grow."""
        following = self.decoder.final_norm
        needed = max(
            self.ranges.needed(total), linear_floor(linear, in_scale), norm_floor_of(following)
        )
        shift = residual_shift(self.stream, needed)
        self.stream *= 2.0**shift
        return self.product(key, linear, in_scale, self.stream, r_shift=shift, factors=factors)

    def attention(self, part: GroupedAttention, name: str, source: float) -> dict[str, Any]:
        ranges, layout = self.ranges, self.decoder.rope.layout
        wide = self.config.accumulator_width >= WIDE_ACCUMULATORS
        worst = part.head_dim * ACTIVATION_LIMIT * (LIMIT16 + 1 if wide else ACTIVATION_LIMIT)
        check_accumulators(f"{part.q.name}, scores", part.head_dim, worst, self.config)
        group = part.heads // part.kv_heads

        # Scales of the keys, pair by pair; the queries are multiplied by what differs.
        peaks = paired_values(ranges.columns[f"{name}.k_rope"], part.kv_heads, layout)
        pairs = peaks.reshape(part.kv_heads, -1, 2).max(axis=2)
        pairs = np.maximum(pairs * CACHE_HEADROOM, 1e-6) / LIMIT8
        common = pairs.max(axis=1)
        steps = np.repeat(pairs, 2, axis=1).ravel()
        factors = np.repeat(pairs / common[:, np.newaxis], 2, axis=1)
        factors = np.repeat(factors, group, axis=0).ravel()
        q_linear = scaled_channels(paired(part.q, part.heads, layout), factors)
        rows = [
            np.abs(paired_values(values, part.heads, layout) * factors).max(axis=-1)
            for values in (*ranges.rows[f"{name}.q"], *ranges.rows[f"{name}.q_rope"])
        ]
        reached = np.concatenate(rows)
        least = max(float(reached.max()) * HEADROOM / LIMIT16, 1e-9)
        q_scale = max(best_scale(reached, least), linear_floor(q_linear, source))
        k_linear = paired(part.k, part.kv_heads, layout)
        multipliers, shifts = dyadic(
            q_scale * common / math.sqrt(part.head_dim) * LOGIT_FRACTION / math.log(2)
        )
        if shifts.min() < (0 if wide else LOGIT_SHIFT):
            raise ModelError(
                f"{part.q.name}: attention logits are larger than the machine can tell apart; "
                "check the weights or the calibration inputs"
            )

        # The output has the scales of the values, channel by channel: the next weights take them.
        values = np.maximum(ranges.columns[f"{name}.v"] * CACHE_HEADROOM, 1e-6) / LIMIT8
        by_channel = np.repeat(values.reshape(part.kv_heads, 1, -1), group, axis=1).ravel()
        by_channel = by_channel / (1 << CONTEXT_SHIFT)
        largest = float(by_channel.max())
        relative = by_channel / largest
        folded = (part.o.weight * relative).astype(np.float32)
        o = replace(part.o, weight=folded)
        return {
            "q": self.product(f"{name}.q", q_linear, source, q_scale),
            "k": self.product(f"{name}.k", k_linear, source, steps / (1 << KEY_SHIFT)),
            "v": self.product(f"{name}.v", part.v, source, values, narrow=True),
            "wide_scores": wide,
            "logits": tuple(zip(multipliers.tolist(), shifts.tolist(), strict=True)),
            "o": self.summed(f"{name}.o", o, largest, f"{name}.mid", relative),
        }

    def feed_forward(self, block: DecoderBlock, name: str, source: float) -> dict[str, Any]:
        ranges, part = self.ranges, block.ffn
        linear_scale = max(ranges.needed(f"{name}.gate_linear"), linear_floor(part.gate, source))
        gate_scale = ranges.needed(f"{name}.gate")
        up_scale = max(ranges.needed(f"{name}.up"), linear_floor(part.up, source))
        needed = ranges.scale(f"{name}.product")
        shift = max(0, math.ceil(math.log2(needed / (gate_scale * up_scale))))
        if shift > MAX_PRODUCT_SHIFT:
            raise ModelError(f"{part.up.name}: gate times up is too large; check the weights")
        # Either factor may have a larger step: the product's then is what suits its rows best.
        up_scale = max(needed / (gate_scale * 2.0**shift), up_scale)
        return {
            "gate": self.product(f"{name}.gate", part.gate, source, linear_scale),
            "table": np.stack(make_table(part.activation, linear_scale, gate_scale), axis=1),
            "up": self.product(f"{name}.up", part.up, source, up_scale),
            "product_shift": shift,
            "down": self.summed(
                f"{name}.down", part.down, gate_scale * up_scale * 2.0**shift, f"{name}.out"
            ),
        }

    def block(self, block: DecoderBlock, index: int) -> QuantisedDecoderBlock:
        name = f"block{index}"
        norm1 = self.norm(block.norm1, f"{name}.norm1")
        attention = self.attention(block.attention, name, norm1.out_scale)
        norm2 = self.norm(block.norm2, f"{name}.norm2")
        ffn = self.feed_forward(block, name, norm2.out_scale)
        return QuantisedDecoderBlock(norm1=norm1, norm2=norm2, **attention, **ffn)

    def run(self) -> QuantisedDecoder:
        decoder, ranges = self.decoder, self.ranges
        self.stream = max(ranges.needed("embedding"), norm_floor_of(decoder.blocks[0].norm1))
        input_scale = self.stream
        blocks = tuple(self.block(block, index) for index, block in enumerate(decoder.blocks))
        final_norm = self.norm(decoder.final_norm, "final_norm")
        logit_scale = max(ranges.needed("logits"), linear_floor(decoder.head, final_norm.out_scale))
        head = self.product("head", decoder.head, final_norm.out_scale, logit_scale)
        return QuantisedDecoder(
            decoder, input_scale, blocks, final_norm, head, logit_scale, self.report
        )


def norm_floor_of(norm: RmsNorm) -> float:
    """Return the least input scale at which the norm's epsilon fits."""
    return norm_floor(Norm(name=norm.name, gamma=norm.gamma, beta=norm.gamma, eps=norm.eps))


def quantise_decoder(
    decoder: Decoder,
    ranges: DecoderCalibration,
    config: MachineConfig,
    precision: Mapping[str, str] | None = None,
    rounder: WeightRounder = NEAREST,
) -> QuantisedDecoder:
    """Quantise a decoder by the ranges of its activations.

    Parameters
    ----------
    decoder : Decoder
        The model.
    ranges : DecoderCalibration
        What its tensors reach on samples.
    config : MachineConfig
        Only the accumulators' width takes part, in a check.
    precision : mapping of str to str
        "A8W8", "A16W8" or "A16W16" of matrices, by names such as "block0.down" or "head"; A8W8 for
        those not named.
    rounder : WeightRounder
        Formats of the weights; those with 16 bits of two products must be int8.

    Raises
    ------
    ModelError
        If a layer does not suit the machine's numbers; the message names it.
    """
    return _Quantiser(decoder, ranges, config, precision or {}, rounder).run()
