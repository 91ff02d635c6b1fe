"""Runs of consecutive keys that a block of queries sees, and the chains of ATTENDs over them.

A run becomes one ATTEND, a list of runs a chain of them. Blocks of keys in no run cost nothing.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from celosia.compiler.layout_scratchpad import Region
from celosia.errors import ProgramError
from celosia.isa import Flag, Instruction, Opcode

__all__ = ["KeyRun", "chain", "cut", "steps", "visible_keys"]

NONE = Flag(0)


@dataclass(frozen=True)
class KeyRun:
    """Consecutive keys that a block of queries sees, all of them or under a mask.

    Attributes
    ----------
    first, keys : int
        First key, a multiple of L, and how many.
    diagonal : int, optional
        Query i of the block sees keys `first` to `first + i + diagonal`; without it, to the last.
    window : int, optional
        Query i sees keys from `first + i + window` on; without it, from the first on.
    source : int
        Which keys, where an attention has several sets of them.
    """

    first: int
    keys: int
    diagonal: int | None = None
    window: int | None = None
    source: int = 0

    def part(self, start: int, keys: int) -> "KeyRun":
        """Return the run of some of the keys, `start` counted from the first."""
        diagonal = None if self.diagonal is None else self.diagonal - start
        window = None if self.window is None else self.window - start
        return KeyRun(self.first + start, keys, diagonal, window, self.source)

    def visible(self, queries: int) -> NDArray[np.bool_]:
        """Say which keys of the run each query sees.

        Returns
        -------
        (queries, keys) bool
        """
        query, key = np.ogrid[:queries, : self.keys]
        low = -np.inf if self.window is None else query + self.window
        high = np.inf if self.diagonal is None else query + self.diagonal
        return (low <= key) & (key <= high)

    def reduced(self, queries: int) -> "list[KeyRun]":
        """Drop masks that hide nothing from a block of queries; no run if it shows nothing."""
        diagonal, window = self.diagonal, self.window
        if diagonal is not None and diagonal >= self.keys - 1:
            diagonal = None
        if window is not None and window <= 1 - queries:
            window = None
        above = diagonal is not None and diagonal <= -queries
        below = window is not None and window >= self.keys
        return [] if above or below else [replace(self, diagonal=diagonal, window=window)]


def cut(runs: Iterable[KeyRun], queries: int, most: int) -> list[KeyRun]:
    """Cut runs into parts of at most `most` keys, a multiple of L, without masks that hide nothing.

    Parts that no query sees are left out.
    """
    parts = [
        part
        for run in runs
        for start in range(0, run.keys, most)
        for part in run.part(start, min(most, run.keys - start)).reduced(queries)
    ]
    return parts


def visible_keys(runs: Iterable[KeyRun], queries: int, keys: Sequence[int]) -> NDArray[np.bool_]:
    """Say which keys a block of queries sees; no key may be in two runs for the same query.

    Parameters
    ----------
    runs : iterable of KeyRun
        A chain.
    queries : int
        Queries of the block.
    keys : sequence of int
        Keys of each source.

    Returns
    -------
    (queries, sum of keys) bool
        Sources side by side.

    Raises
    ------
    ProgramError
        If a query sees a key twice: softmax would count it twice.
    """
    starts = np.concatenate([[0], np.cumsum(keys)])
    count = np.zeros((queries, starts[-1]), np.int64)
    for run in runs:
        first = starts[run.source] + run.first
        count[:, first : first + run.keys] += run.visible(queries)
    if (count > 1).any():
        query, key = np.argwhere(count > 1)[0]
        raise ProgramError(f"query {query} of the block sees key {key} in two runs")
    return count > 0


def steps(runs: Sequence[KeyRun]) -> Iterator[tuple[KeyRun, Flag, dict[str, int]]]:
    """Return each run with the flags and operands of its ATTEND in the chain.

    The operands are those of the run alone: the keys and the masks.

    Raises
    ------
    ProgramError
        If there is no run: such queries have no output.
    """
    if not runs:
        raise ProgramError("a block of queries must see a key: its list of runs is empty")
    for index, run in enumerate(runs):
        flags, operands = NONE, {"t": run.keys}
        if index > 0:
            flags |= Flag.CONTINUE
        if index < len(runs) - 1:
            flags |= Flag.HOLD
        if run.diagonal is not None:
            flags |= Flag.CAUSAL
            operands["diagonal"] = run.diagonal
        if run.window is not None:
            flags |= Flag.WINDOW
            operands["window"] = run.window
        yield run, flags, operands


def chain(
    runs: Sequence[KeyRun],
    sources: Sequence[tuple[Region, Region]],
    lanes: int,
    flags: Flag = NONE,
    **operands: int,
) -> Iterator[Instruction]:
    """Return the ATTENDs over some runs of keys that lie in the scratchpad.

    Parameters
    ----------
    runs : sequence of KeyRun
        What the queries see, in this order.
    sources : sequence of (Region, Region)
        K, keys as rows, and Vᵀ, keys as columns, of each source.
    lanes : int
        L.
    flags : Flag
        `KEEP_EXPONENT` or none.
    **operands : int
        All that the ATTENDs share: m, sizes, scale, places of Q and of the result.
    """
    for run, run_flags, run_operands in steps(runs):
        keys, values = sources[run.source]
        place = keys.part(run.first, run.keys).operand("w")
        place |= values.columns(run.first // lanes).operand("v")
        yield Instruction(Opcode.ATTEND, operands | place | run_operands, flags | run_flags)
