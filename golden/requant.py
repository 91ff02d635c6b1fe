"""Twin of `celosia.cores.requant`: accumulators to int16 (or int8) by a dyadic scale."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from celosia.golden.fixed import IntArray, checked, rnd, saturate

__all__ = ["SHIFT_LIMIT", "requantise"]

#: Largest right shift of a product; it makes any product 0.
SHIFT_LIMIT = 47


def requantise(
    acc: ArrayLike,
    multiplier: ArrayLike,
    shift: ArrayLike,
    bias: ArrayLike,
    *,
    residual: ArrayLike | None = None,
    r_shift: ArrayLike = 0,
    narrow: bool = False,
) -> tuple[IntArray, NDArray[np.bool_]]:
    """Scale, shift, offset and saturate; all operands are broadcast together.

    `t = rnd(acc * multiplier, clip(shift, 0, 47)) + bias + rnd(residual, r_shift)`.

    Parameters
    ----------
    acc : (...) int
        Accumulators, at most int32.
    multiplier : (...) int
        15 bits, unsigned.
    shift : (...) int
        Right shift of the product, exponents of the operands already taken off; any value, it
        is clipped to 0…47 here.
    bias : (...) int
        int16, at the scale of the result.
    residual : (...) int, optional
        int16 values to add.
    r_shift : (...) int
        Right shift of the residual, 0 to 62; from 16 on the residual vanishes.
    narrow : bool
        Saturate to int8 in place of int16.

    Returns
    -------
    y : (...) int64
        `t`, saturated.
    clipped : (...) bool
        Where saturation changed `t`.
    """
    acc = checked("acc", acc, -(1 << 31), (1 << 31) - 1)
    multiplier = checked("multiplier", multiplier, 0, (1 << 15) - 1)
    shift = np.clip(np.asarray(shift, dtype=np.int64), 0, SHIFT_LIMIT)
    t = rnd(acc * multiplier, shift) + checked("bias", bias, -(1 << 15), (1 << 15) - 1)
    if residual is not None:
        t = t + rnd(checked("residual", residual, -(1 << 15), (1 << 15) - 1), r_shift)
    y = saturate(t, 8 if narrow else 16)
    return y, np.asarray(y != t)
