"""Bench of RowArgmax: rows with ties and extremes, gaps between chunks, results at their cycle."""

import os
import random

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from pipelines import noise, packed

from celosia.golden.argmax import argmax

LANES = int(os.environ["LANES"])
LATENCY = int(os.environ["LATENCY"])

rng = np.random.default_rng(0)


def lanes(value: int, index: int) -> list[int]:
    return [value & 0xFFFF, index & 0xFFFF, index >> 16]


class Row:
    """Elements of a row, and a result to go on from."""

    def __init__(self, x: np.ndarray, more_chunks: int = 0) -> None:
        self.n = len(x)
        chunks = -(-self.n // LANES) + more_chunks
        # Lanes beyond the row hold anything, mostly what would win.
        padded = np.where(rng.random(chunks * LANES) < 0.7, 32767, -32768)
        padded[: self.n] = x
        self.chunks = padded.reshape(chunks, LANES)
        self.first = int(rng.choice([0, 65535 - 3, rng.integers(1 << 32), (1 << 32) - 2]))
        self.continues = bool(rng.random() < 0.5)
        near = int(x.max()) + int(rng.integers(-1, 2))
        self.held = (
            int(np.clip(rng.choice([near, -32768, 32767]), -32768, 32767)),
            int(rng.integers(1 << 32)),
        )
        held = ([self.held[0]], [self.held[1]]) if self.continues else None
        value, index = argmax([x], first=self.first, held=held)
        self.expected = packed(lanes(int(value[0]), int(index[0])), 16)

    def fields(self, chunk: int) -> int:
        """The chunk as the port takes it."""
        enables = [chunk * LANES + lane < self.n for lane in range(LANES)]
        marks = [chunk == 0, chunk == len(self.chunks) - 1, 0]
        bits = packed([*enables, *marks], 1)
        return packed(self.chunks[chunk], 16) | bits << 16 * LANES


def rows():
    """Rows of all lengths up to some chunks, and of all kinds."""
    for n in [*range(1, 3 * LANES + 2), 37 * LANES + 1]:
        yield Row(rng.integers(-32768, 32768, n), int(rng.integers(0, 3)))
        yield Row(rng.integers(-2, 2, n), int(rng.integers(0, 3)))  # many as large
        yield Row(np.full(n, rng.choice([-32768, 32767])))
        x = np.full(n, -32768)
        x[rng.integers(n)] += 1
        yield Row(x)


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(gap=[0.0, 0.5])
async def matches_golden(dut, gap):
    Clock(dut.clk, 10, unit="ns").start()
    dut.valid.value = 0
    dut.rst.value = 1
    await ClockCycles(dut.clk, 3)
    dut.rst.value = 0
    for row in rows():
        dut.first.value = row.first
        dut.continues.value = row.continues
        chunk = 0
        while chunk < len(row.chunks):
            taken = random.random() >= gap
            dut.valid.value = taken
            if taken:
                dut.chunk.value = row.fields(chunk)
                chunk += 1
            else:
                noise([dut.chunk])
            noise([dut.held])
            await RisingEdge(dut.clk)
            assert not dut.found.value
        dut.valid.value = 0
        noise([dut.chunk])
        for cycle in range(1, LATENCY + 4):
            dut.held.value = packed(lanes(*row.held), 16)
            await RisingEdge(dut.clk)
            # Found once; then the result stays.
            assert bool(dut.found.value) == (cycle == LATENCY)
            if cycle >= LATENCY:
                assert dut.result.value.to_unsigned() == row.expected, vars(row)
