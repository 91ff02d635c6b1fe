"""Bench of the selector of a sparse element: every index, and planes loaded behind it."""

import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

M = int(os.environ["M"])
PLANES = M.bit_length() - 1


async def start(dut) -> None:
    Clock(dut.clk, 10, unit="ns").start()
    dut.swap.value = 0
    dut.plane_enable.value = 0
    dut.rst.value = 1
    await RisingEdge(dut.clk)
    dut.rst.value = 0
    await RisingEdge(dut.clk)


async def present(dut, swap: bool, enable: int, bit: int) -> list[int]:
    """Show random activations for a cycle and return them with the one that was chosen."""
    wires = [random.randrange(-256, 256) for _ in range(M)]
    dut.wires.value = sum((wire & 511) << 9 * n for n, wire in enumerate(wires))
    dut.swap.value = swap
    dut.plane_enable.value = enable
    dut.plane_bits.value = bit * ((1 << PLANES) - 1)
    await ReadOnly()
    chosen = dut.activation.value.to_signed()
    await RisingEdge(dut.clk)
    return [*wires, chosen]


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def every_index_follows_every_other(dut):
    await start(dut)
    pairs = [index for a in range(M) for b in range(M) for index in (a, b)]
    active = None
    for following in [*pairs, 0]:
        for plane in random.sample(range(PLANES), PLANES):
            *wires, chosen = await present(dut, False, 1 << plane, following >> plane & 1)
            assert active is None or chosen == wires[active]
        # The planes change in the very cycle of the swap: they must not be taken yet.
        noise = random.randrange(M)
        *wires, chosen = await present(dut, True, noise, random.getrandbits(1))
        assert active is None or chosen == wires[active]
        active = following
        *wires, chosen = await present(dut, False, 0, random.getrandbits(1))
        assert chosen == wires[active]


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def index_changes_only_when_told(dut):
    await start(dut)
    shadow: list[int | None] = [None] * PLANES
    active = list(shadow)
    checked = 0
    for _ in range(3000):
        swap, enable, bit = random.random() < 0.2, random.randrange(M), random.getrandbits(1)
        enable = enable if random.random() < 0.3 else 0
        *wires, chosen = await present(dut, swap, enable, bit)
        if None not in active:
            index = int("".join(map(str, reversed(active))), 2)
            assert chosen == wires[index]
            checked += 1
        if swap:
            active = list(shadow)
        for plane in range(PLANES):
            shadow[plane] = bit if enable >> plane & 1 else shadow[plane]
    assert checked > 2000
