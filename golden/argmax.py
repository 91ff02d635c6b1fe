"""Twin of `celosia.cores.argmax`: the largest element of each row, and where it is."""

import numpy as np
from numpy.typing import ArrayLike

from celosia.golden.fixed import IntArray, checked

__all__ = ["argmax"]

_INDICES = 1 << 32


def argmax(
    x: ArrayLike, *, first: int = 0, held: tuple[ArrayLike, ArrayLike] | None = None
) -> tuple[IntArray, IntArray]:
    """Find the largest element of each row; the first one where several are as large.

    Parameters
    ----------
    x : (m, n) int
        int16 values.
    first : int
        Index of the first element, from 0 to 2^32 - 1.
    held : ((m,) int, (m,) int), optional
        Largest element and its index of elements before these; it wins where it is as large.

    Returns
    -------
    value : (m,) int64
        int16 values.
    index : (m,) int64
        Modulo 2^32.

    Raises
    ------
    ValueError
        If there are no elements or an operand is out of range.
    """
    x = checked("x", x, -32768, 32767)
    if not x.shape[1]:
        raise ValueError("rows must have at least 1 element, not 0")
    if not 0 <= first < _INDICES:
        raise ValueError(f"first must be between 0 and {_INDICES - 1}, not {first}")
    value, index = x.max(axis=1), (first + x.argmax(axis=1)) % _INDICES
    if held is None:
        return value, index
    old_value = checked("held value", held[0], -32768, 32767)
    old_index = checked("held index", held[1], 0, _INDICES - 1)
    found = value > old_value
    return np.where(found, value, old_value), np.where(found, index, old_index)
