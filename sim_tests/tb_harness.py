import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles
from streams import Sink, Source


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(stall=[0.0, 0.6])
async def keeps_order(dut, stall):
    Clock(dut.clk, 10, unit="ns").start()
    source = Source(dut, "i", stall=stall)
    sink = Sink(dut, "o", stall=stall)
    dut.rst.value = 1
    await ClockCycles(dut.clk, 2)
    dut.rst.value = 0

    items = [random.randrange(-128, 128) for _ in range(100)]
    cocotb.start_soon(source.send(items))
    received = await sink.receive(len(items))
    assert received == [item + int(os.environ["OFFSET"]) for item in items]
    assert dut.count.value == len(items)


@cocotb.test()
async def outlives_the_simulator(dut):
    if os.environ.get("CRASH"):
        os._exit(3)


@cocotb.test()
async def sees_only_what_was_named(dut):
    assert hasattr(dut, "count")
    assert not hasattr(dut, "hidden")
