"""Bench of one element of any kind: every code word with activations, on random sums."""

import os
import random

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge

from celosia.golden.pe import KINDS, code_bits, decode

KIND, MODE = os.environ["KIND"], int(os.environ["MODE"])
LATENCY = int(os.environ["LATENCY"])
#: Names and widths of the passing sums.
SUMS = [(name, int(width)) for name, width in (s.split(":") for s in os.environ["SUMS"].split())]
#: Cycles that the foot of a column takes to join the sums of digits to the base 4; 0 without one.
FOOT = int(os.environ["FOOT"])
MODES = len(KINDS[KIND])
CODES = range(1 << code_bits(KIND))
ACTIVATIONS = range(-256, 256)
#: How many of them, with each code word: all, or the extremes and a sample.
COUNT = int(os.environ["ACTIVATIONS"])


async def reset(dut) -> None:
    Clock(dut.clk, 10, unit="ns").start()
    dut.load.value = 0
    dut.swap.value = 0
    dut.mode.value = MODE
    dut.rst.value = 1
    await ClockCycles(dut.clk, 2)
    dut.rst.value = 0


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def every_product_is_exact(dut):
    await reset(dut)
    rng = np.random.default_rng(0)
    activations = np.concatenate([
        ACTIVATIONS
        if len(ACTIVATIONS) == COUNT
        else [-256, 255, *rng.choice(ACTIVATIONS, COUNT - 2, replace=False)]
        for _ in CODES
    ])
    codes = np.repeat(CODES, COUNT)
    products = activations[:, None] * decode(KIND, codes, MODE)
    addends = []
    for _, width in SUMS:
        limit = 1 << (width - 2)  # the sum goes out one bit wider
        values = rng.integers(-limit, limit, len(codes) + LATENCY)
        values[:512:2], values[1:512:2] = -limit, limit - 1
        addends.append(values)

    dut.weight.value = 0
    dut.load.value = 1
    await RisingEdge(dut.clk)
    found = []
    for cycle in range(len(codes) + LATENCY):
        streaming = cycle < len(codes)
        swap = streaming and cycle % COUNT == 0
        # The next weight is written in the very cycle of the swap: it must not be taken yet.
        dut.load.value = swap
        coming = (cycle + COUNT) % len(codes)
        dut.weight.value = int(codes[coming]) if swap else random.choice(CODES)
        dut.mode.value = MODE if swap else random.randrange(MODES)
        dut.swap.value = swap
        dut.activation.value = int(activations[cycle % len(codes)])
        for (name, _), values in zip(SUMS, addends, strict=True):
            getattr(dut, f"addend_{name}").value = int(values[cycle])
        await RisingEdge(dut.clk)
        if cycle >= LATENCY:
            found.append([getattr(dut, f"sum_{name}").value.to_signed() for name, _ in SUMS])

    sums = np.array(addends)[:, LATENCY - FOOT - 1 :][:, : len(codes)]
    if FOOT:
        sums = sums.reshape(products.shape[1], -1, len(codes))
        sums = np.einsum("rdc,d->rc", sums, 4 ** np.arange(sums.shape[1]))
    for n in range(products.shape[1]):
        np.testing.assert_array_equal(np.array(found)[:, n], products[:, n] + sums[n])


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def weights_change_only_when_told(dut):
    await reset(dut)
    shadow = active = None
    expected = []
    for name, _ in SUMS:
        getattr(dut, f"addend_{name}").value = 0
    for cycle in range(2000):
        swap = random.random() < 0.3 and shadow is not None
        load = random.random() < 0.3
        code, activation = random.choice(CODES), random.choice(ACTIVATIONS)
        dut.swap.value = swap
        dut.load.value = load
        dut.weight.value = code
        dut.mode.value = MODE if load else random.randrange(MODES)
        dut.activation.value = activation
        if swap:
            active = shadow
        if load:
            shadow = code
        expected.append(None if active is None else decode(KIND, active, MODE) * activation)
        await RisingEdge(dut.clk)
        due = expected[cycle - LATENCY] if cycle >= LATENCY else None
        if due is not None:
            found = [getattr(dut, f"sum_{name}").value.to_signed() for name, _ in SUMS]
            assert found[: len(due)] == due.tolist(), cycle
