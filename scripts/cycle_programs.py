"""Programs that load one part of the machine each, and a way to run many of them at once.

They are what the cycle model is compared with; what they compute does not matter.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from celosia.compiler.cycles import MemoryTiming
from celosia.compiler.dependencies import insert_tokens
from celosia.compiler.program import Program, Section
from celosia.config import MachineConfig
from celosia.isa import Flag, Instruction, Opcode, Space, assemble
from celosia.runtime.sim_device import SimDevice

__all__ = ["as_program", "kernels", "memory_timing", "run_all"]

#: Bytes of the window, and where the data lies.
SIZE, ROWS, TILES, PARAMETERS = 1 << 15, 0x2000, 0x4000, 0x7000
#: Scratchpad words of a row, and from row to row.
WORDS, STRIDE = 8, 9
#: Where rows of a result go, and their exponents.
RESULT, RESULT_SLOT = 600, 64


def as_program(config: MachineConfig, name: str, instructions: Sequence[Instruction]) -> Program:
    """Return instructions, without tokens or HALT, as a program with random data."""
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, SIZE, np.uint8)
    entries = image[PARAMETERS:].view("<u2").reshape(-1, 4)
    entries[:, :2] = 1 << 14, 25
    code = assemble(insert_tokens([*instructions, Instruction(Opcode.HALT)], config))
    image[: len(code)] = np.frombuffer(code, np.uint8)
    return wrapped(config, name, image.tobytes())


def wrapped(config: MachineConfig, name: str, image: bytes) -> Program:
    """Return an image with its code at the start as a program."""
    return Program(
        config=config,
        model=name,
        image=image,
        sections=(Section("all", 0, len(image)),),
        inputs=(),
        outputs=(),
        tokens=1,
    )


def run_all(
    device: SimDevice, programs: Sequence[Program], arguments: Sequence[int] = ()
) -> list[dict[str, int]]:
    """Run programs of one size in one simulation; return the counters of each."""
    inputs = [[(0, program.image)] for program in programs]
    batch = device.run(programs[0], inputs, arguments=arguments)
    return [dict(run.counters) for run in batch.runs]


def memory_timing(config: MachineConfig, latency: int, bandwidth: int) -> MemoryTiming:
    """Return the timing of a simulated memory that moves `bandwidth` beats in 256 cycles."""
    return MemoryTiming(latency, config.memory_width * bandwidth / 256)


def kernels(config: MachineConfig) -> Iterator[Program]:
    """Yield programs for one machine: loads and stores, rows, products, attention."""
    for name, instructions in (
        *_transfers(config),
        *_norms(config),
        *_functions(config),
        *_products(config),
        *_attentions(config),
    ):
        yield as_program(config, name, instructions)


Kernels = Iterator[tuple[str, list[Instruction]]]


def _rows(opcode: Opcode, config: MachineConfig, **operands: Any) -> Instruction:
    rows = {"rows": 32, "words": WORDS, "stride": STRIDE, "address": ROWS, **operands}
    rows.setdefault("pitch", rows["words"] * config.word_bytes)
    return Instruction(opcode, rows)


def _transfers(config: MachineConfig) -> Kernels:
    for opcode in (Opcode.LOAD, Opcode.STORE):
        name = opcode.name.lower()
        yield f"{name} one word", [_rows(opcode, config, rows=1, words=1)]
        yield f"{name} rows", [_rows(opcode, config)]
        pitch = WORDS * config.word_bytes + config.memory_width
        yield f"{name} rows apart", [_rows(opcode, config, pitch=pitch)]
        yield f"{name} bytes", [_rows(opcode, config, space=Space.ROWS8)]
        small = [_rows(opcode, config, rows=5, words=3, base=45 * i) for i in range(8)]
        yield f"{name} small ones", small
    lanes = config.lanes
    for first, count in ((0, 1), (lanes + 1, 1), (lanes - 1, 2), (3, WORDS * lanes - 4)):
        part = {"first": first, "count": count}
        yield f"store {count} of each row", [_rows(Opcode.STORE, config, **part)]
        part["space"] = Space.ROWS8
        yield f"store {count} bytes of each row", [_rows(Opcode.STORE, config, **part)]
    for space, words in ((Space.PARAMETERS, 37), (Space.TABLE, 256)):
        entries = {"space": space, "rows": 1, "words": words, "address": PARAMETERS}
        yield f"load {space.name.lower()}", [Instruction(Opcode.LOAD, entries)]


def _norms(config: MachineConfig) -> Kernels:
    for m, words in ((1, 1), (1, WORDS), (5, 4), (30, 2), (30, WORDS)):
        norm = {"m": m, "words": words, "n": words * config.lanes - 1, "x_stride": STRIDE}
        norm |= {"gamma": 300, "beta": 320, "shift": 12, "epsilon": 5}
        norm |= {"y_base": RESULT, "y_stride": STRIDE, "y_slot": RESULT_SLOT}
        yield f"norm {m}x{words}", [_rows(Opcode.LOAD, config), Instruction(Opcode.NORM, norm)]


def _functions(config: MachineConfig) -> Kernels:
    for m, words in ((1, 1), (1, WORDS), (7, 2), (30, WORDS)):
        rows = {"m": m, "words": words, "x_stride": STRIDE}
        rows |= {"y_base": RESULT, "y_stride": STRIDE, "y_slot": RESULT_SLOT}
        product = {**rows, "w_base": 300, "w_stride": words, "period": max(1, words // 2)}
        search = {**rows, "n": words * config.lanes}
        load = _rows(Opcode.LOAD, config)
        yield f"multiply {m}x{words}", [load, *[Instruction(Opcode.MULTIPLY, product)] * 2]
        yield f"argmax {m}x{words}", [load, *[Instruction(Opcode.ARGMAX, search)] * 2]


def _products(config: MachineConfig) -> Kernels:
    columns = config.columns
    for name, m, n, k_tiles in (
        ("weight-bound", 1, 4 * columns, 8),
        ("column-bound", columns, 4 * columns, 8),
        ("row-bound", 30, 4 * columns, 4),
        ("drain-bound", 1, 6 * columns, 1),
        ("ragged", 7, 2 * columns + 1, 3),
    ):
        product = {"m": m, "n": n, "k_tiles": k_tiles, "x_stride": STRIDE}
        product |= {"y_base": RESULT, "y_stride": STRIDE, "y_slot": RESULT_SLOT}
        stored = {**product, "w_address": TILES}
        inside = {**product, "n": min(n, 32), "w_stride": STRIDE}
        residual = {**stored, "r_base": 3, "r_stride": STRIDE}
        for how, operands, flags in (
            ("memory", stored, Flag.WEIGHTS_IN_MEMORY),
            ("residual", residual, Flag.WEIGHTS_IN_MEMORY | Flag.RESIDUAL),
            ("scratchpad", inside, Flag(0)),
            ("wide rows, memory", stored, Flag.WEIGHTS_IN_MEMORY | Flag.WIDE),
            ("wide rows, scratchpad", inside, Flag.WIDE),
        ):
            matmul = Instruction(Opcode.MATMUL, operands, flags)
            yield f"product {name}, {how}", [_rows(Opcode.LOAD, config), matmul, matmul]


def _attentions(config: MachineConfig) -> Kernels:
    for m, blocks, d_tiles, v_tiles, period in (
        (1, 1, 1, 1, 0),
        (5, 2, 2, 2, 0),
        (16, 3, 2, 2, 0),
        (30, 2, 1, 1, 0),
        (4, 3, 2, 1, 1),  # heads of one query, beside each other
        (18, 3, 2, 2, 6),
        (30, 2, 1, 1, 15),
    ):
        attend = {"m": m, "t": min(32, blocks * config.lanes - 1), "x_stride": STRIDE}
        attend |= {"d_tiles": d_tiles, "v_tiles": v_tiles, "w_stride": STRIDE, "v_stride": STRIDE}
        attend |= {"multiplier": 1 << 14, "shift": 20}
        attend |= {"period": period, "x_group": 2, "y_group": max(1, period) * STRIDE}
        attend |= {"y_base": RESULT, "y_stride": STRIDE, "y_slot": RESULT_SLOT}
        load = _rows(Opcode.LOAD, config)
        one = Instruction(Opcode.ATTEND, attend)
        held = Instruction(Opcode.ATTEND, attend, Flag.HOLD)
        ended = Instruction(Opcode.ATTEND, attend, Flag.CONTINUE)
        wide = Instruction(Opcode.ATTEND, attend, Flag.WIDE)
        shape = f"{m}x{attend['t']}, {d_tiles} and {v_tiles} tiles, groups of {period or m}"
        yield f"attention {shape}", [load, one]
        yield f"three attentions {shape}", [load, one, one, one]
        yield f"chained attentions {shape}", [load, held, ended, one]
        yield f"attentions of wide queries {shape}", [load, wide, wide]
