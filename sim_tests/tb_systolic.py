"""Bench of the systolic array: exact sums in the exact cycle, at the edge of its contract."""

import json
import os
import random
from dataclasses import dataclass

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge

from celosia.config import MachineConfig
from celosia.golden.systolic import matmul_nt

CONFIG = MachineConfig(**json.loads(os.environ["CONFIG"]))
LATENCY = int(os.environ["LATENCY"])
ROWS, COLUMNS = CONFIG.rows, CONFIG.columns


def packed(values, width: int) -> int:
    """Pack signed fields into a word, the first one least significant."""
    mask = (1 << width) - 1
    return sum((int(value) & mask) << (width * index) for index, value in enumerate(values))


@dataclass
class Tile:
    weights: np.ndarray
    rows: np.ndarray
    order: list[int]  # of its columns

    @property
    def products(self) -> list[int]:
        sums = matmul_nt(CONFIG, self.rows, self.weights)
        return [packed(row, CONFIG.psum_width) for row in sums]


def random_tile(rng, m: int, order: list[int] | None = None) -> Tile:
    return Tile(
        weights=rng.integers(-128, 128, (COLUMNS, ROWS)),
        # Rows of int8 as well as rows of probabilities, without sign.
        rows=rng.integers(-128, 128, (m, ROWS)) + 128 * rng.integers(0, 2, (m, 1)),
        order=list(range(COLUMNS)) if order is None else order,
    )


class Driver:
    """Presents rows and columns as early as the contract allows, but for random gaps.

    While an input is not valid it shows noise.
    """

    def __init__(self, dut, *, row_gap: float, load_gap: float) -> None:
        self.dut = dut
        self.row_gap = row_gap
        self.load_gap = load_gap

    async def run(self, tiles: list[Tile]) -> None:
        rows = [(k, m) for k, tile in enumerate(tiles) for m in range(len(tile.rows))]
        loads = [(k, column) for k, tile in enumerate(tiles) for column in tile.order]
        cycle = loaded = 0
        current, swapped = -1, 0
        while rows:
            k, m = rows[0]
            in_time = m > 0 or loaded == (k + 1) * COLUMNS
            valid = in_time and random.random() >= self.row_gap
            self.present_row(valid, valid and m == 0, tiles[k].rows[m])
            if valid:
                rows.pop(0)
                if m == 0:
                    current, swapped = k, cycle

            valid = False
            if loads:
                k, column = loads[0]
                in_time = k == 0 or (current == k - 1 and cycle >= swapped + column)
                valid = in_time and random.random() >= self.load_gap
                self.present_column(valid, column, tiles[k].weights[column])
                loaded += valid
                if valid:
                    loads.pop(0)
            else:
                self.dut.load__valid.value = 0
            await RisingEdge(self.dut.clk)
            cycle += 1
        self.dut.i__valid.value = 0

    def present_row(self, valid: bool, swap: bool, row: np.ndarray) -> None:
        self.dut.i__valid.value = valid
        self.dut.i__swap.value = swap if valid else random.getrandbits(1)
        self.dut.i__data.value = packed(row, 9) if valid else random.getrandbits(9 * ROWS)

    def present_column(self, valid: bool, column: int, weights: np.ndarray) -> None:
        self.dut.load__valid.value = valid
        self.dut.load__column.value = column if valid else random.randrange(COLUMNS)
        self.dut.load__data.value = packed(weights, 8) if valid else random.getrandbits(8 * ROWS)


class Monitor:
    """Notes in which cycle each row went in and each result came out."""

    def __init__(self, dut) -> None:
        self.dut = dut
        self.taken: list[int] = []
        self.given: list[tuple[int, int]] = []

    async def run(self) -> None:
        cycle = 0
        while True:
            await RisingEdge(self.dut.clk)
            if self.dut.i__valid.value:
                self.taken.append(cycle)
            if self.dut.o__valid.value:
                self.given.append((cycle, self.dut.o__data.value.to_unsigned()))
            cycle += 1


async def start(dut) -> None:
    Clock(dut.clk, 10, unit="ns").start()
    dut.i__valid.value = 0
    dut.load__valid.value = 0
    await reset(dut)


async def reset(dut) -> None:
    dut.rst.value = 1
    await RisingEdge(dut.clk)
    dut.rst.value = 0


async def check(dut, tiles: list[Tile], *, row_gap: float = 0.0, load_gap: float = 0.0) -> Monitor:
    """Run the tiles; assert every sum, its order and its cycle."""
    monitor = Monitor(dut)
    monitoring = cocotb.start_soon(monitor.run())
    await Driver(dut, row_gap=row_gap, load_gap=load_gap).run(tiles)
    await ClockCycles(dut.clk, LATENCY + 4)
    monitoring.cancel()

    products = [word for tile in tiles for word in tile.products]
    due = [cycle + LATENCY for cycle in monitor.taken]
    assert len(due) == len(products)
    assert [cycle for cycle, _ in monitor.given] == due
    wrong = [n for n, (_, word) in enumerate(monitor.given) if word != products[n]]
    assert not wrong, f"rows {wrong[:8]} of {len(products)} are wrong"
    return monitor


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(row_gap=[0.0, 0.5], load_gap=[0.0, 0.5])
async def matches_golden(dut, row_gap, load_gap):
    await start(dut)
    rng = np.random.default_rng(0)
    lengths = [COLUMNS, 1, 3, COLUMNS, COLUMNS, 1, 1, COLUMNS + 3, 2]
    tiles = [random_tile(rng, m, rng.permutation(COLUMNS).tolist()) for m in lengths]
    await check(dut, tiles, row_gap=row_gap, load_gap=load_gap)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def passes_follow_without_a_bubble(dut):
    await start(dut)
    rng = np.random.default_rng(1)
    monitor = await check(dut, [random_tile(rng, COLUMNS) for _ in range(8)])
    first = monitor.taken[0]
    assert monitor.taken == list(range(first, first + 8 * COLUMNS))


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def holds_the_extreme_sums(dut):
    await start(dut)
    corners = [(w, x) for w in (-128, -1, 0, 127) for x in (-128, -1, 127, 255)]
    rng = np.random.default_rng(2)
    tiles = []
    for weight, activation in corners:
        tile = random_tile(rng, COLUMNS)
        tile.weights[:] = weight
        tile.rows[::2] = activation
        tiles.append(tile)
    assert matmul_nt(CONFIG, tiles[3].rows, tiles[3].weights).min() == -255 * 128 * ROWS
    await check(dut, tiles)
    await check(dut, tiles, row_gap=0.3, load_gap=0.3)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def reset_drops_the_rows_in_flight(dut):
    await start(dut)
    tile = random_tile(np.random.default_rng(3), COLUMNS)
    await check(dut, [tile])
    dut.i__valid.value = 1
    await ClockCycles(dut.clk, 3)
    dut.i__valid.value = 0
    await reset(dut)
    for _ in range(LATENCY + 2):
        await RisingEdge(dut.clk)
        assert not dut.o__valid.value
    await check(dut, [tile])
