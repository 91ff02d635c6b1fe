"""Two devices side by side: every byte of memory and outputs, and the work that was done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from celosia import isa
from celosia.arguments import resolve
from celosia.compiler.program import Program
from celosia.config import MachineConfig
from celosia.errors import CheckFailed
from celosia.isa import Flag, Instruction, Opcode
from celosia.runtime.devices import Batch
from celosia.tiles import instruction_tiles

__all__ = [
    "SHARED",
    "Comparison",
    "Difference",
    "compare",
    "differences",
    "mac_cycles",
    "mac_rows",
    "products",
    "require_equal",
    "utilisation",
]

#: Counters that both devices have, and that must be equal.
SHARED = ("instructions", "mac_rows", "saturations")


@dataclass(frozen=True)
class Difference:
    """Bytes that differ, next to each other.

    Attributes
    ----------
    where : str
        "output NAME of input I", the name of a section of the memory, or "counter NAME".
    address : int
        Byte offset of the first one in the window; for a counter, its register.
    bytes : int
        How many.
    expected, given : int
        Value of the first one.
    """

    where: str
    address: int
    bytes: int
    expected: int
    given: int

    def __str__(self) -> str:
        size = f" ({self.bytes} bytes)" if self.bytes > 1 else ""
        return f"{self.where} at {self.address:#x}{size}: {self.given:#x}, not {self.expected:#x}"


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes
    ----------
    bytes_compared : int
        Bytes of outputs and memory.
    mismatches : int
        Bytes that differ, and counters.
    differences : tuple of Difference
        Where.
    """

    bytes_compared: int
    mismatches: int
    differences: tuple[Difference, ...]


def compare(program: Program, golden: Batch, other: Batch) -> Comparison:
    """Compare what two devices gave for the same inputs, `golden` being right."""
    found: list[Difference] = []
    count = 0
    for index, (right, given) in enumerate(zip(golden.runs, other.runs, strict=True)):
        for tensor in program.outputs:
            pair = [np.frombuffer(run.outputs[tensor.address], np.uint8) for run in (right, given)]
            count += pair[0].size
            found += differences(f"output {tensor.name} of input {index}", tensor.address, *pair)
        for name in SHARED:
            if right.counters[name] != given.counters[name]:
                register = isa.REGISTERS[name]
                values = right.counters[name], given.counters[name]
                found.append(Difference(f"counter {name} of input {index}", register, 1, *values))
    ordered = sorted(program.sections, key=lambda section: section.address)
    edges = {0: "memory"}
    for section in ordered:
        edges[section.address] = f"section {section.name}"
        edges.setdefault(section.address + section.bytes, "memory")
    starts = [at for at in sorted(edges) if at < golden.memory.size]
    for at, end in zip(starts, [*starts[1:], golden.memory.size], strict=True):
        found += differences(edges[at], at, golden.memory[at:end], other.memory[at:end])
    count += golden.memory.size
    return Comparison(count, sum(difference.bytes for difference in found), tuple(found))


def require_equal(program: Program, golden: Batch, other: Batch) -> Comparison:
    """Compare as `compare` does.

    Raises
    ------
    CheckFailed
        If anything differs; the message has the first difference.
    """
    found = compare(program, golden, other)
    if found.mismatches:
        raise CheckFailed(
            f"{program.model}: {found.mismatches} mismatches; first: {found.differences[0]}"
        )
    return found


def differences(
    where: str, address: int, expected: np.ndarray, given: np.ndarray
) -> list[Difference]:
    """Gather neighbouring bytes that differ."""
    wrong = np.flatnonzero(expected != given)
    if not wrong.size:
        return []
    return [
        Difference(
            where, address + int(run[0]), run.size, int(expected[run[0]]), int(given[run[0]])
        )
        for run in np.split(wrong, np.flatnonzero(np.diff(wrong) > 1) + 1)
    ]


def mac_cycles(program: Program, arguments: Sequence[int] = ()) -> int:
    """Return the fewest cycles in which the machine could do the products of one run.

    That is the sum of m·n·k over all products, by those of a cycle. What
    the compiler knows of the model counts; without that, the tiles that the program asks for.
    """
    total = program.extra.get("macs")
    if not isinstance(total, int):
        code = resolve(isa.disassemble(_code(program)), arguments)
        total = sum(products(instruction, program.config) for instruction in code)
    return -(-total // program.config.products_per_cycle)


def products(instruction: Instruction, config: MachineConfig) -> int:
    """Multiplications that an instruction asks for, whole tiles along the reduction."""
    if instruction.opcode is Opcode.MATMUL:
        tiles = instruction_tiles(config, instruction)
        present = len(tiles.present(instruction["k_tiles"], instruction["skip"]))
        return instruction["m"] * instruction["n"] * present * tiles.lanes
    if instruction.opcode is Opcode.ATTEND:
        width = instruction["d_tiles"] * config.rows + instruction["v_tiles"] * config.columns
        return instruction["m"] * instruction["t"] * width
    return 0


def mac_rows(instruction: Instruction, config: MachineConfig) -> int:
    """Rows that an instruction streams into the array, once for each of its tiles.

    A wide row of the scratchpad counts twice: its high and its low bytes go one after the other.
    """
    rows, columns, lanes = config.rows, config.columns, config.lanes
    twice = 2 if Flag.WIDE in instruction.flags else 1
    if instruction.opcode is Opcode.MATMUL:
        tiles = instruction_tiles(config, instruction)
        present = len(tiles.present(instruction["k_tiles"], instruction["skip"]))
        return twice * instruction["m"] * -(-instruction["n"] // tiles.channels) * present
    if instruction.opcode is Opcode.ATTEND:
        scores = twice * instruction["d_tiles"] * (lanes // columns)
        output = instruction["v_tiles"] * (lanes // rows)
        return instruction["m"] * -(-instruction["t"] // lanes) * (scores + output)
    return 0


def _code(program: Program) -> bytes:
    return program.code


def utilisation(program: Program, counters: Mapping[str, int]) -> float:
    """Return the share of the array's capacity that one run used, `mac_cycles` by its cycles."""
    return mac_cycles(program) / counters["cycles"]
