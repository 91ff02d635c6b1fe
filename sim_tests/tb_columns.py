"""Bench of the four columns: rows of random lengths and places, and single products."""

import os
import random

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

from celosia.golden.quantise import quantise

STRIP, LATENCY = int(os.environ["STRIP"]), int(os.environ["LATENCY"])
#: Words of the local memory.
WORDS = 1024


async def local_memory(dut, halves):
    """Give the word of each half-word that is asked for, in the next cycle; noise otherwise."""
    words = halves.view("<u4")
    while True:
        asked = dut.read.value == 1
        word = int(words[dut.half.value.to_unsigned() // 2]) if asked else random.getrandbits(32)
        await FallingEdge(dut.clk)
        dut.word.value = word


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def rows_are_multiplied(dut):
    rng = np.random.default_rng(random.getrandbits(32))
    Clock(dut.clk, 10, unit="ns").start()
    dut.rst.value = 1
    for name in ("start", "write", "x", "y", "raw", "exponent", "offset", "word"):
        getattr(dut, name).value = 0
    await FallingEdge(dut.clk)
    dut.rst.value = 0
    halves = rng.integers(-(1 << 15), 1 << 15, 2 * WORDS) >> rng.integers(0, 15, 2 * WORDS)
    halves = halves.astype("<i2")
    cocotb.start_soon(local_memory(dut, halves))
    strip = np.zeros((STRIP, 4), np.int64)
    places = list(range(4 * STRIP))
    for number in range(60):
        for place in places if number == 0 else random.sample(places, 40):
            byte = random.choice([0x80, 0x7F, random.getrandbits(8)])
            dut.write.value, dut.place.value, dut.byte.value = 1, place, byte
            strip[place // 4, place % 4] = byte - (byte >> 7 << 8)
            await FallingEdge(dut.clk)
        dut.write.value = 0
        count = random.choice([1, 2, 4, STRIP, random.randrange(1, STRIP + 1)])
        offset = random.randrange(STRIP - count + 1)
        first = random.randrange(2 * WORDS - count + 1)
        raw, exponent = random.random() < 0.3, random.randrange(9)
        dut.raw.value, dut.exponent.value = raw, 0 if raw else exponent
        dut.offset.value, dut.address.value, dut.count.value = offset, first, count
        dut.start.value = 1
        await FallingEdge(dut.clk)
        dut.start.value = 0
        cycles = 1
        while dut.busy.value == 1:
            await FallingEdge(dut.clk)
            cycles += 1
        assert cycles == count + LATENCY
        x = halves[first : first + count].astype(np.int64)
        x = x & 0xFF if raw else quantise(x[np.newaxis], [exponent])[0]
        expected = x @ strip[offset : offset + count]
        for _ in range(random.randrange(3)):
            await FallingEdge(dut.clk)
        found = [getattr(dut, f"sums__{column}").value.to_signed() for column in range(4)]
        np.testing.assert_array_equal(found, expected)

        a, b = (int(v) for v in rng.choice([-32768, 32767, int(rng.integers(-999, 999))], 2))
        dut.x.value, dut.y.value = a, b
        for _ in range(3):
            await FallingEdge(dut.clk)
        assert dut.product.value.to_signed() == a * b
