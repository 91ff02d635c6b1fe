"""Measures how much of the array's capacity the machine uses, from memory and back, bit for bit.

Every program runs on the RTL and on the golden machine, and every byte of memory must agree.
Utilisation is the ideal number of cycles, one multiplication a multiplier each, by all cycles from
the start to the last result in memory. The memory answers after 40 cycles with a beat a cycle.
"""

from collections.abc import Callable
from functools import cache, partial

import numpy as np
from records import Measurement, main

from celosia.cli.machines import open_simulation
from celosia.compiler import emit_program, quantise_model
from celosia.compiler.checkpoint import load_model
from celosia.compiler.program import Program
from celosia.compiler.workloads import attention, mha_ffn
from celosia.config import PRESETS, MachineConfig
from celosia.runtime.compare import mac_cycles, require_equal
from celosia.runtime.devices import Writes
from celosia.runtime.golden_device import GoldenDevice
from celosia.runtime.host import prepare

__all__ = ["MEASUREMENTS", "encoder", "measure", "random_inputs", "roofline"]

CONFIG = PRESETS["bench"]


def random_inputs(program: Program) -> Writes:
    """Return random int8 rows for every input of a program."""
    rng = np.random.default_rng(2)
    return [
        (tensor.address, rng.integers(-128, 128, tensor.rows * tensor.pitch, np.int8).tobytes())
        for tensor in program.inputs
    ]


@cache
def _quantised(config: MachineConfig):
    return quantise_model(load_model("minilm"), config)


def encoder(config: MachineConfig, tokens: int) -> tuple[Program, Writes]:
    """Return all of all-MiniLM-L6-v2 for a number of tokens, and random tokens for it."""
    program = emit_program(_quantised(config), config, tokens)
    return program, prepare(program, np.random.default_rng(2).integers(1000, 30000, tokens))


def roofline(program: Program, counters: dict[str, int], bandwidth: int = 256) -> float:
    """Return the utilisation that the memory allows, if its port is busy all the time.

    The memory moves `bandwidth` beats in 256 cycles, each way.
    """
    ideal = mac_cycles(program)
    beats = max(counters["memory_reads"], counters["memory_writes"])
    return ideal / max(ideal, beats * 256 / bandwidth)


def measure(program: Program, inputs: Writes) -> dict[str, object]:
    """Run a program on RTL and golden machine and return what a record says of it."""
    config = program.config
    batch = open_simulation(config).run(program, [inputs])
    found = require_equal(program, GoldenDevice(config).run(program, [inputs]), batch)
    counters = batch.runs[0].counters
    return {
        "value": mac_cycles(program) / counters["cycles"],
        "limit": roofline(program, counters),
        "cycles": counters["cycles"],
        "mac_cycles": mac_cycles(program),
        "bytes_compared": found.bytes_compared,
        "mismatches": found.mismatches,
        "counters": counters,
    }


def _layer(make: Callable[..., Program], **shape: int) -> dict[str, object]:
    program = make(CONFIG, **shape)
    return measure(program, random_inputs(program))


def _encoder(tokens: int) -> dict[str, object]:
    return measure(*encoder(CONFIG, tokens))


def _attention(name: str, target: float, **shape: int) -> Measurement:
    return _measurement(f"attention.{name}", target, partial(_layer, attention, width=64, **shape))


def _measurement(name: str, target: float | None, run: Callable) -> Measurement:
    return Measurement(f"util.{name}", target, 1.0, "", CONFIG.name, run)


SMALL = {"tokens": 64, "embed": 64, "project": 64, "ffn": 64, "end": 16}
LARGE = {"tokens": 128, "embed": 192, "project": 256, "ffn": 256, "end": 16}

MEASUREMENTS = [
    _measurement("mha_ffn.s128", 0.98, partial(_layer, mha_ffn, **LARGE)),
    _measurement("mha_ffn.s64", 0.96, partial(_layer, mha_ffn, **SMALL)),
    _attention("s512", 0.99, queries=512, keys=512),
    _attention("s2048", 0.99, queries=1024, keys=2048),
    _attention("s8192", 0.99, queries=256, keys=8192),
    _attention("causal", 0.97, queries=1024, keys=1024, causal=True),
    _measurement("minilm.t128", 0.95, partial(_encoder, 128)),
    _measurement("minilm.t32", None, partial(_encoder, 32)),
]

if __name__ == "__main__":
    main(str(__doc__), "bench_utilisation.py", MEASUREMENTS)
