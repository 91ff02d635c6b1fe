"""The microprogrammed machine against the golden one: its program alone, and in hardware."""

import json

import numpy as np
import pytest
from harness import simulate
from micro_interpreter import Interpreter
from random_programs import SIZE, random_arguments, random_image

from celosia.config import PRESETS
from celosia.golden.machine import GoldenMachine
from celosia.isa import ARGUMENTS
from celosia.rtl.micro_program import microprogram
from celosia.rtl.micro_top import MicroAccelerator

SMALL = PRESETS["tiny"].replace(
    on_chip_bytes=SIZE, scratchpad_words=512, accumulator_width=29, scratchpad_banks=1
)


def run(config, images, build, arguments=None, **env):
    np.save(build / "images.npy", np.stack(images))
    if arguments is None:
        arguments = np.zeros((len(images), ARGUMENTS), np.int64)
    np.save(build / "arguments.npy", arguments)
    return simulate(
        MicroAccelerator(config),
        "tb_machine",
        build,
        CONFIG=json.dumps(config.to_dict()),
        IMAGES=build / "images.npy",
        ARGUMENTS=build / "arguments.npy",
        STALLS="[0.0]",
        PATIENCE=40,
        **env,
    )


def test_random_programs(tmp_path):
    seeds = range(3)
    arguments = [random_arguments(seed // 2) for seed in seeds]
    images = [
        random_image(SMALL, seed, arguments=values)
        for seed, values in zip(seeds, arguments, strict=True)
    ]
    assert run(SMALL, images, tmp_path, arguments) == 1
