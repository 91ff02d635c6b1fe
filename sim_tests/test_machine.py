"""The whole machine against its golden twin: random programs, stalls, faults."""

import json

import numpy as np
import pytest
from harness import simulate
from random_programs import SIZE, random_image

from celosia.config import PRESETS
from celosia.isa import Flag, Instruction, Opcode, Space, Unit, assemble
from celosia.rtl.top import Accelerator

SQUARE = PRESETS["tiny"].replace(memory="axi4", on_chip_bytes=0, scratchpad_words=512)
CONFIGS = {
    "square": SQUARE,
    "tall": SQUARE.replace(rows=8, columns=4, vector_lanes=2),  # R > C: two parts of a word
    "wide": SQUARE.replace(rows=2, columns=8),  # R < C: four tiles of keys in a block
    "chip": PRESETS["tiny"].replace(
        on_chip_bytes=SIZE, scratchpad_words=512, scratchpad_banks=1, accumulator_width=28
    ),
}
#: Share of cycles in which each channel of the memory stalls.
STALLS = {"square": [0.0, 0.5], "tall": [0.3], "wide": [0.0], "chip": [0.0]}


def run(config, images, build, stalls=(0.0,), **env):
    np.save(build / "images.npy", np.stack(images))
    return simulate(
        Accelerator(config),
        "tb_machine",
        build,
        CONFIG=json.dumps(config.to_dict()),
        IMAGES=build / "images.npy",
        STALLS=json.dumps(list(stalls)),
        **env,
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_random_programs(name, tmp_path):
    config = CONFIGS[name]
    # The host fills on-chip memory word by word: fewer and longer programs.
    images = [random_image(config, seed) for seed in range(2 if name == "chip" else 8)]
    assert run(config, images, tmp_path, STALLS[name]) == len(STALLS[name])


def with_program(*program: Instruction) -> np.ndarray:
    image = np.zeros(SIZE, np.uint8)
    code = b"".join(ins.encode() for ins in program)
    image[: len(code)] = np.frombuffer(code, np.uint8)
    return image


def load(address: int, **tokens: frozenset[Unit]) -> Instruction:
    operands = {"address": address, "rows": 1, "words": 1, "space": Space.ROWS16}
    return Instruction(Opcode.LOAD, operands, **tokens)


HALT = Instruction(Opcode.HALT)
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
