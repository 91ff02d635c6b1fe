"""A small program that uses every unit of a machine, for tests of boards."""

from dataclasses import dataclass

import numpy as np

from celosia import isa
from celosia.compiler.dependencies import insert_tokens
from celosia.compiler.program import Program, Section, Tensor
from celosia.config import MachineConfig
from celosia.errors import ConfigError
from celosia.isa import Flag, Instruction, Opcode, Space
from celosia.runtime.devices import Writes

__all__ = ["random_rows", "selftest_program"]


@dataclass
class _Layout:
    """Bytes of the window, one area behind the other, each from a multiple of 64.

    `end` is that of the image; `free`, where areas without contents lie elsewhere, that of these.
    """

    sections: list[Section]
    data: dict[str, bytes]
    end: int = 0
    free: int | None = None

    def add(self, name: str, content: bytes | int) -> int:
        size = content if isinstance(content, int) else len(content)
        rounded = -(-size // 64) * 64
        if self.free is not None and isinstance(content, int):
            address, self.free = self.free, self.free + rounded
        else:
            address, self.end = self.end, self.end + rounded
        self.sections.append(Section(name, address, size))
        if not isinstance(content, int):
            self.data[name] = content
        return address


def selftest_program(config: MachineConfig) -> Program:
    """Return a program whose outputs are the results of one instruction each.

    Rows A and B come from memory; the products A·W with residual B and activation, and A·Bᵀ; the
    attention of A to B; norm, complex product and largest elements of A.

    Raises
    ------
    ConfigError
        If the machine is too small for it.
    """
    lanes = config.lanes
    rows, words = max(8, config.columns), max(2, 8 // lanes)
    m = min(rows, config.accumulator_rows, config.attention_rows)
    row_bytes, width = words * config.word_bytes, words * lanes
    _check_room(config, rows, words)
    n, tiles = max(1, config.columns - 1), width // config.rows
    rng = np.random.default_rng(1)

    # Code first; how much of it there is, is known when all addresses are, and these stay.
    first = config.flash_base
    layout = _Layout([], {}, first + 24 * isa.INSTRUCTION_BYTES, 0 if first else None)
    entries = np.zeros((rows, 4), "<u2")
    entries[:, 0] = rng.integers(1 << 13, 1 << 15, rows)
    entries[:, 1] = rng.integers(18, 23, rows)
    entries[:, 2] = rng.integers(0, 1 << 16, rows)
    table = rng.integers(-(1 << 15), 1 << 15, (256, 2), np.int16)
    table[:, 1] >>= 6
    weights = rng.integers(-128, 128, (tiles, config.columns, config.rows), np.int8)
    a = layout.add("rows A", rows * row_bytes)
    b = layout.add("rows B", _rows(rng, rows, width))
    parameters = layout.add("parameters", entries.tobytes())
    table_at = layout.add("table", table.astype("<i2").tobytes())
    weights_at = layout.add("weights", weights.tobytes())

    # In the scratchpad: A, B, then the results.
    size = rows * words
    in_a, in_b = {"base": 0, "slot": 0}, {"base": size, "slot": rows}
    moved = {"rows": rows, "words": words, "pitch": row_bytes, "stride": words}

    def operand(name: str, place: dict[str, int]) -> dict[str, int]:
        return {f"{name}_{key}": value for key, value in place.items()} | {f"{name}_stride": words}

    load = Opcode.LOAD
    entries_in = {"space": Space.PARAMETERS, "address": parameters, "rows": 1, "words": rows}
    table_in = {"space": Space.TABLE, "address": table_at, "rows": 1, "words": 256}
    code = [
        Instruction(load, {**moved, **in_a, "address": a}),
        Instruction(load, {**moved, **in_b, "address": b}),
        Instruction(load, entries_in),
        Instruction(load, table_in),
    ]
    outputs = []

    def result(name: str, opcode: Opcode, flags: Flag, wide: int, **operands: int) -> None:
        """Add an instruction with its result, `wide` words a row, and a STORE of that."""
        place = {"base": (2 + len(outputs)) * size, "slot": 2 * rows}
        if opcode is not load:
            code.append(Instruction(opcode, {**operands, "m": m, **operand("y", place)}, flags))
        else:
            code.append(Instruction(opcode, {**operands, **place}, flags))
        pitch = wide * config.word_bytes
        address = layout.add(f"result {name}", m * pitch)
        store = {"rows": m, "words": wide, "pitch": pitch, "stride": words}
        store |= {"base": place["base"], "address": address}
        code.append(Instruction(Opcode.STORE, store))
        outputs.append(Tensor(name, address, pitch, m, wide * lanes, 1.0))

    x = operand("x", in_a)
    part = -(-n // lanes)
    product = {"n": n, "k_tiles": tiles, **x}
    residual = {"r_base": size, "r_stride": words, "r_shift": 1}
    memory = Flag.WEIGHTS_IN_MEMORY | Flag.RESIDUAL | Flag.ACTIVATE
    factor = {"w_base": size, "w_stride": words}
    keys = {"t": min(rows, width) - 1, "d_tiles": tiles, "v_tiles": 1}
    scale = {"multiplier": 1 << 14, "shift": 20}
    offsets = {"gamma": size, "beta": size + words, "shift": 12, "epsilon": 5}
    # Bytes into words: half of each row.
    bytes_in = moved | {"space": Space.ROWS8, "address": b}
    result("load", load, Flag(0), words, **bytes_in)
    result("matmul", Opcode.MATMUL, memory, part, **product, **residual, w_address=weights_at)
    result("matmul of rows", Opcode.MATMUL, Flag(0), part, **product, **operand("w", in_b))
    attend = {**keys, **x, **operand("w", in_b), **operand("v", in_b), **scale}
    result("attend", Opcode.ATTEND, Flag(0), part, **attend)
    norm = {"n": width - 1, "words": words, "x_base": 0, "x_stride": words, **offsets}
    result("norm", Opcode.NORM, Flag(0), words, **norm)
    multiply = {"words": words, "x_base": 0, "x_stride": words, **factor, "shift": 12}
    result("multiply", Opcode.MULTIPLY, Flag.COMPLEX, words, **multiply)
    if lanes >= 4:
        argmax = {"n": width - 1, "words": words, "x_base": 0, "x_stride": words}
        result("argmax", Opcode.ARGMAX, Flag(0), 1, **argmax)

    # The program is told to store bytes too, a part of each row.
    narrow = {"space": Space.ROWS8, "first": 1, "count": width - 2, "base": size}
    narrow |= {"rows": rows, "words": words, "stride": words, "pitch": row_bytes // 2}
    address = layout.add("result store", rows * row_bytes // 2)
    code.append(Instruction(Opcode.STORE, narrow | {"address": address}))
    outputs.append(Tensor("store", address, row_bytes // 2, rows, width, 1.0, "int8"))
    code = insert_tokens([*code, Instruction(Opcode.HALT)], config)

    image = bytearray(layout.end - first)
    text = isa.assemble(code)
    image[: len(text)] = text
    for section in layout.sections:
        if content := layout.data.get(section.name):
            place = section.address - first
            image[place : place + len(content)] = content
    return Program(
        config=config,
        model="self-test",
        image=bytes(image),
        sections=(Section("code", first, len(text)), *layout.sections),
        inputs=(Tensor("A", a, row_bytes, rows, width, 1.0),),
        outputs=tuple(outputs),
        tokens=rows,
        entry=first,
    )


def _check_room(config: MachineConfig, rows: int, words: int) -> None:
    """Check that A, B and eight results of so many rows find room."""
    for name, needed in (
        ("scratchpad_words", 10 * rows * words),
        ("exponent_slots", 3 * rows),
        ("parameter_entries", rows),
    ):
        if getattr(config, name) < needed:
            raise ConfigError(
                f"configuration {config.name!r}: the self-test needs {name} of {needed}, not "
                f"{getattr(config, name)}; run a program of your own instead"
            )


def _rows(rng: np.random.Generator, rows: int, width: int) -> bytes:
    """Return random rows, each of another magnitude."""
    values = rng.integers(-(1 << 15), 1 << 15, (rows, width), np.int64)
    return (values >> rng.integers(0, 14, (rows, 1))).astype("<i2").tobytes()


def random_rows(program: Program, seed: int) -> Writes:
    """Return other rows A for the program."""
    (tensor,) = program.inputs
    rows = _rows(np.random.default_rng(seed), tensor.rows, tensor.columns)
    return [(tensor.address, rows)]
