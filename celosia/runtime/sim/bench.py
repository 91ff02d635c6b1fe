"""cocotb's part of a run: waiting for its end. No Python runs in between."""

import json
import os
import time
from pathlib import Path

import cocotb
from cocotb.triggers import RisingEdge

__all__ = ["run_script"]

#: What the memory at the pins spends its cycles on.
SPENT = {"sdram": ("words", "refreshes", "rows"), "flash": ("data", "asking", "waiting")}


@cocotb.test()
async def run_script(dut):
    """Run the host's script to its end; write how it went to the file `REPORT`."""
    begin, begin_cpu = time.perf_counter(), time.process_time()
    await RisingEdge(dut.finished)
    seconds = time.perf_counter() - begin
    spent = dut.spent.value.to_unsigned()
    counts = [spent >> 32 * n & (1 << 32) - 1 for n in range(3)]
    report = {
        "failure": int(dut.failure.value),
        "cycles": int(dut.cycles.value),
        "seconds": seconds,
        "cpu_seconds": time.process_time() - begin_cpu,
        **{kind: dict(zip(names, counts, strict=True)) for kind, names in SPENT.items()},
    }
    Path(os.environ["REPORT"]).write_text(json.dumps(report))
