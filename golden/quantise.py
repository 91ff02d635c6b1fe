"""Twin of `celosia.cores.quantise`: int16 rows to int8 by their exponents."""

import numpy as np
from numpy.typing import ArrayLike

from celosia.golden.fixed import IntArray, checked, rnd, saturate

__all__ = ["quantise"]


def quantise(x: ArrayLike, e: ArrayLike) -> IntArray:
    """Reduce rows to 8 bits: `sat8(rnd(x, e))`.

    Parameters
    ----------
    x : (..., k) int
        int16 values; a row is the last axis.
    e : (...) int
        Exponent of each row, 0 to 8.

    Returns
    -------
    (..., k) int64
        int8 values; `value * 2**e` is `x` within 2**(e-1), or within 2**e where it saturates.
    """
    x = checked("x", x, -(1 << 15), (1 << 15) - 1)
    e = checked("e", e, 0, 8)
    return saturate(rnd(x, np.expand_dims(e, -1)), 8)
