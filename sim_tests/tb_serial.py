"""Bench of the serial units: extreme and random operands, exact cycles."""

import os
import random
from math import isqrt

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from streams import Sink, Source

from celosia.cores.serial import Factors, Fraction

KIND = os.environ["KIND"]
WIDTHS = [int(width) for width in os.environ["WIDTHS"].split()]
CYCLES = int(os.environ["CYCLES"])


def number(limit: int) -> int:
    """A number below `limit`: an end, or any magnitude."""
    value = random.randrange(limit) >> random.randrange(limit.bit_length())
    return random.choice([0, 1 % limit, limit - 1, value, random.randrange(limit)])


def multiplication() -> tuple[int, int]:
    a, b = (number(1 << width) for width in WIDTHS)
    return Factors(*WIDTHS).const({"a": a, "b": b}).as_value().value, a * b


def division() -> tuple[int, int]:
    bits, divisor_bits = WIDTHS
    divisor = max(number(1 << divisor_bits), 1)
    quotient = number(1 << bits)
    dividend = quotient * divisor + number(divisor)
    fields = {"low": dividend & ((1 << bits) - 1), "high": dividend >> bits, "divisor": divisor}
    return Fraction(*WIDTHS).const(fields).as_value().value, quotient


def root() -> tuple[int, int]:
    (bits,) = WIDTHS
    near = number(1 << bits) ** 2 + random.choice([-1, 0, 1])
    square = random.choice([near % (1 << 2 * bits), number(1 << 2 * bits)])
    return square, isqrt(square)


CASE = {"multiplier": multiplication, "divider": division, "root": root}[KIND]


async def start(dut) -> None:
    Clock(dut.clk, 10, unit="ns").start()
    dut.rst.value = 1
    await ClockCycles(dut.clk, 2)
    dut.rst.value = 0


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(source_stall=[0.0, 0.9], sink_stall=[0.0, 0.9])
async def is_exact(dut, source_stall, sink_stall):
    source = Source(dut, "i", stall=source_stall)
    sink = Sink(dut, "o", stall=sink_stall)
    await start(dut)
    items, expected = zip(*(CASE() for _ in range(300)), strict=True)
    cocotb.start_soon(source.send(items))
    assert await sink.receive(len(items), signed=False) == list(expected)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def takes_an_item_in_its_cycles(dut):
    source = Source(dut, "i")
    await start(dut)
    dut.o__ready.value = 1
    cocotb.start_soon(source.send([CASE()[0] for _ in range(4)]))
    taken, given = [], []
    for cycle in range(6 * CYCLES):
        await RisingEdge(dut.clk)
        if dut.i__valid.value and dut.i__ready.value:
            taken.append(cycle)
        if dut.o__valid.value:
            given.append(cycle)
    assert given == [cycle + CYCLES for cycle in taken]
    assert taken == [taken[0] + CYCLES * index for index in range(4)]
