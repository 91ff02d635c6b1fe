"""Twin of `celosia.cores.activation`: a function of int16 from 256 straight segments."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from celosia.golden.fixed import IntArray, checked, rnd, saturate

__all__ = ["FUNCTIONS", "apply_table", "error_bound", "make_table"]

#: Segments of a table, and the inputs that share one.
SEGMENTS = 256
SEGMENT = 256


def _sigmoid(x: float) -> float:
    # The exponent is never positive: no overflow on either side.
    z = math.exp(-abs(x))
    return 1 / (1 + z) if x >= 0 else z / (1 + z)


def _gelu(x: float) -> float:
    # erfc keeps the relative precision of the left tail, where 1 + erf cancels.
    return 0.5 * x * math.erfc(-x / math.sqrt(2))


def _gelu_tanh(x: float) -> float:
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


#: Name to the function itself and a bound of its second derivative's magnitude, which limits the
#: error of a straight segment. ReLU bends where two segments meet.
FUNCTIONS: dict[str, tuple[Callable[[float], float], float]] = {
    "gelu": (_gelu, 0.798),
    "gelu_tanh": (_gelu_tanh, 0.798),
    "quick_gelu": (lambda x: x * _sigmoid(1.702 * x), 0.851),
    "silu": (lambda x: x * _sigmoid(x), 0.5),
    "relu": (lambda x: max(x, 0.0), 0.0),
    "tanh": (math.tanh, 0.770),
    "sigmoid": (_sigmoid, 0.0963),
    "identity": (lambda x: x, 0.0),
}


def make_table(function: str, input_scale: float, output_scale: float) -> tuple[IntArray, IntArray]:
    """Table of a function between two scales.

    Parameters
    ----------
    function : str
        Name in `FUNCTIONS`.
    input_scale, output_scale : float
        Real value of one step of the int16 argument and of the int16 result.

    Returns
    -------
    value : (256,) int64
        int16 result at the start of each segment of 256 arguments, from argument -32768 up.
    slope : (256,) int64
        int16 difference from there to the end of the segment.

    Raises
    ------
    ValueError
        If the function is unknown or a scale is not positive and finite.
    """
    call = _entry(function, input_scale, output_scale)[0]
    starts = (np.arange(SEGMENTS + 1) - SEGMENTS // 2) * SEGMENT
    places = np.concatenate([starts, starts[:-1] + SEGMENT // 2])
    real = np.array([call(float(x) * input_scale) for x in places]) / output_scale
    real = np.clip(real, -(1 << 15), (1 << 15) - 1)
    ends, middles = real[: SEGMENTS + 1], real[SEGMENTS + 1 :]
    # A curve lies on one side of its chord: half way between them the error is half as large.
    lift = (middles - (ends[:-1] + ends[1:]) / 2) / 2
    value, following = (np.floor(part + lift + 0.5) for part in (ends[:-1], ends[1:]))
    slope = (following - value).astype(np.int64)
    return saturate(value.astype(np.int64), 16), saturate(slope, 16)


def apply_table(x: ArrayLike, value: ArrayLike, slope: ArrayLike) -> IntArray:
    """Look up and interpolate: `sat16(value[s] + rnd(slope[s] * f, 8))`.

    Parameters
    ----------
    x : (...) int
        int16 arguments; segment `s = (x >> 8) + 128`, place in it `f = x & 255`.
    value, slope : (256,) int
        int16 tables.

    Returns
    -------
    (...) int64
        int16 values.
    """
    x = checked("x", x, -(1 << 15), (1 << 15) - 1)
    value = checked("value", value, -(1 << 15), (1 << 15) - 1)
    slope = checked("slope", slope, -(1 << 15), (1 << 15) - 1)
    if value.shape != (SEGMENTS,) or slope.shape != (SEGMENTS,):
        raise ValueError(
            f"value and slope must have {SEGMENTS} entries, not {value.shape} and {slope.shape}"
        )
    segment = (x >> 8) + SEGMENTS // 2
    return saturate(value[segment] + rnd(slope[segment] * (x & 255), 8), 16)


def error_bound(function: str, input_scale: float, output_scale: float) -> float:
    """Largest distance, in steps of the result, from the table to the exact function.

    A chord is off by at most `h² / 8 · max |f''|`, h being the width of a segment, and what lies
    between chord and curve by no more; rounding its ends adds half a step and rounding the
    interpolated value another half. It holds in segments
    whose ends lie inside int16 at a distance of less than 32768.
    """
    curvature = _entry(function, input_scale, output_scale)[1]
    return 1 + (SEGMENT * input_scale) ** 2 / 8 * curvature / output_scale


def _entry(
    function: str, input_scale: float, output_scale: float
) -> tuple[Callable[[float], float], float]:
    if function not in FUNCTIONS:
        raise ValueError(f"function must be one of {', '.join(FUNCTIONS)}, not {function!r}")
    for name, scale in (("input_scale", input_scale), ("output_scale", output_scale)):
        if not (math.isfinite(scale) and scale > 0):
            raise ValueError(f"{name} must be positive and finite, not {scale}")
    return FUNCTIONS[function]
