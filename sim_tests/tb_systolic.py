"""Bench of the systolic array: exact sums in the exact cycle, at the edge of its contract."""

import os
import random
from dataclasses import dataclass

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge

from celosia.golden.pe import KINDS, chosen_lanes, code_bits, decode, matmul_codes

ROWS, COLUMNS = int(os.environ["ROWS"]), int(os.environ["COLUMNS"])
LATENCY = int(os.environ["LATENCY"])
KIND = os.environ["KIND"]
#: Sums of a column, and bits of one of them.
PRODUCTS, WIDTH = int(os.environ["PRODUCTS"]), int(os.environ["WIDTH"])
MODES, BITS = len(KINDS[KIND]), code_bits(KIND)
#: M of N:M, elements of a row, and planes of indices: bit and block of eight columns.
SPARSITY = int(os.environ["SPARSITY"])
LANES = ROWS if SPARSITY == 1 else 2 * ROWS
PLANES = [
    (bit, block) for bit in range(SPARSITY.bit_length() - 1) for block in range(-(-COLUMNS // 8))
]


def packed(values, width: int) -> int:
    """Pack signed fields into a word, the first one least significant."""
    mask = (1 << width) - 1
    return sum((int(value) & mask) << (width * index) for index, value in enumerate(values))


@dataclass
class Tile:
    weights: np.ndarray  # code words
    rows: np.ndarray
    order: list[int]  # of its columns
    mode: int
    index: np.ndarray | None  # of each weight in its group; not of dense tiles

    @property
    def sums(self) -> np.ndarray:
        lanes = None
        if SPARSITY > 1:
            own = np.tile(np.arange(ROWS) % (SPARSITY // 2), (COLUMNS, 1))
            lanes = chosen_lanes(own if self.index is None else self.index, SPARSITY)
        return matmul_codes(KIND, self.rows, self.weights, self.mode, lanes)

    @property
    def loads(self) -> list:
        """Columns, and the planes of indices behind them."""
        return [*self.order, *([] if self.index is None else PLANES)]

    def plane(self, bit: int, block: int) -> np.ndarray:
        """Return a byte for each row: a bit of the indices of eight columns."""
        assert self.index is not None
        bits = self.index[8 * block : 8 * block + 8] >> bit & 1
        noise = np.random.default_rng(bit).integers(0, 2, (8 - len(bits), ROWS))
        return np.packbits(np.concatenate([bits, noise]), axis=0, bitorder="little")[0]

    def wrong(self, row: int, word: int) -> bool:
        """Whether the sums that have a meaning in this mode are not what they should be."""
        fields = [word >> WIDTH * n & (1 << WIDTH) - 1 for n in range(COLUMNS * PRODUCTS)]
        expected = self.sums[row]
        found = np.reshape(fields, (COLUMNS, PRODUCTS))[:, : expected.shape[1]]
        return bool(np.any(found != expected & (1 << WIDTH) - 1))


def random_tile(rng, m: int, order: list[int] | None = None) -> Tile:
    return Tile(
        weights=rng.integers(0, 1 << BITS, (COLUMNS, ROWS)),
        # Rows of int8 as well as rows of probabilities, without sign.
        rows=rng.integers(-128, 128, (m, LANES)) + 128 * rng.integers(0, 2, (m, 1)),
        order=list(range(COLUMNS)) if order is None else order,
        mode=int(rng.integers(0, MODES)),
        index=rng.integers(0, SPARSITY, (COLUMNS, ROWS)) if rng.random() < 0.7 and PLANES else None,
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
        loads = [(k, part) for k, tile in enumerate(tiles) for part in tile.loads]
        complete = np.cumsum([len(tile.loads) for tile in tiles]).tolist()
        cycle = loaded = 0
        current, swapped = -1, 0
        while rows:
            k, m = rows[0]
            in_time = m > 0 or loaded == complete[k]
            valid = in_time and random.random() >= self.row_gap
            self.present_row(valid, valid and m == 0, tiles[k].rows[m])
            if valid:
                rows.pop(0)
                if m == 0:
                    current, swapped = k, cycle

            valid = False
            if loads:
                k, part = loads[0]
                # A plane is written to all columns of its block at once.
                last = part if isinstance(part, int) else min(8 * part[1] + 7, COLUMNS - 1)
                in_time = k == 0 or (current == k - 1 and cycle >= swapped + last)
                valid = in_time and random.random() >= self.load_gap
                self.present(valid, part, tiles[k])
                loaded += valid
                if valid:
                    loads.pop(0)
            else:
                self.present(False, 0, tiles[-1])
            await RisingEdge(self.dut.clk)
            cycle += 1
        self.dut.i__valid.value = 0

    def present_row(self, valid: bool, swap: bool, row: np.ndarray) -> None:
        self.dut.i__valid.value = valid
        self.dut.i__swap.value = swap if valid else random.getrandbits(1)
        self.dut.i__data.value = packed(row, 9) if valid else random.getrandbits(9 * LANES)

    def present(self, valid: bool, part: int | tuple[int, int], tile: Tile) -> None:
        if SPARSITY > 1:
            is_plane = valid and not isinstance(part, int)
            bit, block = part if is_plane else PLANES[random.randrange(len(PLANES))]
            self.dut.load__plane_valid.value = is_plane
            self.dut.load__plane.value = bit
            self.dut.load__block.value = block
            if is_plane:
                self.present_column(False, 0, tile)
                self.dut.load__data.value = packed(tile.plane(bit, block), 8)
                return
        self.present_column(valid, part if isinstance(part, int) else 0, tile)

    def present_column(self, valid: bool, column: int, tile: Tile) -> None:
        noise = random.getrandbits(BITS * ROWS)
        self.dut.load__valid.value = valid
        self.dut.load__column.value = column if valid else random.randrange(COLUMNS)
        self.dut.load__data.value = packed(tile.weights[column], BITS) if valid else noise
        if MODES > 1:
            self.dut.load__mode.value = tile.mode if valid else random.randrange(MODES)


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
    if SPARSITY > 1:
        dut.load__plane_valid.value = 0
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

    rows = [(tile, row) for tile in tiles for row in range(len(tile.rows))]
    due = [cycle + LATENCY for cycle in monitor.taken]
    assert len(due) == len(rows)
    assert [cycle for cycle, _ in monitor.given] == due
    found = zip(rows, monitor.given, strict=True)
    wrong = [n for n, ((tile, row), (_, word)) in enumerate(found) if tile.wrong(row, word)]
    assert not wrong, f"rows {wrong[:8]} of {len(rows)} are wrong"
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
    tiles = [random_tile(rng, COLUMNS) for _ in range(8)]
    for tile in tiles:
        tile.index = None
    monitor = await check(dut, tiles)
    first = monitor.taken[0]
    assert monitor.taken == list(range(first, first + 8 * COLUMNS))


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def holds_the_extreme_sums(dut):
    await start(dut)
    rng = np.random.default_rng(2)
    tiles = []
    for mode in range(MODES):
        values = decode(KIND, np.arange(1 << BITS), mode)
        codes = {
            int(find(values[:, n]))
            for n in range(values.shape[1])
            for find in (np.argmin, np.argmax)
        }
        for code in (0, *sorted(codes)):
            for activation in (-128, -1, 127, 255):
                tile = random_tile(rng, COLUMNS)
                tile.mode = mode
                tile.weights[:] = code
                tile.rows[::2] = activation
                tiles.append(tile)
        least = min(tile.sums.min() for tile in tiles if tile.mode == mode)
        assert least == 255 * values.min() * ROWS
    await check(dut, tiles)
    await check(dut, tiles, row_gap=0.3, load_gap=0.3)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def reset_drops_the_rows_in_flight(dut):
    await start(dut)
    tile = random_tile(np.random.default_rng(3), COLUMNS)
    await check(dut, [tile])
    for pause in (LATENCY + 2, 0):  # without one, the swaps in flight run before the next rows
        dut.i__valid.value = dut.i__swap.value = 1
        await ClockCycles(dut.clk, 3)
        dut.i__valid.value = dut.i__swap.value = 0
        await reset(dut)
        for _ in range(pause):
            await RisingEdge(dut.clk)
            assert not dut.o__valid.value
        await check(dut, [tile])
