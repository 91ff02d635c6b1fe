"""cocotb's part of a run: clock, reset, and waiting. No Python runs in between."""

import json
import os
import time
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge

__all__ = ["run_script"]


@cocotb.test()
async def run_script(dut):
    """Run the host's script to its end; write how it went to the file `REPORT`."""
    Clock(dut.clk, 10, unit="ns").start()
    dut.rst.value = 1
    await ClockCycles(dut.clk, 4)
    dut.rst.value = 0
    begin, begin_cpu = time.perf_counter(), time.process_time()
    await RisingEdge(dut.finished)
    seconds = time.perf_counter() - begin
    report = {
        "failure": int(dut.failure.value),
        "cycles": int(dut.cycles.value),
        "seconds": seconds,
        "cpu_seconds": time.process_time() - begin_cpu,
    }
    Path(os.environ["REPORT"]).write_text(json.dumps(report))
