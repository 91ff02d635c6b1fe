"""From float weights and ranges to the integers of the machine.

Weights are int8 with one scale per output channel, activations int16 with one scale per tensor;
what is left between them is one multiplier of 15 bits and one shift per channel.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from celosia.compiler.graph import Linear, Norm
from celosia.compiler.layout_tiles import StoredWeights, TiledFormat
from celosia.compiler.weight_format import RoundedWeights, WeightFormat
from celosia.config import MachineConfig
from celosia.errors import ModelError
from celosia.golden.fixed import IntArray
from celosia.golden.layernorm import MAX_ELEMENTS

__all__ = [
    "ACTIVATION_LIMIT",
    "QuantisedLinear",
    "QuantisedNorm",
    "bias_floor",
    "check_accumulators",
    "dyadic",
    "linear_floor",
    "norm_floor",
    "quantise_linear",
    "quantise_norm",
    "quantise_rows",
    "quantise_weights",
    "residual_shift",
]

#: Largest int16 and largest quantised weight.
LIMIT, WEIGHT_LIMIT = 32767, 127
#: Largest magnitude of a quantised activation, that of -128.
ACTIVATION_LIMIT = 128
#: A multiplier has this many bits, the top one set.
MULTIPLIER_BITS = 15
#: Shifts are 6 bits.
MAX_SHIFT = 63
#: Largest exponent of a row: the hardware takes it off the shift, which must not pass below 0.
MAX_EXPONENT = 8
#: Largest epsilon of a norm.
MAX_EPSILON = (1 << 32) - 1
#: Largest shift behind a norm's gain, and fraction bits of a normal form.
NORM_SHIFT, NORM_FRACTION = 36, 12


@dataclass(frozen=True, eq=False)
class QuantisedLinear:
    """One matrix of weights and its epilogue.

    Attributes
    ----------
    name : str
        Name in the checkpoint.
    weight : (out, in) int64
        Quantised weights, integers of the format.
    multiplier, shift, bias : (out,) int64
        Parameters of the epilogue.
    in_scale : float
        Real value of one step of the input.
    out_scale : float
        Real value of one step of the output; the largest one where channels differ.
    r_shift : int
        Right shift of the residual, if it has one.
    bound : float
        Share of the accumulator's range that the worst input could use.
    weight_scale : (out,) float
        Real value of one step of the weights.
    group_scale : (out, groups) int64
        What the weights of a group are multiplied by.
    format : WeightFormat
        How they are stored.
    """

    name: str
    weight: IntArray
    multiplier: IntArray
    shift: IntArray
    bias: IntArray
    in_scale: float
    out_scale: float
    r_shift: int
    bound: float
    weight_scale: NDArray[np.float64]
    group_scale: IntArray
    format: WeightFormat

    @property
    def real(self) -> NDArray[np.float64]:
        """The weights that the integers stand for."""
        rounded = RoundedWeights(self.weight, self.group_scale, self.weight_scale)
        return rounded.real(self.format.group)

    def stored(self, config: MachineConfig) -> StoredWeights:
        """Return the weights as memory holds them, their channels in this order."""
        tiled = TiledFormat(config, self.format, self.weight.shape[1])
        return tiled.store(self.weight, self.group_scale)


@dataclass(frozen=True, eq=False)
class QuantisedNorm:
    """One LayerNorm.

    Attributes
    ----------
    name : str
        Name in the checkpoint.
    gamma, beta : (width,) int16
        Gain and offset.
    shift, epsilon : int
        Operands of NORM.
    in_scale, out_scale : float
        Real value of one step of the int16 input and output.
    """

    name: str
    gamma: NDArray[np.int16]
    beta: NDArray[np.int16]
    shift: int
    epsilon: int
    in_scale: float
    out_scale: float


def dyadic(real: ArrayLike) -> tuple[IntArray, IntArray]:
    """Write factors as `multiplier / 2**shift`, the multiplier in [2^14, 2^15).

    Parameters
    ----------
    real : (...) float
        Not negative and below 2^15; what is too small for a shift of 6 bits becomes 0.

    Returns
    -------
    multiplier, shift : (...) int64
    """
    mantissa, exponent = np.frexp(np.asarray(real, dtype=np.float64))
    multiplier = np.rint(mantissa * (1 << MULTIPLIER_BITS)).astype(np.int64)
    shift = MULTIPLIER_BITS - exponent.astype(np.int64)
    carried = multiplier == 1 << MULTIPLIER_BITS
    multiplier, shift = np.where(carried, multiplier >> 1, multiplier), shift - carried
    if (shift < 0).any():
        raise ValueError(f"factors must be below {1 << MULTIPLIER_BITS}, not {np.max(real)}")
    usable = (multiplier > 0) & (shift <= MAX_SHIFT)
    return np.where(usable, multiplier, 0), np.where(usable, shift, 0)


def quantise_weights(weight: NDArray[np.floating]) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Quantise a matrix (out, in) symmetrically; return int8 values and a scale per row."""
    weight = weight.astype(np.float64)
    peak = np.abs(weight).max(axis=1)
    scale = np.where(peak > 0, peak, 1.0) / WEIGHT_LIMIT
    values = np.rint(weight / scale[:, np.newaxis])
    return np.clip(values, -WEIGHT_LIMIT, WEIGHT_LIMIT).astype(np.int8), scale


def quantise_rows(values: ArrayLike, scale: float | NDArray[np.float64]) -> NDArray[np.int16]:
    """Quantise to int16, saturated."""
    codes = np.rint(np.asarray(values, dtype=np.float64) / scale)
    return np.clip(codes, -LIMIT - 1, LIMIT).astype(np.int16)


def bias_floor(linear: Linear) -> float:
    """Return the least output scale at which the bias fits int16."""
    return 0.0 if linear.bias is None else float(np.abs(linear.bias).max()) / LIMIT


def linear_floor(linear: Linear, in_scale: float) -> float:
    """Return the least output scale at which every operand of the epilogue fits."""
    largest = float(np.abs(linear.weight).max()) / WEIGHT_LIMIT * in_scale
    # A factor of 2^-shift' with shift' = shift - 15 needs shift >= MAX_EXPONENT.
    return max(bias_floor(linear), largest / (1 << (MULTIPLIER_BITS - MAX_EXPONENT - 1)))


def residual_shift(residual_scale: float, needed: float) -> int:
    """Return the right shift that takes a residual to the least scale not below `needed`."""
    return max(0, math.ceil(math.log2(needed / residual_scale) - 1e-9))


def quantise_linear(
    linear: Linear,
    in_scale: float,
    out_scale: float | NDArray[np.float64],
    config: MachineConfig,
    *,
    r_shift: int = 0,
    wide: bool = False,
    rounded: RoundedWeights | None = None,
    format: WeightFormat = WeightFormat(),  # noqa: B008 - it is frozen
) -> QuantisedLinear:
    """Quantise a matrix between two scales, that of the output one for each channel if need be.

    With `wide`, the rows that it takes keep their 16 bits. Without `rounded`, its weights become
    int8, each rounded to the nearest.

    Raises
    ------
    ModelError
        If the accumulators could overflow, the output scale does not suit the machine, or a
        weight is not finite.
    """
    if not np.isfinite(linear.weight).all():
        raise ModelError(f"{linear.name}: weights must be finite, but hold NaN or infinity")
    if rounded is None:
        values, steps = quantise_weights(linear.weight)
        rounded = RoundedWeights(values.astype(np.int64), np.ones((len(values), 1), int), steps)
    scale = rounded.scale
    largest = LIMIT + 1 if wide else ACTIVATION_LIMIT
    worst = int(np.abs(rounded.whole(format.group)).sum(axis=1).max()) * largest
    bound = check_accumulators(linear.name, linear.inputs, worst, config)
    try:
        multiplier, shift = dyadic(in_scale * scale / out_scale)
    except ValueError as error:
        raise ModelError(f"{linear.name}: cannot be scaled: {error}") from error
    bias = np.zeros(linear.outputs) if linear.bias is None else linear.bias
    return QuantisedLinear(
        linear.name,
        rounded.values,
        multiplier,
        shift,
        quantise_rows(bias, out_scale).astype(np.int64),
        in_scale,
        float(np.max(out_scale)),
        r_shift,
        bound,
        scale,
        rounded.group_scale,
        format,
    )


def check_accumulators(name: str, inputs: int, worst: int, config: MachineConfig) -> float:
    """Return the share of the accumulators' range that sums up to `worst` use.

    Raises
    ------
    ModelError
        If they could overflow.
    """
    limit = (1 << (config.accumulator_width - 1)) - 1
    if worst > limit:
        raise ModelError(
            f"{name}: sums over {inputs} inputs may reach {worst}, but accumulators of "
            f"{config.accumulator_width} bits hold {limit}; accumulator_width must be at least "
            f"{worst.bit_length() + 1}"
        )
    return worst / limit


def norm_floor(norm: Norm) -> float:
    """Return the least input scale at which epsilon fits."""
    return norm.width * math.sqrt(norm.eps / MAX_EPSILON)


def quantise_norm(norm: Norm, in_scale: float, out_scale: float) -> QuantisedNorm:
    """Quantise a LayerNorm between two scales.

    Raises
    ------
    ModelError
        If its rows are too wide for the vector unit.
    """
    if norm.width > MAX_ELEMENTS:
        raise ModelError(
            f"{norm.name}: norms take at most {MAX_ELEMENTS} elements, not {norm.width}"
        )
    gain = norm.gamma.astype(np.float64) / out_scale / (1 << NORM_FRACTION)
    peak = max(float(np.abs(gain).max()), 2.0**-NORM_SHIFT)
    shift = min(max(math.floor(math.log2(LIMIT / peak)), 0), NORM_SHIFT)
    epsilon = norm.eps * norm.width**2 / in_scale**2
    return QuantisedNorm(
        norm.name,
        quantise_rows(gain * 2.0**shift, 1.0),
        quantise_rows(norm.beta, out_scale),
        shift,
        min(max(round(epsilon), 1), MAX_EPSILON),
        in_scale,
        out_scale,
    )
