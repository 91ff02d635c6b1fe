"""Bench of the queues of steps: each side gets its steps in order, and none is lost."""

import json
import os
import random

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge
from streams import Sink, Source, reset

from celosia.config import MachineConfig
from celosia.rtl.passes import Step

CONFIG = MachineConfig(**json.loads(os.environ["CONFIG"]))
STEP = Step(CONFIG)
SIDES = {"tiles": "tile", "rows": "rows", "drains": "drain", "residuals": "drain"}


def field(step: int, name: str, layout=STEP) -> int:
    place = layout[name]
    return (step >> place.offset) & ((1 << place.width) - 1)


def wanted(step: int) -> set[str]:
    """Return the sides that a step has."""
    sides = {"tiles", "rows"}
    if CONFIG.products > 1 and field(step, "drain_only"):
        sides = set()
    if field(step, "drains"):
        sides.add("drains")
        if field(field(step, "drain"), "residual", STEP["drain"].shape):
            sides.add("residuals")
    return sides


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(source_stall=[0.0, 0.7], slow=[None, *SIDES])
async def every_side_gets_its_own(dut, source_stall, slow):
    source = Source(dut, "i", stall=source_stall)
    sinks = {
        side: Sink(dut, side, stall=0.95 if side == slow else random.choice([0.0, 0.5]))
        for side in SIDES
    }
    await reset(dut)
    steps = [random.getrandbits(STEP.size) for _ in range(400)]
    cocotb.start_soon(source.send(steps))
    expected = {
        side: [field(step, name) for step in steps if side in wanted(step)]
        for side, name in SIDES.items()
    }
    receiving = {
        side: cocotb.start_soon(sinks[side].receive(len(expected[side]), signed=False))
        for side in SIDES
    }
    for side, task in receiving.items():
        assert await task == expected[side], side
    await ClockCycles(dut.clk, 4)
    for sink in sinks.values():
        assert not sink.valid.value


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize((("stopped", "count"), [("tiles", 4), ("rows", 4), ("drains", 16)]))
async def each_queue_is_filled(dut, stopped, count):
    source = Source(dut, "i")
    for side in SIDES:
        Sink(dut, side).ready.value = side != stopped
    await reset(dut)
    # Without a residual, and with all other sides.
    one = 1 << STEP["drains"].offset
    source.payload.value = one
    source.valid.value = 1
    taken = 0
    for _ in range(60):
        await RisingEdge(dut.clk)
        taken += int(source.ready.value)
    assert taken == count


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_step_leaves_every_cycle(dut):
    source = Source(dut, "i")
    for side in SIDES:
        Sink(dut, side).ready.value = 1
    await reset(dut)
    source.payload.value = random.getrandbits(STEP.size)
    source.valid.value = 1
    for _ in range(60):
        await RisingEdge(dut.clk)
        assert source.ready.value
