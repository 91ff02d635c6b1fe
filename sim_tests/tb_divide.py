"""Bench of the pipelined reciprocal: every divisor, back to back, in its exact cycle."""

import os

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

WIDTH = int(os.environ["WIDTH"])
LATENCY = int(os.environ["LATENCY"])


async def quotients(dut, divisors: list[int]) -> list[int]:
    """Present one divisor in each cycle; collect what comes `LATENCY` cycles later."""
    Clock(dut.clk, 10, unit="ns").start()
    dut.rst.value = 0
    await RisingEdge(dut.clk)
    found = []
    for cycle, divisor in enumerate(divisors + [1 << WIDTH - 1] * LATENCY):
        dut.divisor.value = divisor
        await RisingEdge(dut.clk)
        if cycle >= LATENCY:
            found.append(dut.quotient.value.to_unsigned())
    return found


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(step=[1, -1, 5])
async def divides_by_every_divisor(dut, step):
    least, count = 1 << WIDTH - 1, 1 << WIDTH - 1
    # An odd step leads to every divisor too, with more bits changing from one to the next.
    divisors = [least + index * step % count for index in range(count)]
    expected = [((1 << 2 * WIDTH - 1) - 1) // divisor for divisor in divisors]
    assert await quotients(dut, divisors) == expected
