"""Bench of the walk through grouped rows: every row's index, place and marks."""

import json
import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge

ROWS, WORDS = json.loads(os.environ["SIZES"])


def operands():
    """Yield m, period, base, stride, group: all shapes of few rows, then the largest ones."""
    shapes = [(m, p) for m in range(1, 7) for p in range(m + 1) if p == 0 or m % p == 0]
    shapes += [(ROWS, p) for p in (0, 1, 2, ROWS // 2, ROWS)]
    for m, period in shapes + random.choices(shapes, k=30):
        yield m, period, *(random.randrange(WORDS) for _ in range(3))


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(pause=[0.0, 0.5])
async def finds_every_row(dut, pause):
    Clock(dut.clk, 10, unit="ns").start()
    dut.step.value = 0
    dut.rst.value = 1
    await ClockCycles(dut.clk, 2)
    dut.rst.value = 0
    for m, period, base, stride, group in operands():
        dut.m.value = m
        dut.group_last.value = (period - 1) % ROWS
        dut.base.value, dut.stride.value, dut.group.value = base, stride, group
        row = 0
        while row < m:
            dut.step.value = step = random.random() >= pause
            await FallingEdge(dut.clk)
            number, query = divmod(row, period or m)
            assert (dut.row.value, dut.query.value) == (row, query)
            assert dut.address.value == (base + number * group + query * stride) % WORDS
            assert dut.first.value == (row == 0)
            assert dut.last.value == (row == m - 1)
            assert dut.first_group.value == (number == 0)
            row += step
            await ClockCycles(dut.clk, 1)
