"""Bench of the multiplier: random operands, one of them held at random."""

import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

WIDTHS = [int(width) for width in os.environ["WIDTHS"].split()]
LATENCY = int(os.environ["LATENCY"])


def operand(width: int) -> int:
    """A number of so many bits, of any size, or an extreme."""
    low, high = -1 << width - 1, (1 << width - 1) - 1
    if random.random() < 0.2:
        return random.choice([low, low + 1, -1, 0, 1, high])
    return random.randint(low, high) >> random.randrange(width)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(held=[0.0, 0.7])
async def every_product_is_exact(dut, held):
    Clock(dut.clk, 10, unit="ns").start()
    await FallingEdge(dut.clk)
    b, expected = 0, []
    for cycle in range(4000):
        if cycle >= LATENCY:
            assert dut.product.value.to_signed() == expected[cycle - LATENCY]
        enable = cycle == 0 or random.random() >= held
        a, given = (operand(width) for width in WIDTHS)
        b = given if enable else b
        expected.append(a * b)
        for name, value in (("a", a), ("b", given)):
            getattr(dut, name).value = value
        dut.b_enable.value = enable
        await FallingEdge(dut.clk)
