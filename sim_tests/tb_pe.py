"""Bench of the processing element: every product of 9 by 8 bits, added to random sums."""

import os
import random

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge

ADDEND_WIDTH = int(os.environ["ADDEND_WIDTH"])
LATENCY = int(os.environ["LATENCY"])
INT8 = range(-128, 128)
ACTIVATIONS = range(-256, 256)


async def reset(dut) -> None:
    Clock(dut.clk, 10, unit="ns").start()
    dut.weight_enable.value = 0
    dut.swap.value = 0
    dut.rst.value = 1
    await ClockCycles(dut.clk, 2)
    dut.rst.value = 0


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def every_product_is_exact(dut):
    await reset(dut)
    rng = np.random.default_rng(0)
    activations = np.tile(ACTIVATIONS, len(INT8))
    weights = np.repeat(INT8, len(ACTIVATIONS))
    limit = 1 << (ADDEND_WIDTH - 1)
    addends = rng.integers(-limit, limit, len(weights) + LATENCY)
    addends[:512:2], addends[1:512:2] = -limit, limit - 1
    sums = activations * weights + addends[LATENCY - 1 :][: len(weights)]

    dut.weight.value = -128
    dut.weight_enable.value = 1
    await RisingEdge(dut.clk)
    got, passed = [], []
    for cycle, addend in enumerate(addends.tolist()):
        streaming = cycle < len(weights)
        swap = streaming and cycle % len(ACTIVATIONS) == 0
        # The next weight is written in the very cycle of the swap: it must not be taken yet.
        dut.weight_enable.value = swap
        coming = (cycle + len(ACTIVATIONS)) % len(weights)
        dut.weight.value = int(weights[coming]) if swap else 77
        dut.swap.value = swap
        dut.activation.value = int(activations[cycle % len(weights)])
        dut.addend.value = addend
        await RisingEdge(dut.clk)
        if cycle >= LATENCY:
            got.append(dut.sum.value.to_signed())
        if 0 < cycle <= 600:
            passed.append((dut.passed.value.to_signed(), int(dut.swap_passed.value)))

    np.testing.assert_array_equal(got, sums)
    expected = [(int(activations[n]), int(n % len(ACTIVATIONS) == 0)) for n in range(600)]
    assert passed == expected


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def weights_change_only_when_told(dut):
    await reset(dut)
    shadow = active = None
    expected = []
    dut.addend.value = 0
    for cycle in range(2000):
        swap = random.random() < 0.3 and shadow is not None
        write = random.random() < 0.3
        weight, activation = random.choice(INT8), random.choice(ACTIVATIONS)
        dut.swap.value = swap
        dut.weight_enable.value = write
        dut.weight.value = weight
        dut.activation.value = activation
        if swap:
            active = shadow
        if write:
            shadow = weight
        expected.append(None if active is None else active * activation)
        await RisingEdge(dut.clk)
        if cycle >= LATENCY and expected[cycle - LATENCY] is not None:
            assert dut.sum.value.to_signed() == expected[cycle - LATENCY], cycle
