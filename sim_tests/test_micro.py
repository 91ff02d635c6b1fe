# amaranth: UnusedElaboratable=no
"""The microprogrammed machine against the golden one: its program alone, and in hardware."""

import numpy as np
import pytest
from amaranth.back import rtlil
from board import Board
from harness import simulate
from micro_interpreter import Interpreter
from random_programs import SIZE, put_program, random_arguments, random_image
from test_machine import HALT, OUTSIDE, load, run, with_program

from celosia.cli.profile import profile_program
from celosia.compiler import compile_model
from celosia.compiler.checkpoint import load_model
from celosia.config import PRESETS
from celosia.cores.single_port import SinglePortMemory
from celosia.errors import ConfigError
from celosia.golden.machine import GoldenMachine
from celosia.isa import (
    ARGUMENTS,
    REGISTERS,
    Cause,
    Flag,
    Instruction,
    Opcode,
    Space,
)
from celosia.platforms.ice40 import ICE40Cells
from celosia.rtl.bridge import Operation
from celosia.rtl.micro_columns import Columns
from celosia.rtl.micro_layout import STRIP
from celosia.rtl.micro_program import microprogram
from celosia.rtl.micro_words import WORDS, Assembler
from celosia.runtime.golden_device import GoldenDevice
from celosia.runtime.host import prepare
from celosia.runtime.link_requests import Request
from celosia.runtime.lockstep import LockstepSession
from celosia.runtime.serial_device import SerialDevice

MICRO = PRESETS["micro"]
SMALL = MICRO.replace(
    memory="on_chip", on_chip_bytes=SIZE, flash_part="", flash_offset=0, scratchpad_words=512
)
#: Milliseconds of 100,000 cycles each: clearing all memory, and a program.
PATIENCE = 40


@pytest.fixture(scope="module")
def program():
    return microprogram(SMALL)


def interpreted(program, images, arguments):
    """Run one image after the other by the interpreter and compare all that is left behind."""
    given, wanted = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    interpreter, golden = Interpreter(SMALL, program, given), GoldenMachine(SMALL, wanted)
    layout = program.layout
    for number, image in enumerate(images):
        wanted[:] = image
        result = golden.run(arguments=arguments[number])
        found = interpreter.run(arguments[number], image)
        assert found == (result.cause, result.fault_address if result.cause else 0)
        np.testing.assert_array_equal(given, wanted, f"program {number}")
        for name in ("instructions", "mac_rows", "saturations"):
            assert interpreter.counter(name) == getattr(result, name), (number, name)
        pad = golden.state.scratchpad
        words = interpreter.local[: 4 * SMALL.scratchpad_words].view(np.int16)
        np.testing.assert_array_equal(words.reshape(-1, 4), pad.words)
        exponents = interpreter.local[layout.exponents :][: SMALL.exponent_slots]
        np.testing.assert_array_equal(exponents, pad.exponents)
    return interpreter


@pytest.mark.parametrize("first", [0, 4, 8, 12])
def test_the_microprogram_does_what_instructions_say(program, first):
    seeds = range(first, first + 4)
    arguments = [random_arguments(seed // 2) for seed in seeds]
    images = [
        random_image(SMALL, seed, arguments=values)
        for seed, values in zip(seeds, arguments, strict=True)
    ]
    interpreted(program, images, arguments)


def test_random_programs(tmp_path):
    arguments = [random_arguments(seed) for seed in range(3)]
    images = [random_image(SMALL, seed, arguments=values) for seed, values in enumerate(arguments)]
    assert run(SMALL, images, tmp_path, arguments=arguments, PATIENCE=PATIENCE) == 1


def test_the_host_looks_while_the_machine_works(tmp_path):
    arguments = [random_arguments(5)]
    images = [random_image(SMALL, 5, 6, arguments=arguments[0])]
    assert (
        run(SMALL, images, tmp_path, arguments=arguments, bench="tb_micro", PATIENCE=PATIENCE) == 1
    )


def test_faults(tmp_path):
    # A good program runs after the fault.
    beyond = with_program(
        Instruction(
            Opcode.LOAD,
            {"address": SIZE - 16, "rows": 3, "pitch": 8} | {"words": 1, "space": Space.ROWS16},
        ),
        HALT,
    )
    images = [*OUTSIDE.values(), beyond, random_image(SMALL, 3, 3)]
    assert run(SMALL, images, tmp_path, PATIENCE=PATIENCE) == 1


def wide_product(flags: Flag, weights: dict[str, int]) -> np.ndarray:
    """A program with a product of more inputs than the strip of weights holds, twice and some."""
    lanes, tiles, rows, channels = SMALL.lanes, 2 * STRIP // 4 + 9, 2, 3
    move = {"pitch": 2 * lanes * tiles, "words": tiles, "stride": tiles}
    entries = {"space": Space.PARAMETERS, "address": 0x7800, "rows": 1, "words": 16}
    product = {"m": rows, "n": channels, "k_tiles": tiles, "x_stride": tiles, "y_base": 500}
    product |= {"y_stride": 1, "y_slot": 8} | weights
    result = {"address": 0x7900, "pitch": 2 * lanes, "rows": rows, "words": 1, "base": 500}
    program = [Instruction(Opcode.LOAD, move | {"address": 0x1000, "rows": rows})]
    if "w_base" in weights:
        program.append(
            Instruction(
                Opcode.LOAD,
                move
                | {"address": 0x3000, "rows": 1, "base": weights["w_base"]}
                | {"slot": weights["w_slot"]},
            )
        )
    program += [
        Instruction(Opcode.LOAD, entries),
        Instruction(Opcode.MATMUL, product, flags),
        Instruction(Opcode.STORE, result | {"stride": 1}),
        HALT,
    ]
    image = np.random.default_rng(1).integers(0, 256, SIZE).astype(np.uint8)
    parameters = np.tile(np.array([1 << 14, 22, 5, 0], "<u2"), 16).view(np.uint8)
    image[0x7800 : 0x7800 + len(parameters)] = parameters
    put_program(image, SMALL, program)
    return image


def test_products_of_more_inputs_than_the_strip_holds(program):
    tiles = 2 * STRIP // 4 + 9
    from_memory = wide_product(Flag.WEIGHTS_IN_MEMORY, {"w_address": 0x4000})
    # All channels are the same row: there is room for one.
    from_rows = wide_product(Flag(0), {"w_base": 2 * tiles, "w_slot": 4})
    interpreted(program, [from_memory, from_rows], [[0] * ARGUMENTS] * 2)


def test_the_first_of_equal_elements_is_found(program):
    move = {"pitch": 4 * SMALL.lanes, "words": 2, "stride": 2, "rows": 3}
    search = {"m": 3, "n": 7, "words": 2, "x_stride": 2, "y_base": 20, "y_stride": 1, "y_slot": 8}
    result = {"address": 0x7900, "pitch": 2 * SMALL.lanes, "rows": 3, "words": 1, "base": 20}
    code = [
        Instruction(Opcode.LOAD, move | {"address": 0x1000}),
        Instruction(Opcode.ARGMAX, search | {"first": 70_000}),
        Instruction(Opcode.ARGMAX, search | {"first": 10}, Flag.CONTINUE),  # as large: not taken
        Instruction(Opcode.STORE, result | {"stride": 1}),
        HALT,
    ]
    image = np.zeros(SIZE, np.uint8)
    rows = [[1, 5, 5, 2, 5, 0, 5, 9], [-3, -3, -4, -3, -9, -3, -3, 0], [-32768] * 8]
    image[0x1000:0x1030] = np.array(rows, "<i2").view(np.uint8).reshape(-1)
    put_program(image, SMALL, code)
    interpreter = interpreted(program, [image], [[0] * ARGUMENTS])
    found = interpreter.memory[0x7900:0x7918].view("<u2").reshape(3, 4)
    assert found[:, 1].tolist() == [70_001 & 0xFFFF, 70_000 & 0xFFFF, 70_000 & 0xFFFF]


def test_groups_share_exponents(program):
    """The exponent of a row is that of its largest group, which may be the first."""
    lanes = SMALL.lanes
    move = {"words": 1, "stride": 1, "pitch": 2 * lanes}
    head = {"m": 4, "t": 2, "d_tiles": 1, "v_tiles": 1, "multiplier": 1 << 14, "shift": 10}
    head |= {"period": 2, "x_stride": 1, "x_group": 2, "w_base": 8, "w_stride": 1, "w_slot": 8}
    head |= {"v_base": 16, "v_stride": 1, "v_slot": 16}
    head |= {"y_base": 30, "y_stride": 4, "y_group": 1, "y_slot": 30}
    code = [
        Instruction(Opcode.LOAD, move | {"address": 0x1000, "rows": 4}),
        Instruction(Opcode.LOAD, move | {"address": 0x1020, "rows": 2, "base": 8, "slot": 8}),
        Instruction(Opcode.LOAD, move | {"address": 0x1030, "rows": 4, "base": 16, "slot": 16}),
        Instruction(Opcode.ATTEND, head),
        Instruction(Opcode.ATTEND, head | {"y_base": 31, "x_base": 2}, Flag.KEEP_EXPONENT),
        HALT,
    ]
    # Queries of the first group find the first key, with large values; the others the second.
    queries, keys = [[100, 0, 0, 0]] * 2 + [[0, 100, 0, 0]] * 2, [[100, 0, 0, 0], [0, 100, 0, 0]]
    values = [[20_000, 1, 0, 0]] * 4
    image = np.zeros(SIZE, np.uint8)
    data = np.array(queries + keys + values, "<i2").view(np.uint8).reshape(-1)
    image[0x1000 : 0x1000 + len(data)] = data
    # The second program does without what is kept.
    images = []
    for part in (code, [*code[:4], HALT]):
        images.append(image.copy())
        put_program(images[-1], SMALL, part)
    interpreter = interpreted(program, images, [[0] * ARGUMENTS] * 2)
    assert interpreter.local[program.layout.exponents + 30] == 8


def test_denominators_of_many_keys_are_halved(program):
    keys, lanes = 140, SMALL.lanes
    move = {"pitch": 2 * lanes, "words": 1, "stride": 1, "address": 0x1000}
    values = {"pitch": 2 * keys, "words": keys // lanes, "stride": keys // lanes}
    # All logits are 0.
    head = {"m": 2, "t": keys, "d_tiles": 1, "v_tiles": 2, "multiplier": 1, "shift": 40}
    head |= {"w_base": 8, "w_stride": 1, "w_slot": 8, "x_stride": 1, "v_base": 150, "v_slot": 150}
    head |= {"v_stride": keys // lanes, "y_base": 500, "y_stride": 2, "y_slot": 250, "y_shift": 9}
    result = {"address": 0x7900, "pitch": 4 * lanes, "rows": 2, "words": 2, "base": 500}
    code = [
        Instruction(Opcode.LOAD, move | {"rows": 2}),
        Instruction(Opcode.LOAD, move | {"rows": keys, "base": 8, "slot": 8}),
        Instruction(Opcode.LOAD, values | {"address": 0x3000, "rows": 8, "base": 150, "slot": 150}),
        Instruction(Opcode.ATTEND, head),
        Instruction(Opcode.STORE, result | {"stride": 2}),
        HALT,
    ]
    image = np.random.default_rng(1).integers(0, 256, SIZE).astype(np.uint8)
    put_program(image, SMALL, code)
    interpreter = interpreted(program, [image], [[0] * ARGUMENTS])
    # A sum of 2^15 is halved, once; no result has the bit that this loses.
    states = interpreter.local[program.layout.states :][:8].view("<i4").reshape(2, 2)
    assert states.tolist() == [[1, (128 * 255 << 14) + (12 * 255 << 14) >> 1]] * 2


def test_a_head_that_the_strip_does_not_hold_is_a_fault(program):
    head = {"m": 1, "t": 1, "d_tiles": 40, "v_tiles": 25, "multiplier": 1, "y_base": 500}
    image = with_program(load(0x1000), Instruction(Opcode.ATTEND, head), HALT)
    found = Interpreter(SMALL, program, np.zeros(SIZE, np.uint8)).run([0] * ARGUMENTS, image)
    assert found == (Cause.ILLEGAL_INSTRUCTION, 64)


def test_a_board_through_its_line(tmp_path):
    """A host polls while weights come slowly, from the flash: nothing but counters is shown."""
    digits = compile_model(load_model("digits_vit"), MICRO)
    image = np.random.default_rng(3).integers(0, 17, (8, 8)).astype(np.float32)
    unused = [Request(Operation.READ, REGISTERS["stall_weights"], 3)]
    polled = [*unused, Request(Operation.READ, REGISTERS["cycles"], 1), *unused]
    with (
        Board(MICRO, tmp_path / "board", flash=digits.image) as board,
        SerialDevice(MICRO, board.port, timeout=60).open(digits) as session,
    ):
        both = LockstepSession(digits, GoldenDevice(MICRO).open(digits), session)
        counters = both.run(prepare(digits, image)).counters
        assert both.compare_memory().mismatches == 0
        busy = sum(counters[f"{unit}_busy"] for unit in ("load", "matrix", "vector", "store"))
        assert 0.9 * counters["cycles"] < busy < counters["cycles"]
        session._set({"control": 1})
        for _ in range(40):
            first, passed, second = session._link.exchange(polled)
            assert first == second == bytes(12)
        assert int.from_bytes(passed, "little") > 20_000


def test_no_profile():
    digits = compile_model(load_model("digits_vit"), MICRO)
    with pytest.raises(ConfigError, match="no timeline"):
        profile_program(digits)


def test_configurations():
    with pytest.raises(ConfigError, match=r"32768 half-words .* make scratchpad_words smaller$"):
        microprogram(SMALL.replace(scratchpad_words=8192))
    assert SMALL.digest() == SMALL.replace(engine="array").digest()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"engine": "serial"}, 'engine must be "array" or "micro"'),
        ({"rows": 2}, 'rows must be 4 with engine "micro", not 2$'),
        ({"pe": "packed"}, "pe must be 'multiply' with engine"),
        ({"memory": "axi4", "on_chip_bytes": 0}, 'memory must be "on_chip" or "flash" with engine'),
        ({"accumulator_width": 32}, "accumulator_width must be at most 31 with engine"),
    ],
)
def test_refusals(change, message):
    with pytest.raises(ConfigError, match=message):
        SMALL.replace(**change)


def test_the_columns(tmp_path):
    assert simulate(Columns(), "tb_columns", tmp_path, STRIP=STRIP, LATENCY=Columns.latency) == 1


def test_the_memory_with_one_port(tmp_path):
    assert simulate(SinglePortMemory(3000), "tb_single_port", tmp_path, DEPTH=3000) == 2


def test_memories_in_large_blocks():
    text = rtlil.convert(SinglePortMemory(3000), name="top", platform=ICE40Cells())
    assert text.count("cell \\SB_SPRAM256KA ") == 2
    with pytest.raises(ValueError, match="at most 16384 on an UltraPlus, not 16385"):
        rtlil.convert(SinglePortMemory(16385), name="top", platform=ICE40Cells())
    with pytest.raises(ValueError, match="must be at least 2, not 1"):
        SinglePortMemory(1)
    with pytest.raises(TypeError, match=r"must be an integer, not 2\.0"):
        SinglePortMemory(2.0)


def test_an_assembler_has_limits():
    assembler = Assembler()
    with pytest.raises(ValueError, match="at most 256 registers"):
        assembler.array("r", 257)
    label = assembler.label()
    with pytest.raises(ValueError, match="has not been placed"):
        assembler.address_of(label)
    for _ in range(WORDS + 1):
        assembler.set(assembler.register("r0"), 1)
    with pytest.raises(ValueError, match=f"at most {WORDS} words"):
        assembler.finish()
