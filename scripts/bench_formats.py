"""Measures what number formats and sparsity gain, on the RTL and from its own memory.

MiniLM's feed-forward half (384 to 1,536 and back, GELU) runs with weights of each format on one
machine: 16 x 16 packed multipliers that can select activations (M = 4), memory of 16 bytes a cycle
after 40 cycles. Every byte must agree with the golden machine. The value is how many times fewer
cycles it takes than int8 dense weights on the same multipliers; in decode, one token at a time and
8 bytes a cycle, it is the share of the time that the stored bytes explain.
"""

from functools import cache, partial

from bench_utilisation import random_inputs
from records import Measurement, main

from celosia.cli.machines import open_simulation
from celosia.compiler.cycles import predict
from celosia.compiler.program import Program
from celosia.compiler.weight_format import WeightFormat
from celosia.compiler.workloads_formats import feed_forward
from celosia.config import PRESETS
from celosia.isa import disassemble
from celosia.runtime.compare import require_equal
from celosia.runtime.golden_device import GoldenDevice

__all__ = ["FORMATS", "MEASUREMENTS"]

CONFIG = PRESETS["mixed"]
FORMATS = {
    "w8": WeightFormat(),
    "w4": WeightFormat("int4", 32),
    "w4_plain": WeightFormat("int4"),
    "fp4": WeightFormat("fp4", 32),
    "nm24": WeightFormat("int8", 0, (2, 4)),
    "nm24_w4": WeightFormat("int4", 32, (2, 4)),
    "block50": WeightFormat("int8", blocks=0.5),
}
SHAPE = {"hidden": 384, "ffn": 1536}
#: Memory of 8 bytes a cycle, in beats of 256 cycles.
HALF = 128


@cache
def _run(name: str, tokens: int, bandwidth: int = 256) -> dict[str, object]:
    program = feed_forward(CONFIG, FORMATS[name], tokens=tokens, **SHAPE)
    inputs = random_inputs(program)
    batch = open_simulation(CONFIG, bandwidth=bandwidth).run(program, [inputs])
    found = require_equal(program, GoldenDevice(CONFIG).run(program, [inputs]), batch)
    cycles = batch.runs[0].counters["cycles"]
    return {
        "cycles": cycles,
        "cycles_predicted": predict_cycles(program, bandwidth),
        "weight_bytes": weight_bytes(program),
        "bytes_compared": found.bytes_compared,
        "mismatches": found.mismatches,
    }


def predict_cycles(program: Program, bandwidth: int) -> int | None:
    """Return what the cycle model says, with memory at full speed."""
    if bandwidth != 256:
        return None
    return predict(disassemble(program.code), CONFIG).cycles


def weight_bytes(program: Program) -> int:
    """Return the bytes of all constants of the products."""
    return sum(
        section.bytes
        for section in program.sections
        if section.name.endswith((".weight", ".parameters"))
    )


def _speedup(name: str) -> dict[str, object]:
    dense, found = _run("w8", 128), _run(name, 128)
    return {"value": dense["cycles"] / found["cycles"], "cycles_w8": dense["cycles"], **found}


def _decode(name: str) -> dict[str, object]:
    dense, found = _run("w8", 1, HALF), _run(name, 1, HALF)
    time = found["cycles"] / dense["cycles"]
    stored = found["weight_bytes"] / dense["weight_bytes"]
    return {"value": time / stored, "cycles_w8": dense["cycles"], "share": stored, **found}


TARGETS = {"w4": 1.95, "nm24": 1.9, "nm24_w4": 3.6}
LIMITS = {"w4": 2.0, "w4_plain": 2.0, "fp4": 2.0, "nm24": 2.0, "nm24_w4": 4.0, "block50": 2.0}

MEASUREMENTS = [
    *(
        Measurement(
            f"speedup.{name}", TARGETS.get(name), limit, "x", CONFIG.name, partial(_speedup, name)
        )
        for name, limit in LIMITS.items()
    ),
    *(
        Measurement(f"decode.bytes.{name}", 1.05, 1.0, "", CONFIG.name, partial(_decode, name))
        for name in LIMITS
    ),
]

if __name__ == "__main__":
    main(str(__doc__), "bench_formats.py", MEASUREMENTS)
