"""What happened in a run and when, read from the events that a simulation recorded."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from celosia.errors import CheckFailed
from celosia.isa import Instruction, Unit

__all__ = ["ArrayState", "Span", "Timeline", "read_timeline"]

#: Places of the bits in a record's second word, as `sim/sim_top.v` packs them.
ROW, WAITS_TILE, WAITS_BANK, WAITS, STARTS, ENDS = 0, 1, 2, 3, 7, 11


class ArrayState(IntEnum):
    """What the array does in a cycle: it takes a row, or why it takes none."""

    ROW = 0
    TILE = 1
    BANK = 2
    WORD = 3


@dataclass(frozen=True)
class Span:
    """An instruction in its unit.

    Attributes
    ----------
    index : int
        Place in the program.
    instruction : Instruction
        What it is.
    start, end : int
        Cycle in which it starts, and in which its last result has landed.
    """

    index: int
    instruction: Instruction
    start: int
    end: int


@dataclass(frozen=True)
class Timeline:
    """One run.

    Attributes
    ----------
    cycles : int
        How long it took.
    units : tuple of tuple of Span
        The instructions of each unit; they start in this order, and end in it.
    waits : tuple of tuple of (int, int)
        When the next instruction of each unit waited for tokens: first cycle, cycle after.
    array : tuple of (int, int, ArrayState)
        What the array did, without gaps: first cycle, cycle after, state.
    beats : (n, 3) int
        Cycles in ascending order, and the beats read and written before them.
    """

    cycles: int
    units: tuple[tuple[Span, ...], ...]
    waits: tuple[tuple[tuple[int, int], ...], ...]
    array: tuple[tuple[int, int, ArrayState], ...]
    beats: NDArray[np.int64]


def read_timeline(events: NDArray[np.uint32], code: Sequence[Instruction]) -> Timeline:
    """Read the events of one run of the instructions `code`.

    Parameters
    ----------
    events : (n, 4) uint32
        Cycle, what happens in it, beats read and written before it; the last record is the end.
    code : sequence of Instruction
        The program, up to its HALT.

    Raises
    ------
    CheckFailed
        If an instruction did not start once and end once.
    """
    records = events.astype(np.int64)
    cycle, what = records[:, 0], records[:, 1]
    units = []
    for unit in Unit:
        own = [(index, ins) for index, ins in enumerate(code) if ins.unit is unit]
        starts, ends = (cycle[(what >> at + unit) & 1 == 1].tolist() for at in (STARTS, ENDS))
        if not len(own) == len(starts) == len(ends):
            raise CheckFailed(
                f"{unit.name.lower()} unit: {len(own)} instructions, but {len(starts)} starts and "
                f"{len(ends)} ends; the trace does not belong to this program"
            )
        placed = zip(own, starts, ends, strict=True)
        units.append(tuple(Span(*numbered, *times) for numbered, *times in placed))
    state = np.select(
        [(what >> at) & 1 == 1 for at in (ROW, WAITS_TILE, WAITS_BANK)],
        [ArrayState.ROW, ArrayState.TILE, ArrayState.BANK],
        ArrayState.WORD,
    )
    waits = ((what >> WAITS + unit) & 1 for unit in Unit)
    return Timeline(
        cycles=int(cycle[-1]),
        units=tuple(units),
        waits=tuple(
            tuple((begin, end) for begin, end, value in _runs(cycle, wait) if value)
            for wait in waits
        ),
        array=tuple((begin, end, ArrayState(value)) for begin, end, value in _runs(cycle, state)),
        beats=records[:, [0, 2, 3]],
    )


def _runs(cycle: NDArray[np.int64], value: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """Return the runs of equal values, from the first record to the last, which is the end."""
    first = np.flatnonzero(np.diff(value[:-1], prepend=-1))
    edges = np.append(cycle[first], cycle[-1])
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), value[first].tolist(), strict=True))
