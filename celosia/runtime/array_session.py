"""The array alone on a board, from the host: columns loaded, rows streamed, sums read."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from celosia.array_map import ROW, SUMS, SWAP, WEIGHTS
from celosia.errors import DeviceError
from celosia.runtime.link import SerialLink

__all__ = ["ArraySession", "compare_products"]

_COLUMN_BYTES = 64
#: Rows that each tile of the comparison multiplies.
_ROWS = 4


class ArraySession:
    """A `LoneArray` at the other end of a serial line.

    Parameters
    ----------
    link : SerialLink
        The line.
    rows, columns : int
        What the array must have.

    Raises
    ------
    DeviceError
        If something else is there.
    """

    def __init__(self, link: SerialLink, rows: int, columns: int) -> None:
        self.link = link
        self.rows, self.columns = rows, columns
        found = link.read_word(0)
        if found != rows | columns << 8:
            what = "no array alone" if found >> 16 else f"an array of {found & 255} x {found >> 8}"
            raise DeviceError(
                f"the board has {what}, not an array of {rows} x {columns}; load the bitstream of "
                "this configuration"
            )

    def products(self, weights: NDArray[np.int8], streamed: NDArray[np.int8]) -> NDArray[np.int32]:
        """Return `streamed @ weights.T`, exactly, a row at a time.

        Parameters
        ----------
        weights : ndarray, shape (columns, rows)
            A tile.
        streamed : ndarray, shape (n, rows)
            Rows.

        Raises
        ------
        DeviceError
            If the device does not answer.
        """
        for index, column in enumerate(weights):
            self.link.write_block(WEIGHTS + _COLUMN_BYTES * index, self._pack(column))
        sums = np.zeros((len(streamed), self.columns), np.int32)
        for index, row in enumerate(streamed):
            self.link.write_block(ROW + (0 if index else SWAP), self._pack(row))
            sums[index] = np.frombuffer(self.link.read_block(SUMS, 4 * self.columns), "<i4")
        return sums

    def _pack(self, elements: NDArray[np.int8]) -> bytes:
        """Return int8 as whole words."""
        return np.pad(elements, (0, -self.rows % 4)).astype(np.int8).tobytes()


def compare_products(session: ArraySession, runs: int) -> dict[str, Any]:
    """Multiply random tiles and rows on an array and with NumPy; return what was found.

    Returns
    -------
    dict
        `parts` and `differences` as those of `celosia selftest`; a sum counts as four bytes.
    """
    differences = []
    for run in range(runs):
        rng = np.random.default_rng(run)
        weights = rng.integers(-128, 128, (session.columns, session.rows), np.int8)
        streamed = rng.integers(-128, 128, (_ROWS, session.rows), np.int8)
        if run == 0:
            weights[:], streamed[0] = -128, -128  # the largest sums
        wanted = streamed.astype(np.int32) @ weights.T.astype(np.int32)
        found = session.products(weights, streamed)
        differences += [
            f"sum of row {row} and column {column} of run {run} is {found[row, column]}, not "
            f"{wanted[row, column]}"
            for row, column in np.argwhere(found != wanted)
        ]
    compared = 4 * runs * _ROWS * session.columns
    parts = {"sums": {"compared": compared, "differ": 4 * len(differences)}}
    return {"parts": parts, "differences": differences, "line": vars(session.link.statistics)}
