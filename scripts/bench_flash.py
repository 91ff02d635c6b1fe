"""Measures how much of a flash's bandwidth a model gets whose weights and program lie in it.

The model runs on the RTL, the flash at its pins being a model that checks every rule of the part,
and on the golden machine; every byte of memory must agree. The share is that of the cycles, from
the start to the last result in memory, in which data crosses the flash's pins: half a byte in two
cycles at most. In the others it is told where to read, or nothing is asked for.
"""

from functools import cache

import numpy as np
from records import Measurement, main

from celosia.cli.machines import open_simulation
from celosia.compiler import compile_model
from celosia.compiler.checkpoint import load_model
from celosia.compiler.cycles import predict
from celosia.config import PRESETS
from celosia.flash_part import CYCLES_A_BYTE
from celosia.isa import disassemble
from celosia.runtime.compare import require_equal
from celosia.runtime.golden_device import GoldenDevice
from celosia.runtime.host import prepare

__all__ = ["MEASUREMENTS"]

CONFIG = PRESETS["tiny_flash"]
IMAGES = 3


@cache
def _run() -> dict[str, object]:
    """Run some images on RTL and golden machine; return what the record says of them."""
    program = compile_model(load_model("digits_vit"), CONFIG)
    rng = np.random.default_rng(1)
    inputs = [prepare(program, rng.integers(0, 17, (8, 8))) for _ in range(IMAGES)]
    with open_simulation(CONFIG).open(program) as session:
        batch = session.run_all(inputs)
    found = require_equal(program, GoldenDevice(CONFIG).run(program, inputs), batch)
    cycles = sum(run.counters["cycles"] for run in batch.runs)
    spent = session.report["flash"]
    return {
        "value": spent["data"] / cycles,
        "images": IMAGES,
        "cycles": cycles,
        "cycles_predicted": IMAGES
        * predict(disassemble(program.code), CONFIG, entry=program.entry).cycles,
        "bytes_moved": spent["data"] // CYCLES_A_BYTE,
        "lost": {name: spent[name] / cycles for name in ("asking", "waiting")},
        "bytes_compared": found.bytes_compared,
        "mismatches": found.mismatches,
    }


MEASUREMENTS = [Measurement("bandwidth.flash", 0.90, 1.0, "", CONFIG.name, _run)]

if __name__ == "__main__":
    main(str(__doc__), "bench_flash.py", MEASUREMENTS)
