"""Bench of the requantiser: extreme rows, parameters loaded behind the rows in use."""

import json
import os
import random

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from pipelines import Pipe, noise, packed, reset

from celosia.config import MachineConfig
from celosia.cores.requant import Scale
from celosia.golden.requant import requantise

CONFIG = MachineConfig(**json.loads(os.environ["CONFIG"]))
LATENCY = int(os.environ["LATENCY"])
COLUMNS = CONFIG.columns
ACC_LIMIT = 1 << (CONFIG.accumulator_width - 1)
INPUTS = [
    *("swap", "acc", "row_mode", "row", "residual", "residual_enable", "r_shift", "narrow"),
    *("exponents", "lane_mask", "tag"),
]

rng = np.random.default_rng(0)


def numbers(low: int, high: int, count: int) -> np.ndarray:
    """Values from `low` to `high`: the ends, small ones, and all magnitudes alike."""
    kind = rng.integers(0, 5, count)
    wide = rng.integers(low, high + 1, count)
    shifted = wide >> rng.integers(0, int(high).bit_length(), count)
    small = np.clip(rng.integers(-3, 4, count), low, high)
    return np.choose(kind, [np.full(count, low), np.full(count, high), wide, shifted, small])


class Loader:
    """Writes parameters at random times, and knows what the lanes hold."""

    def __init__(self, dut, gap: float) -> None:
        self.dut = dut
        self.gap = gap
        self.shadow = np.zeros((3, COLUMNS), dtype=np.int64)
        self.active = self.shadow.copy()

    def swap(self) -> None:
        self.active = self.shadow.copy()

    def write(self, lane: int) -> None:
        scale = [numbers(0, 32767, 1)[0], random.randint(-8, 63), numbers(-32768, 32767, 1)[0]]
        self.shadow[:, lane] = scale
        self.dut.load__valid.value = 1
        self.dut.load__lane.value = lane
        self.dut.load__multiplier.value = int(scale[0])
        self.dut.load__shift.value = scale[1]
        self.dut.load__bias.value = int(scale[2])

    def step(self) -> None:
        if random.random() >= self.gap:
            self.write(random.randrange(COLUMNS))
            return
        self.dut.load__valid.value = 0
        noise([self.dut.load__lane, self.dut.load__multiplier])

    async def fill(self) -> None:
        for lane in range(COLUMNS):
            self.write(lane)
            await RisingEdge(self.dut.clk)
        self.dut.load__valid.value = 0


def random_row(loader: Loader, *, swap: bool, tag: int):
    """Inputs of one row and what comes of it."""
    if swap:
        loader.swap()
    row_mode, with_residual, narrow = (random.getrandbits(1) for _ in range(3))
    acc = numbers(-ACC_LIMIT, ACC_LIMIT - 1, COLUMNS)
    residual = numbers(-32768, 32767, COLUMNS)
    r_shift = random.choice([0, 1, random.randrange(32)])
    scale = {
        "multiplier": int(numbers(0, 32767, 1)[0]),
        # Lane and row together: below 0, above 47, and all between.
        "shift": random.choice([0, random.randint(-20, 20), 60]),
        "bias": int(numbers(-32768, 32767, 1)[0]),
    }
    exponents = rng.integers(0, 16, COLUMNS)
    mask = random.choice([(1 << COLUMNS) - 1, random.getrandbits(COLUMNS)])

    multiplier, shift, bias = loader.active
    y, clipped = requantise(
        acc,
        scale["multiplier"] if row_mode else multiplier,
        shift + scale["shift"] - exponents,
        scale["bias"] if row_mode else bias,
        residual=residual if with_residual else None,
        r_shift=r_shift,
        narrow=bool(narrow),
    )
    used = np.array([mask >> lane & 1 for lane in range(COLUMNS)])
    inputs = {
        "swap": swap,
        "acc": packed(acc, CONFIG.accumulator_width),
        "row_mode": row_mode,
        "row": Scale.const(scale).as_value().value,
        "residual": packed(residual, 16),
        "residual_enable": with_residual,
        "r_shift": r_shift,
        "narrow": narrow,
        "exponents": packed(exponents, 4),
        "lane_mask": mask,
        "tag": tag,
    }
    saturations = int((clipped & (used == 1)).sum())
    return inputs, {"data": packed(y * used, 16), "saturations": saturations, "tag": tag}


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(gap=[0.0, 0.5], load_gap=[0.0, 0.6], swaps=[0.05, 0.6])
async def matches_golden(dut, gap, load_gap, swaps):
    await reset(dut, [dut.i__valid, dut.load__valid], LATENCY)
    loader = Loader(dut, load_gap)
    await loader.fill()
    pipe = Pipe(dut, INPUTS, ["data", "saturations", "tag"], LATENCY)
    rows = (
        random_row(loader, swap=n == 0 or random.random() < swaps, tag=random.getrandbits(9))
        for n in range(1500)
    )
    await pipe.run(rows, gap=gap, background=loader.step)
