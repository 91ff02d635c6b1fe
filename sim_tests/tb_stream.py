"""Bench of the stream buffers: order, rate and latency."""

import random

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge
from streams import Sink, Source, reset

LATENCIES = {"skid": 1, "distributed": 1, "block": 2}


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(
    name=list(LATENCIES), source_stall=[0.0, 0.6, 0.95], sink_stall=[0.0, 0.6, 0.95]
)
async def keeps_items_in_order(dut, name, source_stall, sink_stall):
    source = Source(dut, f"{name}_i", stall=source_stall)
    sink = Sink(dut, f"{name}_o", stall=sink_stall)
    await reset(dut)
    items = [random.getrandbits(9) for _ in range(300)]
    cocotb.start_soon(source.send(items))
    assert await sink.receive(len(items), signed=False) == items
    await ClockCycles(dut.clk, 2)
    assert not sink.valid.value


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=list(LATENCIES))
async def has_its_latency_and_full_rate(dut, name):
    source = Source(dut, f"{name}_i")
    sink = Sink(dut, f"{name}_o")
    await reset(dut)
    cocotb.start_soon(source.send(range(100)))
    await RisingEdge(dut.clk)
    sink.ready.value = 1
    given = []
    for cycle in range(120):
        if sink.valid.value:
            given.append(cycle)
        await RisingEdge(dut.clk)
    # Item 0 is taken at the end of cycle 0.
    assert given == list(range(LATENCIES[name], LATENCIES[name] + 100))


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=list(LATENCIES))
async def holds_what_it_says(dut, name):
    depth = {"skid": 2, "distributed": 5, "block": 40}[name]
    source = Source(dut, f"{name}_i")
    sink = Sink(dut, f"{name}_o")
    await reset(dut)
    cocotb.start_soon(source.send(range(100)))
    await ClockCycles(dut.clk, depth + 5)
    assert not source.ready.value
    if name != "skid":
        assert getattr(dut, f"{name}_level").value.to_unsigned() == depth
    assert await sink.receive(100, signed=False) == list(range(100))
