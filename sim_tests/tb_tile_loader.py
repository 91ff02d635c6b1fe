"""Bench of the tile loader: the right columns, at the edge of what the array allows."""

import json
import os
import random

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge
from streams import Source

from celosia.config import MachineConfig
from celosia.golden.quantise import quantise
from celosia.rtl.passes import TilePass

CONFIG = MachineConfig(**json.loads(os.environ["CONFIG"]))
ROWS, COLUMNS, LANES = CONFIG.rows, CONFIG.columns, CONFIG.lanes
#: Cycles from a row let go to the row at the array's input.
ROW_PATH = 3


def packed(values, width: int) -> int:
    """Pack fields into a word, the first one least significant."""
    mask = (1 << width) - 1
    return sum((int(value) & mask) << (width * index) for index, value in enumerate(values))


class Scratchpad:
    """Words and exponents, and the tiles made of them."""

    def __init__(self, rng) -> None:
        self.words = rng.integers(-(1 << 15), 1 << 15, (CONFIG.scratchpad_words, LANES))
        self.exponents = rng.integers(0, 9, CONFIG.exponent_slots)

    def column(self, tile: dict, column: int) -> np.ndarray:
        word = self.words[(tile["base"] + column * tile["stride"]) % len(self.words)]
        first = tile["part"] * ROWS
        slot = (tile["slot"] + column) % len(self.exponents)
        return quantise(word[first : first + ROWS], self.exponents[slot])


def random_tile(rng, *, from_memory: bool) -> dict:
    """A tile by the fields of a `TilePass`, and its weights if they come from memory."""
    return {
        "from_memory": int(from_memory),
        "base": int(rng.integers(CONFIG.scratchpad_words)),
        "stride": int(rng.integers(CONFIG.scratchpad_words)),
        "part": int(rng.integers(LANES // ROWS)),
        "slot": int(rng.integers(CONFIG.exponent_slots)),
        "columns": COLUMNS if from_memory else int(rng.integers(COLUMNS + 1)),
        "weights": rng.integers(-128, 128, (COLUMNS, ROWS)),
    }


def encoded(tile: dict) -> int:
    """Pack a tile."""
    fields = {name: value for name, value in tile.items() if name != "weights"}
    return TilePass(CONFIG).const(fields).as_bits()


class Bench:
    """Drives the loader, and takes its tiles as soon as they are complete, but for gaps."""

    def __init__(self, dut, tiles: list[dict], scratchpad: Scratchpad, gap: float) -> None:
        self.dut = dut
        self.tiles = tiles
        self.scratchpad = scratchpad
        self.gap = gap
        self.asked: list[int] = []  # scratchpad addresses
        self.columns: list[tuple[int, int, int]] = []  # cycle, number, data
        self.taken: list[int] = []

    async def answer(self) -> None:
        """Offer a word a cycle, each some cycles after its request."""
        dut = self.dut
        path: list[int | None] = [None] * 3
        offered = None
        while True:
            dut.words__valid.value = offered is not None
            dut.words__payload.value = (
                random.getrandbits(16 * LANES) if offered is None else offered
            )
            dut.requests__ready.value = random.random() >= self.gap
            await RisingEdge(dut.clk)
            dut.exponents__exponent.value = int(
                self.scratchpad.exponents[dut.exponents__address.value.to_unsigned()]
            )
            if dut.words__ready.value:
                offered = None
            if dut.requests__valid.value and dut.requests__ready.value:
                self.asked.append(dut.requests__payload.value.to_unsigned())
            if offered is None and random.random() >= self.gap:
                path.append(self.asked.pop(0) if self.asked else None)
                address = path.pop(0)
                offered = None if address is None else packed(self.scratchpad.words[address], 16)

    async def take(self) -> None:
        """Take complete tiles, and note columns."""
        dut = self.dut
        cycle = 0
        # When the last tile is complete, its last column is two cycles from the array.
        while len(self.taken) < len(self.tiles) or cycle < self.taken[-1] + ROW_PATH:
            await FallingEdge(dut.clk)
            takes = dut.holds.value and random.random() >= self.gap
            dut.taken.value = bool(takes)
            if takes:
                self.taken.append(cycle)
            if dut.load__valid.value:
                number = dut.load__column.value.to_unsigned()
                self.columns.append((cycle, number, dut.load__data.value.to_unsigned()))
            cycle += 1

    def check(self) -> None:
        """Compare every column with its tile, and its cycle with what the array allows."""
        found = iter(self.columns)
        before = -COLUMNS
        for tile, taken in zip(self.tiles, self.taken, strict=True):
            for column in range(tile["columns"]):
                cycle, number, data = next(found)
                expected = tile["weights"][column]
                if not tile["from_memory"]:
                    expected = self.scratchpad.column(tile, column)
                assert number == column
                assert data == packed(expected, 8), f"column {column} of {tile}"
                # Not before the tile that is being swapped in is safe, and before its own row.
                assert before + ROW_PATH + column <= cycle < taken + ROW_PATH
            before = taken
        assert next(found, None) is None


async def run(dut, tiles: list[dict], scratchpad: Scratchpad, gap: float = 0.0) -> Bench:
    Clock(dut.clk, 10, unit="ns").start()
    bench = Bench(dut, tiles, scratchpad, gap)
    source, weights = Source(dut, "i", stall=gap), Source(dut, "weights", stall=gap)
    dut.taken.value = dut.words__valid.value = dut.requests__ready.value = 0
    dut.rst.value = 1
    await RisingEdge(dut.clk)
    dut.rst.value = 0
    columns = [column for tile in tiles if tile["from_memory"] for column in tile["weights"]]
    running = [
        cocotb.start_soon(process)
        for process in (
            source.send([encoded(tile) for tile in tiles]),
            weights.send([packed(column, 8) for column in columns]),
            bench.answer(),
        )
    ]
    await bench.take()
    for process in running:
        process.cancel()
    bench.check()
    return bench


@cocotb.test(timeout_time=10, timeout_unit="ms")
@cocotb.parametrize(gap=[0.0, 0.3, 0.7])
async def brings_every_column_in_time(dut, gap):
    rng = np.random.default_rng(0)
    tiles = [random_tile(rng, from_memory=bool(rng.integers(2))) for _ in range(60)]
    await run(dut, tiles, Scratchpad(rng), gap)


@cocotb.test(timeout_time=10, timeout_unit="ms")
@cocotb.parametrize(source=["memory", "scratchpad", "both"])
async def tiles_follow_each_other_every_c_cycles(dut, source):
    rng = np.random.default_rng(1)
    kinds = {"memory": [True], "scratchpad": [False], "both": [True, False, False, True]}[source]
    tiles = [random_tile(rng, from_memory=kinds[i % len(kinds)]) for i in range(40)]
    taken = (await run(dut, tiles, Scratchpad(rng))).taken
    # Once the first words are on their way.
    gaps = np.diff(taken)[2:]
    assert set(gaps.tolist()) == {COLUMNS}, gaps
