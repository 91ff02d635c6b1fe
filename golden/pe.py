"""Twin of the kinds of processing element: what their code words mean, and sums of products.

A weight is a code word, an unsigned number as memory holds it; an int8 of the kind `multiply` too.
"""

import numpy as np
from numpy.typing import ArrayLike

from celosia.golden.fixed import IntArray, checked

__all__ = ["FP4_DOUBLED", "KINDS", "chosen_lanes", "code_bits", "decode", "matmul_codes"]

#: Kinds by name: in each mode, bits and encoding of a weight. A code word has all the weights of
#: one mode side by side, the first one in the low bits.
KINDS: dict[str, tuple[tuple[int, str], ...]] = {
    "multiply": ((8, "int"),),
    "packed": ((8, "int"), (4, "int"), (4, "e2m1")),
    "int4": ((4, "int"),),
    "fp4": ((4, "e2m1"),),
    "ternary": ((2, "ternary"),),
    "switchable": ((8, "int"), (4, "int"), (2, "int")),
}

#: Twice the values of FP4 without sign: 0, 0.5, 1, 1.5, 2, 3, 4, 6.
FP4_DOUBLED = np.array([0, 1, 2, 3, 4, 6, 8, 12])


def code_bits(kind: str) -> int:
    """Bits of a code word."""
    return max(bits for bits, _ in KINDS[kind])


def decode(kind: str, codes: ArrayLike, mode: int = 0) -> IntArray:
    """Return the weights that code words stand for.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    codes : (...) int
        Code words, 0 to 2^code_bits - 1.
    mode : int
        Way to read them.

    Returns
    -------
    (..., n) int64
        The n weights of each word, first those of its low bits. Of FP4 twice the value. Ternary
        words are sign and magnitude; all but 2, which is 0, are also two's complement.

    Raises
    ------
    ValueError
        If a word is out of range.
    KeyError, IndexError
        If there is no such kind or mode.
    """
    words = checked("codes", codes, 0, (1 << code_bits(kind)) - 1)
    bits, encoding = KINDS[kind][mode]
    shifts = np.arange(0, code_bits(kind), bits)
    fields = words[..., None] >> shifts & (1 << bits) - 1
    upper = fields >> bits - 1
    match encoding:
        case "int":
            return fields - (upper << bits)
        case "e2m1":
            return np.where(upper == 1, -1, 1) * FP4_DOUBLED[fields & 7]
        case _:
            return np.where(upper == 1, -1, 1) * (fields & 1)


def chosen_lanes(index: ArrayLike, m: int) -> IntArray:
    """Return the element of a streamed row that each element of an array multiplies.

    Parameters
    ----------
    index : (..., rows) int
        Its index into the group of M that M/2 rows share, 0 to M - 1.
    m : int
        M.
    """
    index = checked("index", index, 0, m - 1)
    return np.arange(index.shape[-1]) // (m // 2) * m + index


def matmul_codes(
    kind: str, x: ArrayLike, codes: ArrayLike, mode: int = 0, lanes: IntArray | None = None
) -> IntArray:
    """Product of streamed rows with one stationary tile of code words, in NT form.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    x : (m, rows) int
        Streamed operand: int8 values, or probabilities up to 255.
    codes : (columns, rows) int
        Stationary operand.
    mode : int
        Way to read it.
    lanes : (columns, rows) int
        Elements of a streamed row that take part, as `chosen_lanes` says; row r by default.

    Returns
    -------
    (m, columns, n) int64
        `out[m, c, k] = sum(x[m, lanes[c, r]] * decode(kind, codes, mode)[c, r, k])`.

    Raises
    ------
    ValueError
        If an operand holds a value that is out of range, or if the rows are not as long.
    """
    weights = decode(kind, codes, mode)
    x = checked("x", x, -128, 255)
    if lanes is None:
        return np.einsum("mr,crk->mck", x, weights)
    return np.einsum("mcr,crk->mck", x[:, lanes], weights)
