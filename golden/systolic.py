"""Twin of `celosia.cores.systolic`: the exact product of rows with a tile of weights."""

import numpy as np
from numpy.typing import NDArray

from celosia.config import MachineConfig

__all__ = ["matmul_nt"]

IntArray = NDArray[np.int64]


def matmul_nt(config: MachineConfig, x: IntArray, w: IntArray) -> IntArray:
    """Product of streamed rows with one stationary tile, in NT form.

    Parameters
    ----------
    config : MachineConfig
        Rows and columns of the array.
    x : (m, rows) int
        Streamed operand; int8 values.
    w : (columns, rows) int
        Stationary operand; int8 values.

    Returns
    -------
    (m, columns) int64
        `out[m, c] = sum(x[m, r] * w[c, r])`, which fits `config.psum_width` bits.

    Raises
    ------
    ValueError
        If an operand has the wrong shape or holds a value outside int8.
    """
    x = _checked("x", x, (len(x), config.rows))
    w = _checked("w", w, (config.columns, config.rows))
    return x @ w.T


def _checked(name: str, values: IntArray, shape: tuple[int, int]) -> IntArray:
    values = np.asarray(values, dtype=np.int64)
    if values.shape != shape:
        raise ValueError(f"{name} must have the shape {shape}, not {values.shape}")
    if values.size and not (-128 <= values.min() and values.max() <= 127):
        raise ValueError(f"{name} must hold int8 values, not {values.min()} to {values.max()}")
    return values
