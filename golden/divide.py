"""Twin of `celosia.cores.divide`: the reciprocal that normalises attention."""

import numpy as np

from celosia.golden.fixed import IntArray, bit_length

__all__ = ["NUMERATOR", "reciprocal"]

#: Dividend of every reciprocal: quotients by 15-bit normalised divisors have 15 bits.
NUMERATOR = (1 << 29) - 1


def reciprocal(denominator: IntArray) -> tuple[IntArray, IntArray]:
    """Reciprocal of a denominator as a 15-bit number and a right shift.

    `x / l` is about `x·rcp >> shift`; the relative error is below 2^-13.

    Parameters
    ----------
    denominator : int array
        Denominators; at least 1.

    Returns
    -------
    rcp : int array
        `(2^29 - 1) // l_n`, `l_n` being `l` shifted to 15 bits, its top bit set; 15 bits.
    shift : int array
        `14 + bitlen(l)`.

    Raises
    ------
    ValueError
        If a denominator is not positive.
    """
    denominator = np.asarray(denominator, dtype=np.int64)
    if denominator.size and denominator.min() < 1:
        raise ValueError(f"denominators must be positive, not {denominator.min()}")
    length = bit_length(denominator)
    normalised = (denominator << np.maximum(15 - length, 0)) >> np.maximum(length - 15, 0)
    return NUMERATOR // normalised, 14 + length
