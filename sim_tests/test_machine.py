"""The whole machine against its golden twin: random programs, stalls, faults."""

import json

import numpy as np
import pytest
from harness import simulate
from random_programs import SIZE, put_program, random_arguments, random_image

from celosia.compiler.layout import parameter_bytes
from celosia.config import PRESETS
from celosia.isa import ARGUMENTS, Flag, Instruction, Opcode, Space, Unit, assemble
from celosia.rtl.machine import machine

SQUARE = PRESETS["tiny"].replace(memory="axi4", on_chip_bytes=0, scratchpad_words=512)
CONFIGS = {
    "square": SQUARE,
    "tall": SQUARE.replace(rows=8, columns=4, vector_lanes=2),  # R > C: two parts of a word
    "wide": SQUARE.replace(rows=2, columns=8),  # R < C: four tiles of keys in a block
    "packed": SQUARE.replace(pe="packed"),
    # R > C: the elements of a sparse row lie in two words, one for each half of the channels.
    "sparse": SQUARE.replace(rows=8, columns=4, pe="packed", sparsity=8),
    "parts": SQUARE.replace(rows=2, columns=16, pe="packed", sparsity=4),
    "chosen": SQUARE.replace(sparsity=4),
    "chained": SQUARE.replace(chaining=True, accumulator_width=24),
    "chained_tall": SQUARE.replace(rows=8, columns=4, vector_lanes=2, chaining=True, pe="packed"),
    "chained_wide": SQUARE.replace(rows=2, columns=8, chaining=True, memory_width=16),
    "chip": PRESETS["tiny"].replace(
        on_chip_bytes=SIZE, scratchpad_words=512, scratchpad_banks=1, accumulator_width=28
    ),
}
#: Share of cycles in which each channel of the memory stalls.
STALLS = {"square": [0.0, 0.5], "tall": [0.3], "wide": [0.0], "chip": [0.0]}
STALLS |= {"packed": [0.0], "sparse": [0.0, 0.4], "parts": [0.2], "chosen": [0.0]}
STALLS |= {"chained": [0.0, 0.5], "chained_tall": [0.2], "chained_wide": [0.0]}


def run(config, images, build, stalls=(0.0,), arguments=None, bench="tb_machine", **env):
    np.save(build / "images.npy", np.stack(images))
    if arguments is None:
        arguments = np.zeros((len(images), ARGUMENTS), np.int64)
    np.save(build / "arguments.npy", arguments)
    return simulate(
        machine(config),
        bench,
        build,
        CONFIG=json.dumps(config.to_dict()),
        IMAGES=build / "images.npy",
        ARGUMENTS=build / "arguments.npy",
        STALLS=json.dumps(list(stalls)),
        **env,
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_random_programs(name, tmp_path):
    config = CONFIGS[name]
    # The host fills on-chip memory word by word: fewer and longer programs.
    seeds = range({"chip": 2, "sparse": 16}.get(name, 8))
    arguments = [random_arguments(seed // 2) for seed in seeds]
    images = [
        random_image(config, seed, arguments=values)
        for seed, values in zip(seeds, arguments, strict=True)
    ]
    stalls = STALLS[name]
    assert run(config, images, tmp_path, stalls, arguments) == len(stalls)


def test_values_are_loaded_again_behind_a_run(tmp_path):
    """The load waits until the last tile of Vᵀ is in the array, and no longer than that."""
    # On-chip memory answers fast enough to overtake.
    config = CONFIGS["chip"]
    m, lanes, tiles = 4, config.lanes, 16  # short passes, many tiles
    rows = tiles * config.columns
    tensors = {"x": (0, 0), "w": (64, 16), "v": (128, 32), "y": (256, 128)}
    places = {
        f"{name}_{part}": value
        for name, (base, slot) in tensors.items()
        for part, value in (("base", base), ("stride", 1), ("slot", slot))
    } | {"y_stride": 16}

    def fill(name: str, address: int, first: int, rows: int) -> Instruction:
        base, slot = tensors[name]
        move = {"address": address, "pitch": lanes, "rows": rows, "words": 1, "stride": 1}
        move |= {"base": base + first, "slot": slot + first, "space": Space.ROWS8}
        return Instruction(Opcode.LOAD, move)

    size = {"m": m, "t": lanes, "d_tiles": 1, "v_tiles": tiles}
    scale = {"multiplier": 20000, "shift": 20}
    program = [fill("x", 0x1000, 0, m), fill("w", 0x1100, 0, lanes), fill("v", 0x1200, 0, rows)]
    runs = 6
    for index in range(runs):
        flags = (Flag.CONTINUE if index else Flag(0)) | (Flag.HOLD if index < runs - 1 else Flag(0))
        program.append(Instruction(Opcode.ATTEND, size | scale | places, flags))
        if index < runs - 1:
            # The rows of the last tile: read last.
            program.append(fill("v", 0x1400 + 16 * index, rows - config.columns, config.columns))
    result = {"address": 0x2000, "pitch": 128, "rows": m, "words": 16, "base": 256, "stride": 16}
    program.append(Instruction(Opcode.STORE, result))
    image = np.random.default_rng(1).integers(0, 256, SIZE).astype(np.uint8)
    put_program(image, config, [*program, HALT])
    assert run(config, [image], tmp_path) == 1


def test_scores_wait_for_products(tmp_path):
    """Scores take the bank of the product right before them only as that has drained."""
    config = SQUARE.replace(exponent_slots=1024, scratchpad_banks=1)
    rows, lanes = config.attention_rows, config.lanes
    assert config.score_halves

    def place(name: str, base: int) -> dict[str, int]:
        return {f"{name}_base": base, f"{name}_stride": 1, f"{name}_slot": base}

    def move(opcode: Opcode, address: int, rows: int, base: int, **more: int) -> Instruction:
        operands = {"address": address, "pitch": 2 * lanes, "rows": rows, "words": 1, "base": base}
        return Instruction(opcode, operands | {"stride": 1} | more)

    program = [
        move(Opcode.LOAD, 0x1000, 2 * rows, 0, slot=0),
        move(Opcode.LOAD, 0x1400, 2 * lanes, 2 * rows, slot=2 * rows),
        move(Opcode.LOAD, 0x1600, 1, 0, words=lanes, space=Space.PARAMETERS),
    ]
    # Rows that stream leave the only bank of the scratchpad no time for residuals: drains are late.
    product = {"m": rows, "n": lanes, "k_tiles": 1, "r_base": rows, "r_stride": 1}
    product |= place("x", 0) | place("w", 2 * rows)
    attention = {"m": rows, "t": lanes, "d_tiles": 1, "v_tiles": 1, "multiplier": 20000}
    attention |= {"shift": 20} | place("x", 0) | place("w", 2 * rows + lanes)
    attention |= place("v", 2 * rows)
    first, pairs = 2 * rows + 2 * lanes, 4
    for y in range(first, first + 2 * pairs * rows, 2 * rows):
        # One tile of channels each: its sums are in either bank in turn.
        program += [
            Instruction(Opcode.MATMUL, product | place("y", y), Flag.RESIDUAL),
            Instruction(Opcode.ATTEND, attention | place("y", y + rows)),
        ]
    program.append(move(Opcode.STORE, 0x2000, 2 * pairs * rows, first))
    image = np.random.default_rng(1).integers(0, 256, SIZE).astype(np.uint8)
    ones = np.ones(lanes)
    entries = parameter_bytes(20000 * ones, 30 * ones, 0 * ones).view(np.uint8)
    image[0x1600 : 0x1600 + len(entries)] = entries
    put_program(image, config, [*program, HALT])
    assert run(config, [image], tmp_path) == 1


def with_program(*program: Instruction) -> np.ndarray:
    image = np.zeros(SIZE, np.uint8)
    code = b"".join(ins.encode() for ins in program)
    image[: len(code)] = np.frombuffer(code, np.uint8)
    return image


HALT = Instruction(Opcode.HALT)


def load(address: int, **tokens: frozenset[Unit]) -> Instruction:
    operands = {"address": address, "rows": 1, "words": 1, "space": Space.ROWS16}
    return Instruction(Opcode.LOAD, operands, **tokens)


ITSELF = frozenset([Unit.LOAD])
OUTSIDE = {
    "illegal": with_program(load(0x1000)),  # then zeros, an undefined opcode
    # The second one waits: a fault's address is that of the oldest unfinished instruction.
    "load": with_program(load(0x1000, signal=ITSELF), load(SIZE - 4, wait=ITSELF), HALT),
    "store": with_program(
        Instruction(Opcode.STORE, {"address": SIZE, "rows": 1, "words": 1}), HALT
    ),
    "weights": with_program(
        Instruction(
            Opcode.MATMUL,
            {"m": 1, "n": 4, "k_tiles": 1, "y_base": 9, "y_slot": 9, "w_address": 1 << 31},
            Flag.WEIGHTS_IN_MEMORY,
        ),
        HALT,
    ),
}


def test_scales_wait_for_room(tmp_path):
    """Many rows and few columns: more groups are on their way to the sums than there is room."""
    config = SQUARE.replace(
        rows=32, columns=4, pe="packed", memory_width=32, attention_rows=4, vector_lanes=4
    )
    lanes, tiles = config.lanes, 40
    move = {"address": 0x1000, "pitch": 2 * lanes * tiles, "rows": 1, "words": tiles}
    entries = {"space": Space.PARAMETERS, "address": 0x1C00, "rows": 1, "words": 16}
    product = {"m": 1, "n": 16, "k_tiles": tiles, "x_stride": tiles, "y_base": 256, "y_stride": 8}
    product |= {"y_slot": 4, "w_address": 0x3000, "code": 1, "group": 1}
    result = {"address": 0x2000, "pitch": 2 * lanes, "rows": 1, "words": 1, "base": 256}
    program = [
        Instruction(Opcode.LOAD, move | {"stride": tiles}),
        Instruction(Opcode.LOAD, entries),
        Instruction(Opcode.MATMUL, product, Flag.WEIGHTS_IN_MEMORY),
        Instruction(Opcode.STORE, result | {"stride": 8}),
        HALT,
    ]
    image = np.random.default_rng(1).integers(0, 256, SIZE).astype(np.uint8)
    parameters = np.tile(np.array([1 << 14, 20, 0, 0], "<u2"), 16).view(np.uint8)
    image[0x1C00 : 0x1C00 + len(parameters)] = parameters
    put_program(image, config, program)
    assert run(config, [image], tmp_path) == 1


@pytest.mark.parametrize("name", OUTSIDE)
def test_faults(name, tmp_path):
    # A good program runs after the fault: the machine starts afresh.
    good = random_image(SQUARE, 3)
    assert run(SQUARE, [OUTSIDE[name], good], tmp_path) == 1


def test_fetching_past_the_window(tmp_path):
    image = np.zeros(SIZE, np.uint8)
    code = assemble([load(0x1000), HALT])[:64]
    image[:] = np.frombuffer(code * (SIZE // 64), np.uint8)
    assert run(SQUARE, [image, random_image(SQUARE, 4)], tmp_path) == 1
