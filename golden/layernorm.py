"""Twin of `celosia.cores.layernorm`: LayerNorm of int16 rows, or RMSNorm.

With `S1 = Σx`, `S2 = Σx²` and `v = n·S2 - S1² + epsilon`, exactly, an element's normal form is
`z = (n·x - S1)/sqrt(v) = (x - mean)·n/sqrt(v)`. Only four scalars of a row are rounded:

- `mean`, cut to 20 fraction bits: the integer part is taken from each element, the fraction from
  the products, so that a row's variance may be as small as it likes;
- `root`, `sqrt(v)` as 20 bits, its top bit set, from the upper 40 bits of `v`;
- `gain`, `n/sqrt(v)` as 17 bits, its top bit set, rounded;
- `offset`, what the mean's fraction is worth, at four bits below the product of gain and element.

RMSNorm is the same with `S1 = 0`: mean and offset are 0.

Against exact arithmetic `|zq - 4096·z| <= 1 + 4096·|z|·2^-16`, `zq` being the rounded `z`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from celosia.golden.fixed import IntArray, bit_length, checked, rnd, saturate

__all__ = ["MAX_ELEMENTS", "MAX_SHIFT", "RowScale", "layernorm", "normalise", "row_scale"]

#: Most elements of a row.
MAX_ELEMENTS = 4096
#: Larger shifts act as this one: it makes 0 of every product.
MAX_SHIFT = 36

_MEAN_FRACTION = 20
_ROOT_BITS = 20
_GAIN_BITS = 17
_OFFSET_BITS = 4
_Z_FRACTION = 12


class RowScale(NamedTuple):
    """What normalises a row: `zq = rnd(16·(x - mean)·gain - offset, shift)`.

    Attributes
    ----------
    mean : (m,) int64
        Integer part of the mean, rounded down; 16 bits signed.
    gain : (m,) int64
        17 bits, the top bit set.
    offset : (m,) int64
        21 bits.
    shift : (m,) int64
        0 to 25.
    """

    mean: IntArray
    gain: IntArray
    offset: IntArray
    shift: IntArray


def row_scale(x: ArrayLike, *, epsilon: int, rms: bool = False) -> RowScale:
    """Find what normalises each row of `x` (m, n); without its mean if `rms`."""
    x = checked("x", x, -32768, 32767)
    n = x.shape[1]
    if not 1 <= n <= MAX_ELEMENTS:
        raise ValueError(f"rows must have 1 to {MAX_ELEMENTS} elements, not {n}")
    if not 1 <= epsilon < 1 << 32:
        raise ValueError(f"epsilon must be between 1 and {(1 << 32) - 1}, not {epsilon}")
    total = np.zeros(len(x), np.int64) if rms else x.sum(axis=1)
    v = n * (x * x).sum(axis=1) - total * total + epsilon

    quotient = ((total + 32768 * n) << _MEAN_FRACTION) // n
    mean = (quotient >> _MEAN_FRACTION) - 32768
    fraction = quotient & ((1 << _MEAN_FRACTION) - 1)

    # Halves of the bit lengths of v: sqrt(v) is about root · 2^(half - 20).
    half = (bit_length(v) + 1) >> 1
    excess = 2 * (half - _ROOT_BITS)
    v = v << np.maximum(-excess, 0) >> np.maximum(excess, 0)
    # The square root of less than 2^52 is exact after rounding down.
    root = np.sqrt(v.astype(np.float64)).astype(np.int64)

    size = n.bit_length()
    quotient = (n << (38 - size)) // root  # 18 or 19 bits
    dropped = 1 + (quotient >> (_GAIN_BITS + 1))
    gain = np.minimum(rnd(quotient, dropped), (1 << _GAIN_BITS) - 1)
    offset = fraction * gain >> (_MEAN_FRACTION - _OFFSET_BITS)
    # Only rows whose elements all are the mean come below 0: they are 0 whatever the shift.
    shift = np.maximum(half - size - dropped + (_Z_FRACTION - 6) + _OFFSET_BITS, 0)
    return RowScale(mean, gain, offset, shift)


def normalise(x: ArrayLike, *, epsilon: int, rms: bool = False) -> IntArray:
    """Return `zq`, the rows of `x` (m, n) in their normal form: 20 bits signed, 12 of fraction."""
    x = checked("x", x, -32768, 32767)
    scale = row_scale(x, epsilon=epsilon, rms=rms)
    mean, gain, offset, shift = (scalar[:, np.newaxis] for scalar in scale)
    return rnd(((x - mean) * gain << _OFFSET_BITS) - offset, shift)


def layernorm(
    x: ArrayLike, gamma: ArrayLike, beta: ArrayLike, *, shift: int, epsilon: int, rms: bool = False
) -> IntArray:
    """Normalise each row: `y = sat16(rnd(zq·gamma, shift) + beta)`.

    Parameters
    ----------
    x : (m, n) int
        int16 values; n from 1 to 4096.
    gamma : (n,) int
        int16 gains of the columns.
    beta : (n,) int
        int16 offsets of the columns.
    shift : int
        Right shift after the gain; 36 and more act alike.
    epsilon : int
        Added to `v`; from 1 to 2^32 - 1.
    rms : bool
        RMSNorm: the mean is not subtracted.

    Returns
    -------
    (m, n) int64
        int16 values. Against exact arithmetic the error is at most
        `1/2 + (1 + 4096·|z|·2^-16)·|gamma|/2^shift`.

    Raises
    ------
    ValueError
        If an operand is out of range.
    """
    gamma = checked("gamma", gamma, -32768, 32767)
    beta = checked("beta", beta, -32768, 32767)
    if shift < 0:
        raise ValueError(f"shift must not be negative, not {shift}")
    scaled = rnd(normalise(x, epsilon=epsilon, rms=rms) * gamma, min(shift, MAX_SHIFT))
    return saturate(scaled + beta, 16)
