"""Puts the tokens into a linear program, so that units may run ahead of one another.

What an instruction reads and writes follows from its fields alone, so this serves programs from
the scheduler and programs written by hand alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from celosia.config import MachineConfig
from celosia.isa import Flag, Instruction, Opcode, Space, Unit, check_tokens

__all__ = ["Effects", "effects", "hoist_loads", "insert_tokens"]

#: Bytes of one parameter entry in memory, and of one segment of the table.
PARAMETER_BYTES, SEGMENT_BYTES = 8, 4
#: Instructions of the other units that a LOAD may move ahead of.
HOIST = 6

Places = NDArray[np.int64]


@dataclass
class Effects:
    """Places that one instruction reads and writes, by the name of their space.

    Spaces are `scratchpad` (words), `slots`, `parameters` (entries), `table` and `memory` (beats).
    """

    reads: dict[str, list[Places]] = field(default_factory=dict)
    writes: dict[str, list[Places]] = field(default_factory=dict)

    def read(self, space: str, places: Places) -> None:
        """Add places that are read."""
        self.reads.setdefault(space, []).append(places)

    def write(self, space: str, places: Places) -> None:
        """Add places that are written."""
        self.writes.setdefault(space, []).append(places)

    def conflicts(self, other: "Effects") -> bool:
        """Say whether the order of both matters; it may say so when it does not."""
        return (
            _touch(self.writes, other.writes)
            or _touch(self.writes, other.reads)
            or _touch(self.reads, other.writes)
        )


def _touch(one: dict[str, list[Places]], other: dict[str, list[Places]]) -> bool:
    return any(
        a[0] <= b[-1] and b[0] <= a[-1]
        for space in one.keys() & other.keys()
        for a in one[space]
        for b in other[space]
    )


def _grid(base: int, stride: int, rows: int, words: int) -> Places:
    return np.add.outer(base + stride * np.arange(rows), np.arange(words)).ravel()


def _run(first: int, count: int) -> Places:
    return np.arange(first, first + count)


def effects(instruction: Instruction, config: MachineConfig) -> Effects:
    """Return what an instruction reads and writes on a machine."""
    found = Effects()
    match instruction.opcode:
        case Opcode.LOAD | Opcode.STORE:
            _move(instruction, config, found)
        case Opcode.MATMUL:
            _matmul(instruction, config, found)
        case Opcode.ATTEND:
            _attend(instruction, config, found)
        case Opcode.NORM:
            words = instruction["words"]
            found.read("scratchpad", _rows(instruction, "x", instruction["m"], words))
            for name in ("gamma", "beta"):
                found.read("scratchpad", _run(instruction[name], words))
            _result(instruction, words, found)
    return found


def _rows(ins: Instruction, name: str, rows: int, words: int) -> Places:
    return _grid(ins[f"{name}_base"], ins[f"{name}_stride"], rows, words)


def _operand(ins: Instruction, name: str, rows: int, words: int, found: Effects) -> None:
    """Rows that the array reads, with their exponents."""
    found.read("scratchpad", _rows(ins, name, rows, words))
    found.read("slots", _run(ins[f"{name}_slot"], rows))


def _result(ins: Instruction, words: int, found: Effects) -> None:
    found.write("scratchpad", _rows(ins, "y", ins["m"], words))
    # An exponent that is kept is read too, but whoever writes waits for all who touched it.
    found.write("slots", _run(ins["y_slot"], ins["m"]))


def _move(ins: Instruction, config: MachineConfig, found: Effects) -> None:
    space, rows, words = ins["space"], ins["rows"], ins["words"]
    size = {
        Space.ROWS16: words * config.word_bytes,
        Space.ROWS8: words * config.lanes,
        Space.PARAMETERS: words * PARAMETER_BYTES,
        Space.TABLE: words * SEGMENT_BYTES,
    }[Space(space)]
    width = config.memory_width
    memory = _grid(ins["address"] // width, ins["pitch"] // width, rows, -(-size // width))
    pad = _grid(ins["base"], ins["stride"], rows, words)
    if ins.opcode is Opcode.STORE:
        found.read("scratchpad", pad)
        found.write("memory", memory)
        return
    found.read("memory", memory)
    if space == Space.PARAMETERS:
        found.write("parameters", _run(ins["base"], words))
    elif space == Space.TABLE:
        found.write("table", _run(0, 1))
    else:
        found.write("scratchpad", pad)
        found.write("slots", _run(ins["slot"], rows))


def _matmul(ins: Instruction, config: MachineConfig, found: Effects) -> None:
    m, n, k_tiles = ins["m"], ins["n"], ins["k_tiles"]
    n_tiles = -(-n // config.columns)
    depth = -(-k_tiles * config.rows // config.lanes)
    _operand(ins, "x", m, depth, found)
    if Flag.WEIGHTS_IN_MEMORY in ins.flags:
        size = n_tiles * k_tiles * config.tile_bytes
        beats = -(-size // config.memory_width)
        found.read("memory", _run(ins["w_address"] // config.memory_width, beats))
    else:
        _operand(ins, "w", n, depth, found)
    if Flag.RESIDUAL in ins.flags:
        found.read("scratchpad", _rows(ins, "r", m, -(-n // config.lanes)))
    if Flag.ACTIVATE in ins.flags:
        found.read("table", _run(0, 1))
    found.read("parameters", _run(ins["p_base"], m if Flag.ROW_PARAMETERS in ins.flags else n))
    _result(ins, -(-n_tiles * config.columns // config.lanes), found)


def _attend(ins: Instruction, config: MachineConfig, found: Effects) -> None:
    m, t, width = ins["m"], ins["t"], ins["v_tiles"] * config.columns
    depth = -(-ins["d_tiles"] * config.rows // config.lanes)
    _operand(ins, "x", m, depth, found)
    _operand(ins, "w", t, depth, found)
    _operand(ins, "v", width, -(-t // config.lanes), found)
    _result(ins, -(-width // config.lanes), found)


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
    their instructions in order, and what has ended had waited for its own.

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
        needed = _latest(_hazards(everything[index], trackers), units)
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


def _hazards(found: Effects, trackers: dict[str, _Tracker]) -> NDArray[np.int64]:
    """Return the instructions that one must come after."""
    before = [np.array([-1])]
    for space, accesses in found.reads.items():
        if space in trackers:
            tracker = trackers[space]
            before += [np.unique(tracker.writer[tracker.within(places)]) for places in accesses]
    for space, accesses in found.writes.items():
        tracker = trackers[space]
        for places in accesses:
            inside = tracker.within(places)
            before += [np.unique(tracker.writer[inside]), np.unique(tracker.readers[:, inside])]
    return np.unique(np.concatenate(before))


def _latest(before: NDArray[np.int64], units: list[int]) -> list[int]:
    """Return the last of some instructions for each unit, -1 for none."""
    latest = [-1] * len(Unit)
    for index in before[before >= 0].tolist():
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
