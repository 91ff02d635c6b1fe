"""What each instruction reads and writes, from its fields alone."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from celosia.compiler.rows import memory_rows, touched
from celosia.config import MachineConfig
from celosia.isa import Flag, Instruction, Opcode, Space
from celosia.tiles import instruction_tiles

__all__ = ["Effects", "Places", "effects"]

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


def _grid(
    base: int, stride: int, rows: int, words: int, *, period: int = 0, group: int = 0
) -> Places:
    """Words of rows, which come in groups of `period` if that is not 0; ends are extremes."""
    number, row = divmod(np.arange(rows), period or rows)
    return np.add.outer(base + group * number + stride * row, np.arange(words)).ravel()


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
        case Opcode.MULTIPLY:
            m, words = instruction["m"], instruction["words"]
            found.read("scratchpad", _rows(instruction, "x", m, words))
            period = min(instruction["period"] or words, words)
            found.read("scratchpad", _rows(instruction, "w", m, period))
            _result(instruction, words, found)
        case Opcode.ARGMAX:
            m = instruction["m"]
            found.read("scratchpad", _rows(instruction, "x", m, instruction["words"]))
            if Flag.CONTINUE in instruction.flags:
                found.read("scratchpad", _rows(instruction, "y", m, 1))
            _result(instruction, 1, found)
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


def _queries(ins: Instruction, name: str, words: int) -> dict[str, Places]:
    """Where an ATTEND's queries are, or its result: the groups share their exponents."""
    base, stride, group = (ins[f"{name}_{part}"] for part in ("base", "stride", "group"))
    return {
        "scratchpad": _grid(base, stride, ins["m"], words, period=ins["period"], group=group),
        "slots": _run(ins[f"{name}_slot"], ins["period"] or ins["m"]),
    }


def _move(ins: Instruction, config: MachineConfig, found: Effects) -> None:
    space, rows = ins["space"], ins["rows"]
    words, beats = touched(ins, config)
    width = config.memory_width
    first = ins["address"] // width + beats.start
    memory = _grid(first, ins["pitch"] // width, memory_rows(ins), len(beats))
    pad = _grid(ins["base"] + words.start, ins["stride"], rows, len(words))
    if ins.opcode is Opcode.STORE:
        found.read("scratchpad", pad)
        found.write("memory", memory)
        return
    found.read("memory", memory)
    if space == Space.PARAMETERS:
        found.write("parameters", _run(ins["base"], len(words)))
    elif space == Space.TABLE:
        found.write("table", _run(0, 1))
    else:
        found.write("scratchpad", pad)
        found.write("slots", _run(ins["slot"], rows))


def _matmul(ins: Instruction, config: MachineConfig, found: Effects) -> None:
    m, n, k_tiles = ins["m"], ins["n"], ins["k_tiles"]
    n_tiles = -(-n // config.columns)
    tiles = instruction_tiles(config, ins)
    depth = -(-k_tiles * tiles.lanes // config.lanes)
    if Flag.WIDE in ins.flags:
        found.read("scratchpad", _rows(ins, "x", m, depth))
    else:
        _operand(ins, "x", m, depth, found)
    if Flag.WEIGHTS_IN_MEMORY in ins.flags:
        size = -(-n // tiles.channels) * tiles.bytes(k_tiles, ins["skip"])
        beats = -(-size // config.memory_width)
        found.read("memory", _run(ins["w_address"] // config.memory_width, beats))
    else:
        _operand(ins, "w", n, depth, found)
    if Flag.HOLD in ins.flags:
        return  # the next one has the rest
    if Flag.RESIDUAL in ins.flags:
        found.read("scratchpad", _rows(ins, "r", m, -(-n // config.lanes)))
    if Flag.ACTIVATE in ins.flags:
        found.read("table", _run(0, 1))
    found.read("parameters", _run(ins["p_base"], m if Flag.ROW_PARAMETERS in ins.flags else n))
    _result(ins, -(-n_tiles * config.columns // config.lanes), found)


def _attend(ins: Instruction, config: MachineConfig, found: Effects) -> None:
    width = ins["v_tiles"] * config.columns
    depth = -(-ins["d_tiles"] * config.rows // config.lanes)
    for space, places in _queries(ins, "x", depth).items():
        if space != "slots" or Flag.WIDE not in ins.flags:
            found.read(space, places)
    _operand(ins, "w", ins["t"], depth, found)
    _operand(ins, "v", width, -(-ins["t"] // config.lanes), found)
    if Flag.HOLD not in ins.flags:
        for space, places in _queries(ins, "y", -(-width // config.lanes)).items():
            found.write(space, places)
