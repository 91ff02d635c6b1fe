"""Rounding, saturation and row exponents: the arithmetic that all twins share.

Everything is exact on int64; values are range-checked where they enter a twin.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "IntArray",
    "bit_length",
    "checked",
    "magnitude",
    "rnd",
    "row_exponent",
    "saturate",
]

IntArray = NDArray[np.int64]


def checked(name: str, values: ArrayLike, low: int, high: int) -> IntArray:
    """Return `values` as int64, all of them from `low` to `high`.

    Raises
    ------
    ValueError
        If a value is not an integer or is out of range.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "iu" and array.size:
        raise ValueError(f"{name} must hold integers, not {array.dtype}")
    if array.size and not (low <= array.min() and array.max() <= high):
        raise ValueError(
            f"{name} must be between {low} and {high}, not {array.min()} to {array.max()}"
        )
    return array.astype(np.int64)


def rnd(x: ArrayLike, s: ArrayLike) -> IntArray:
    """Divide by 2**s and round half up: `(x + (1 << (s - 1))) >> s`, and `x` for s = 0.

    Parameters
    ----------
    x : (...) int
        Values below 2**62 in magnitude.
    s : (...) int
        Shifts from 0 to 62; broadcast with `x`.

    Returns
    -------
    (...) int64
    """
    x = np.asarray(x, dtype=np.int64)
    s = checked("shift", s, 0, 62)
    return (x + (np.int64(1) << s >> 1)) >> s


def saturate(x: ArrayLike, bits: int) -> IntArray:
    """Clip to the range of a signed number of `bits` bits."""
    limit = 1 << (bits - 1)
    return np.clip(np.asarray(x, dtype=np.int64), -limit, limit - 1)


def bit_length(x: ArrayLike) -> IntArray:
    """Position of the highest set bit plus one; 0 for 0. Values from 0 to 2**63 - 1."""
    x = checked("value", x, 0, (1 << 63) - 1)
    high = x >> 32
    # A float64 holds either half exactly, so the exponent is never rounded up.
    return np.where(
        high > 0, np.frexp(high)[1] + np.int64(32), np.frexp(x & 0xFFFF_FFFF)[1]
    ).astype(np.int64)


def magnitude(x: ArrayLike) -> IntArray:
    """One's complement magnitude of int16 values, `x ^ (x >> 15)`: 0 to 32767."""
    x = checked("value", x, -(1 << 15), (1 << 15) - 1)
    return x ^ (x >> 15)


def row_exponent(rows: ArrayLike) -> IntArray:
    """Exponent that makes each row of int16 fit 8 bits: `max(0, bitlen(OR of magnitudes) - 7)`.

    Parameters
    ----------
    rows : (..., k) int
        int16 values; a row is the last axis.

    Returns
    -------
    (...) int64
        0 to 8.
    """
    return np.maximum(bit_length(np.bitwise_or.reduce(magnitude(rows), axis=-1)) - 7, 0)
