"""Twin of `celosia.cores.multiply_rows`: products of int16 elements, real or complex."""

import numpy as np
from numpy.typing import ArrayLike

from celosia.golden.fixed import IntArray, checked, rnd, saturate

__all__ = ["MAX_SHIFT", "multiply_rows"]

#: Largest shift of a product.
MAX_SHIFT = 31


def multiply_rows(
    x: ArrayLike, w: ArrayLike, *, shift: int, complex_: bool = False, narrow: bool = False
) -> IntArray:
    """Multiply element by element: `sat16(rnd(x·w, shift))`.

    Parameters
    ----------
    x, w : (..., k) int
        int16 values. With `complex_` elements 2i and 2i + 1 are real and imaginary part of one
        number, and k is even.
    shift : int
        Right shift of the products, 0 to 31.
    complex_ : bool
        Multiply complex numbers: both products of a part are summed before they are rounded.
    narrow : bool
        Saturate to 8 bits.

    Returns
    -------
    (..., k) int64
        int16 values, or int8.

    Raises
    ------
    ValueError
        If an operand is out of range, or complex numbers are not whole.
    """
    x = checked("x", x, -32768, 32767)
    w = checked("w", w, -32768, 32767)
    if not 0 <= shift <= MAX_SHIFT:
        raise ValueError(f"shift must be between 0 and {MAX_SHIFT}, not {shift}")
    if complex_ and x.shape[-1] % 2:
        raise ValueError(f"rows of complex numbers must have an even width, not {x.shape[-1]}")
    t = _complex_products(x, w) if complex_ else x * w
    return saturate(rnd(t, shift), 8 if narrow else 16)


def _complex_products(x: IntArray, w: IntArray) -> IntArray:
    x_re, x_im, w_re, w_im = x[..., ::2], x[..., 1::2], w[..., ::2], w[..., 1::2]
    t = np.stack([x_re * w_re - x_im * w_im, x_re * w_im + x_im * w_re], axis=-1)
    return t.reshape(*t.shape[:-2], -1)
