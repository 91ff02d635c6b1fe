"""Twin of `celosia.cores.systolic`: the exact product of rows with a tile of weights."""

import numpy as np

from celosia.config import MachineConfig
from celosia.golden.fixed import IntArray, checked

__all__ = ["matmul_nt"]


def matmul_nt(config: MachineConfig, x: IntArray, w: IntArray) -> IntArray:
    """Product of streamed rows with one stationary tile, in NT form.

    Parameters
    ----------
    config : MachineConfig
        Rows and columns of the array.
    x : (m, rows) int
        Streamed operand: int8 values, or probabilities up to 255.
    w : (columns, rows) int
        Stationary operand; int8 values.

    Returns
    -------
    (m, columns) int64
        `out[m, c] = sum(x[m, r] * w[c, r])`, which fits `config.psum_width` bits.

    Raises
    ------
    ValueError
        If an operand has the wrong shape or holds a value that is out of range.
    """
    x = _checked("x", x, (len(x), config.rows), 255)
    w = _checked("w", w, (config.columns, config.rows), 127)
    return x @ w.T


def _checked(name: str, values: IntArray, shape: tuple[int, int], high: int) -> IntArray:
    if np.shape(values) != shape:
        raise ValueError(f"{name} must have the shape {shape}, not {np.shape(values)}")
    return checked(name, values, -128, high)
