"""Bench of the serial line: bits driven and sampled by time, not by the clock of the device."""

import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge, Timer
from streams import Sink, Source

DIVISOR = int(os.environ["DIVISOR"])
PERIOD = 10_000  # of the clock, in ps
BIT = DIVISOR * PERIOD


async def reset(dut) -> None:
    dut.rx.value = 1
    Clock(dut.clk, PERIOD, unit="ps").start()
    dut.rst.value = 1
    await ClockCycles(dut.clk, 3)
    dut.rst.value = 0
    await ClockCycles(dut.clk, 3)


async def drive(dut, byte: int, bit: float, *, stop: int = 1) -> None:
    """Send one byte with bits of `bit` picoseconds."""
    for value in (0, *(byte >> index & 1 for index in range(8)), stop):
        dut.rx.value = value
        await Timer(round(bit), unit="ps")
    dut.rx.value = 1


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(error=[-0.02, 0.0, 0.02], gap=[False, True])
async def receives(dut, error, gap):
    sink = Sink(dut, "o", stall=0.3)
    await reset(dut)
    data = [0x00, 0xFF, 0x55, 0xAA, 0x01, 0x80] + [random.randrange(256) for _ in range(40)]
    received = cocotb.start_soon(sink.receive(len(data), signed=False))
    for byte in data:
        await drive(dut, byte, BIT * (1 + error))
        if gap:
            await Timer(random.randrange(1, 3 * BIT), unit="ps")
    assert await received == data


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def drops_what_is_no_byte(dut):
    sink = Sink(dut, "o")
    await reset(dut)
    received = cocotb.start_soon(sink.receive(2, signed=False))
    await drive(dut, 0x12, BIT)
    # A glitch shorter than half a bit.
    dut.rx.value = 0
    await Timer(BIT // 4, unit="ps")
    dut.rx.value = 1
    await Timer(2 * BIT, unit="ps")
    # No stop bit: a break.
    await drive(dut, 0x34, BIT, stop=0)
    await Timer(12 * BIT, unit="ps")
    await drive(dut, 0x56, BIT)
    assert await received == [0x12, 0x56]


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def keeps_a_byte_that_is_not_taken(dut):
    sink = Sink(dut, "o")
    await reset(dut)
    for byte in (0x12, 0x34, 0x56):
        await drive(dut, byte, BIT)
    await Timer(BIT, unit="ps")
    assert await sink.receive(1, signed=False) == [0x12]
    await drive(dut, 0x78, BIT)
    assert await sink.receive(1, signed=False) == [0x78]


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(stall=[0.0, 0.95])
async def transmits(dut, stall):
    source = Source(dut, "i", stall=stall)
    await reset(dut)
    data = [0x00, 0xFF, 0x55, 0xAA] + [random.randrange(256) for _ in range(30)]
    cocotb.start_soon(source.send(data))
    for byte in data:
        await FallingEdge(dut.tx)
        await Timer(BIT // 2, unit="ps")
        bits = []
        for _ in range(10):
            bits.append(int(dut.tx.value))
            if len(bits) < 10:
                await Timer(BIT, unit="ps")
        assert bits == [0, *(byte >> index & 1 for index in range(8)), 1]


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def transmits_at_its_rate(dut):
    source = Source(dut, "i")
    await reset(dut)
    cycles = 0
    sending = cocotb.start_soon(source.send([0x5A] * 9))
    while not sending.done():
        await RisingEdge(dut.clk)
        cycles += 1
    # The ninth is taken when eight have gone.
    assert 8 * (10 * DIVISOR + 1) <= cycles <= 8 * (10 * DIVISOR + 1) + 2
