"""Bench of the streaming softmax: every row, in its exact cycle, at the edge of its contract."""

import json
import os
import random
from dataclasses import dataclass

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge

from celosia.config import MachineConfig
from celosia.golden.softmax import DENOMINATOR_FRACTION, reciprocal, softmax_block

CONFIG = MachineConfig(**json.loads(os.environ["CONFIG"]))
LATENCY = int(os.environ["LATENCY"])
RECIPROCAL_LATENCY = int(os.environ["RECIPROCAL_LATENCY"])
TURNAROUND = int(os.environ["TURNAROUND"])
LANES, COLUMNS = CONFIG.lanes, CONFIG.columns
PARTS = LANES // COLUMNS
LEAST, GREATEST = -(1 << 15), (1 << 15) - 1


def ramp(rng, m: int, keys: int) -> np.ndarray:
    """Logits that move by an octave and a bit from each block to the next."""
    return rng.normal(0, 30, (m, keys)) + np.arange(keys) // LANES * 75.0


PATTERNS = {
    "flat": lambda rng, m, keys: rng.normal(0, 6, (m, keys)),
    "uneven": lambda rng, m, keys: (
        rng.normal(0, 6, (m, keys)) - 64 * (np.arange(keys) // LANES % 3)
    ),
    "normal": lambda rng, m, keys: rng.normal(0, 92, (m, keys)),
    "sink": lambda rng, m, keys: rng.normal(0, 92, (m, keys)) + 920 * (np.arange(keys) == 0),
    "peaky": lambda rng, m, keys: rng.normal(0, 370, (m, keys)),
    "growing": ramp,
    "falling": lambda rng, m, keys: -ramp(rng, m, keys),
    "lowest": lambda rng, m, keys: np.full((m, keys), LEAST),
    "highest": lambda rng, m, keys: np.full((m, keys), GREATEST),
    "extremes": lambda rng, m, keys: rng.choice([LEAST, GREATEST], (m, keys), p=[0.97, 0.03]),
    "wide": lambda rng, m, keys: rng.integers(LEAST, GREATEST + 1, (m, keys)),
    # Integers and their neighbours, where the ceiling and the octave change.
    "edges": lambda rng, m, keys: (
        64 * rng.integers(-8, 8, (m, keys)) + rng.choice([-1, 0, 1], (m, keys))
    ),
}


def logits(pattern: str, rng, m: int, keys: int) -> np.ndarray:
    values = np.round(PATTERNS[pattern](rng, m, keys))
    return np.clip(values, LEAST, GREATEST).astype(np.int64)


#: Which keys k a row i sees, in whole blocks or not.
VIEWS = {
    "every": lambda i, k: k >= 0,
    "causal": lambda i, k: k <= i,
    "late": lambda i, k: k >= (1 + i % 3) * LANES - i % 2,
    "early": lambda i, k: k < (i % 3) * LANES + i % 2,
    "gaps": lambda i, k: (k // LANES + i) % 3 > (k + i) % 2,
    "nothing": lambda i, k: k < 0,
}


def packed(values, width: int) -> int:
    """Pack signed fields into a word, the first one least significant."""
    mask = (1 << width) - 1
    return sum((int(value) & mask) << (width * index) for index, value in enumerate(values))


@dataclass
class Part:
    data: np.ndarray
    mask: np.ndarray
    row: int
    part: int
    first: bool
    last: bool


@dataclass
class Attention:
    """What one attention presents, and what must come of it."""

    parts: list[Part]
    probabilities: list[tuple[int, int, int, int]]
    reciprocals: list[tuple[int, ...]]
    bumps: int


def attention(t: np.ndarray, view: str = "every") -> Attention:
    """Blocks of all rows of `t`, each under the number of some row of the hardware."""
    m, keys = t.shape
    rng = np.random.default_rng(keys)
    names = [int(name) for name in rng.permutation(CONFIG.attention_rows)[:m]]
    blocks = -(-keys // LANES)
    # What masked lanes show must not matter, be it large, small or like the rest.
    noise = rng.integers(LEAST, GREATEST + 1, (m, blocks * LANES))
    like = np.clip(t[:, -1:] + rng.integers(-300, 300, noise.shape), LEAST, GREATEST)
    padded = np.where(rng.random(noise.shape) < 0.3, noise, like)
    padded[:, :keys] = t
    row, key = np.indices(padded.shape)
    seen = (key < keys) & VIEWS[view](row, key)

    done = Attention([], [], [], 0)
    state = None
    for block in range(blocks):
        lanes = slice(block * LANES, (block + 1) * LANES)
        valid = seen[:, lanes]
        p, a, b, state = softmax_block(CONFIG, padded[:, lanes], valid, state)
        done.bumps += int(((a > 0) & (b > 0)).sum())
        first, last = block == 0, block == blocks - 1
        for i, name in enumerate(names):
            row = padded[i, lanes].reshape(PARTS, COLUMNS)
            mask = valid[i].reshape(PARTS, COLUMNS)
            done.parts += [Part(row[k], mask[k], name, k, first, last) for k in range(PARTS)]
            done.probabilities.append((name, packed(p[i], 8), int(a[i]), int(b[i])))
    # The reciprocal of 0 may be anything.
    rcp, shift = reciprocal(np.maximum(state.denominator, 1))
    shift += CONFIG.guard_bits - DENOMINATOR_FRACTION
    known = zip(rcp.tolist(), shift.tolist(), strict=True)
    done.reciprocals = [
        (name, *scale) if exists else (name,)
        for name, scale, exists in zip(names, known, state.denominator > 0, strict=True)
    ]
    return done


class Driver:
    """Presents parts as early as the contract allows, but for random gaps.

    While no part is valid it shows noise.
    """

    def __init__(self, dut, *, gap: float) -> None:
        self.dut = dut
        self.gap = gap
        self.seen: dict[int, int] = {}
        self.cycle = 0

    async def run(self, parts: list[Part]) -> None:
        for part in parts:
            is_last = part.part == PARTS - 1
            too_early = self.seen.get(part.row, -TURNAROUND) + TURNAROUND
            while random.random() < self.gap or (is_last and self.cycle < too_early):
                self.present_noise()
                await self.step()
            if is_last:
                self.seen[part.row] = self.cycle
            self.present(part)
            await self.step()
        self.present_noise()

    async def step(self) -> None:
        await RisingEdge(self.dut.clk)
        self.cycle += 1

    def present(self, part: Part) -> None:
        self.dut.logits__valid.value = 1
        self.dut.logits__data.value = packed(part.data, 16)
        self.dut.logits__lane_mask.value = packed(part.mask, 1)
        self.dut.logits__row.value = part.row
        self.dut.logits__part.value = part.part
        self.dut.logits__first.value = part.first
        self.dut.logits__last.value = part.last

    def present_noise(self) -> None:
        self.dut.logits__valid.value = 0
        self.dut.logits__data.value = random.getrandbits(16 * COLUMNS)
        self.dut.logits__lane_mask.value = random.getrandbits(COLUMNS)
        self.dut.logits__row.value = random.randrange(CONFIG.attention_rows)
        self.dut.logits__part.value = random.randrange(PARTS)
        self.dut.logits__first.value = random.getrandbits(1)
        self.dut.logits__last.value = random.getrandbits(1)


class Monitor:
    """Notes in which cycle rows were complete and results came out."""

    def __init__(self, dut) -> None:
        self.dut = dut
        self.rows: list[int] = []
        self.last_rows: list[int] = []
        self.probabilities: list[tuple[int, tuple]] = []
        self.reciprocals: list[tuple[int, tuple]] = []

    async def run(self) -> None:
        dut, cycle = self.dut, 0
        while True:
            await RisingEdge(dut.clk)
            if dut.logits__valid.value and (PARTS == 1 or int(dut.logits__part.value) == PARTS - 1):
                self.rows.append(cycle)
                if dut.logits__last.value:
                    self.last_rows.append(cycle)
            if dut.probabilities__valid.value:
                names = ("row", "data", "a", "b")
                self.probabilities.append((cycle, self.values("probabilities", names)))
            if dut.reciprocals__valid.value:
                names = ("row", "rcp", "shift")
                self.reciprocals.append((cycle, self.values("reciprocals", names)))
            cycle += 1

    def values(self, port: str, names: tuple[str, ...]) -> tuple[int, ...]:
        return tuple(getattr(self.dut, f"{port}__{n}").value.to_unsigned() for n in names)


async def start(dut) -> None:
    Clock(dut.clk, 10, unit="ns").start()
    dut.logits__valid.value = 0
    dut.rst.value = 1
    await RisingEdge(dut.clk)
    dut.rst.value = 0


async def check(dut, attentions: list[Attention], *, gap: float = 0.0) -> Monitor:
    """Run the attentions; assert every result, its order and its cycle."""
    monitor = Monitor(dut)
    monitoring = cocotb.start_soon(monitor.run())
    driver = Driver(dut, gap=gap)
    for item in attentions:
        await driver.run(item.parts)
    await ClockCycles(dut.clk, RECIPROCAL_LATENCY + 4)
    monitoring.cancel()

    rows = [row for item in attentions for row in item.probabilities]
    due = [cycle + LATENCY for cycle in monitor.rows]
    assert monitor.probabilities == list(zip(due, rows, strict=True))
    rows = [row for item in attentions for row in item.reciprocals]
    due = [cycle + RECIPROCAL_LATENCY for cycle in monitor.last_rows]
    found = [
        (cycle, values[: len(row)])
        for (cycle, values), row in zip(monitor.reciprocals, rows, strict=True)
    ]
    assert found == list(zip(due, rows, strict=True))
    return monitor


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(pattern=list(PATTERNS))
async def matches_golden(dut, pattern):
    await start(dut)
    rng = np.random.default_rng(0)
    m = CONFIG.attention_rows
    item = attention(logits(pattern, rng, m, 6 * LANES + 3))
    # With as many rows as this no row waits for itself, so every cycle brings a part.
    monitor = await check(dut, [item])
    if PARTS * m >= TURNAROUND:
        assert monitor.rows[-1] - monitor.rows[0] == PARTS * (len(monitor.rows) - 1)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(gap=[0.0, 0.5])
async def takes_any_number_of_keys(dut, gap):
    await start(dut)
    rng = np.random.default_rng(1)
    names = list(PATTERNS)
    attentions = [
        attention(logits(names[keys % len(names)], rng, 1 + keys % CONFIG.attention_rows, keys))
        for keys in range(1, 2 * LANES + 2)
    ]
    await check(dut, attentions, gap=gap)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(view=list(VIEWS), pattern=["normal", "growing", "highest", "wide"])
async def shows_each_row_its_own_keys(dut, view, pattern):
    await start(dut)
    rng = np.random.default_rng(5)
    m = CONFIG.attention_rows
    items = [attention(logits(pattern, rng, m, keys), view) for keys in (4 * LANES, 3 * LANES + 1)]
    await check(dut, items, gap=0.1)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(pattern=["normal", "growing", "falling", "wide"])
async def takes_one_row_as_often_as_it_may(dut, pattern):
    await start(dut)
    rng = np.random.default_rng(2)
    monitor = await check(dut, [attention(logits(pattern, rng, 1, 40 * LANES))])
    assert set(np.diff(monitor.rows)) == {max(TURNAROUND, PARTS)}


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(pattern=["flat", "uneven", "highest", "lowest"])
async def takes_hundreds_of_blocks(dut, pattern):
    await start(dut)
    rng = np.random.default_rng(3)
    item = attention(logits(pattern, rng, 2, 300 * LANES))
    # The denominator has outgrown its width several times, in each row.
    assert item.bumps >= 4
    await check(dut, [item])


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def starts_anew_after_reset(dut):
    await start(dut)
    rng = np.random.default_rng(4)
    item = attention(logits("normal", rng, 3, 2 * LANES))
    # Reset in the middle of a row, and with results under way.
    await Driver(dut, gap=0.0).run(item.parts[: len(item.parts) // 2 + 1])
    dut.rst.value = 1
    await RisingEdge(dut.clk)
    dut.rst.value = 0
    await check(dut, [item])
