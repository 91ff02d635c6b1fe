"""Puts the tokens into a linear program, so that units may run ahead of one another.

What an instruction reads and writes follows from its fields alone, so this serves programs from
the scheduler and programs written by hand alike.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from celosia.compiler.dependencies_effects import Effects, Places, effects
from celosia.config import MachineConfig
from celosia.isa import Flag, Instruction, Opcode, Unit, check_tokens

__all__ = ["hoist_loads", "insert_tokens"]

#: Instructions of the other units that a LOAD may move ahead of.
HOIST = 6


def hoist_loads(program: Sequence[Instruction], config: MachineConfig) -> list[int]:
    """Find an order with every LOAD as early as it may be, so that it runs behind other work.

    Loads stay in order among themselves and move ahead of at most `HOIST` other instructions,
    and of none that they share a place with.

    Returns
    -------
    list of int
        Indices into `program`, in the new order.
    """
    everything = [effects(instruction, config) for instruction in program]
    order: list[int] = []
    for index, instruction in enumerate(program):
        place = len(order)
        if instruction.opcode is Opcode.LOAD:
            while (
                len(order) - place < HOIST
                and place > 0
                and program[order[place - 1]].opcode is not Opcode.LOAD
                and not everything[index].conflicts(everything[order[place - 1]])
            ):
                place -= 1
        order.insert(place, index)
    return order


class _Tracker:
    """Who wrote and who read each place of one space last."""

    def __init__(self, first: int, size: int) -> None:
        self.first = first
        self.writer = np.full(size, -1)
        self.readers = np.full((len(Unit), size), -1)

    def within(self, places: Places) -> Places:
        """Return the places that are ever written, from 0."""
        places = places - self.first
        return places[(places >= 0) & (places < len(self.writer))]


def insert_tokens(program: Sequence[Instruction], config: MachineConfig) -> list[Instruction]:
    """Return the program with the tokens that make it independent of the units' speed.

    Wherever two instructions share a place and at least one writes it, the later waits for the
    earlier, unless it follows from other waits that the earlier has ended: units take and end
    their instructions in order, and what has ended had waited for its own. A unit makes its
    writes in order, after the reads of the instructions before; so of its own instructions, one
    waits only for those of which it reads the results. A chained MATMUL waits for chained LOADs
    word by word, without tokens.

    Parameters
    ----------
    program : sequence of Instruction
        Instructions in an order that is right when they are executed one by one, HALT at the
        end. Tokens that they already have are dropped.
    """
    everything = [effects(instruction, config) for instruction in program]
    trackers = _trackers(everything)
    units = [-1 if ins.unit is None else int(ins.unit) for ins in program]
    waits: list[set[Unit]] = [set() for _ in program]
    signals: list[set[Unit]] = [set() for _ in program]
    # known[b]: of each unit, the last instruction that has ended for sure when b starts its next.
    known = np.full((len(Unit), len(Unit)), -1)
    at_start = np.full((len(program), len(Unit)), -1)

    for index, unit in enumerate(units):
        if unit < 0:
            continue
        sources, overwritten = _hazards(everything[index], trackers)
        if Flag.CHAIN in program[index].flags:
            sources = np.array([i for i in sources if Flag.CHAIN not in program[i].flags], int)
        needed = _latest(sources, overwritten, units, unit)
        for source, last in enumerate(needed):
            if last > known[unit, source]:
                signals[last].add(Unit(unit))
                waits[index].add(Unit(source))
        for source in waits[index]:
            known[unit] = np.maximum(known[unit], at_start[needed[source]])
            known[unit, source] = max(known[unit, source], needed[source])
        at_start[index] = known[unit]
        _note(everything[index], trackers, index, unit)

    linked = [
        replace(ins, wait=frozenset(wait), signal=frozenset(signal))
        for ins, wait, signal in zip(program, waits, signals, strict=True)
    ]
    check_tokens(linked)
    return linked


def _trackers(everything: list[Effects]) -> dict[str, _Tracker]:
    """Make a tracker for each space over the hull of what is ever written."""
    ends: dict[str, tuple[int, int]] = {}
    for found in everything:
        for space, written in found.writes.items():
            for places in written:
                low, high = ends.get(space, (places[0], places[-1]))
                ends[space] = min(low, places[0]), max(high, places[-1])
    return {space: _Tracker(low, high - low + 1) for space, (low, high) in ends.items()}


def _hazards(
    found: Effects, trackers: dict[str, _Tracker]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the instructions whose results one reads, and those whose places it overwrites."""
    sources, overwritten = [np.array([-1])], [np.array([-1])]
    for space, accesses in found.reads.items():
        if space in trackers:
            tracker = trackers[space]
            sources += [np.unique(tracker.writer[tracker.within(places)]) for places in accesses]
    for space, accesses in found.writes.items():
        tracker = trackers[space]
        for places in accesses:
            inside = tracker.within(places)
            overwritten += [
                np.unique(tracker.writer[inside]),
                np.unique(tracker.readers[:, inside]),
            ]
    return np.unique(np.concatenate(sources)), np.unique(np.concatenate(overwritten))


def _latest(
    sources: NDArray[np.int64], overwritten: NDArray[np.int64], units: list[int], own: int
) -> list[int]:
    """Return the last instruction of each unit that one must come after, -1 for none."""
    latest = [-1] * len(Unit)
    for index in sources[sources >= 0].tolist():
        latest[units[index]] = max(latest[units[index]], index)
    for index in overwritten[overwritten >= 0].tolist():
        if units[index] != own:
            latest[units[index]] = max(latest[units[index]], index)
    return latest


def _note(found: Effects, trackers: dict[str, _Tracker], index: int, unit: int) -> None:
    for space, accesses in found.reads.items():
        if space in trackers:
            for places in accesses:
                trackers[space].readers[unit, trackers[space].within(places)] = index
    for space, accesses in found.writes.items():
        for places in accesses:
            trackers[space].writer[trackers[space].within(places)] = index
