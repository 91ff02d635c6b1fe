"""Measures how far the cycle model is from the RTL, on programs of every kind.

The error of a program is the difference of its predicted cycles and those that the RTL counts, by
the latter; a record has the largest one of its programs, in percent.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

from bench_utilisation import encoder, random_inputs
from cycle_programs import kernels, memory_timing, run_all, wrapped
from records import Measurement, main

from celosia.cli.machines import open_simulation
from celosia.compiler import compile_model
from celosia.compiler.checkpoint import load_model
from celosia.compiler.cycles import predict
from celosia.compiler.program import Program
from celosia.compiler.workloads import attention, mha_ffn
from celosia.config import PRESETS, MachineConfig
from celosia.isa import disassemble
from celosia.runtime.devices import Writes

sys.path.append(str(Path(__file__).parents[1] / "sim_tests"))
from random_programs import random_image

__all__ = ["MEASUREMENTS"]

#: Latency in cycles, and beats in 256 cycles.
TIMINGS = [(40, 256), (10, 256), (200, 256), (40, 128), (40, 32)]
#: Machines for small programs. `wide` has beats of two columns, `narrow` columns of two beats.
MACHINES = [
    PRESETS["tiny"],
    PRESETS["small"],
    PRESETS["small"].replace(name="wide", memory_width=16),
    PRESETS["small"].replace(name="narrow", columns=4, memory_width=4),
    PRESETS["small"].replace(name="chained", chaining=True),
]
#: Aimed at, in percent.
TARGET = 3.0


def _error(name: str, program: Program, cycles: int, timing: tuple[int, int]) -> float:
    """Print one comparison; return the error in percent."""
    config = program.config
    code = disassemble(program.code)
    found = predict(code, config, memory_timing(config, *timing), entry=program.entry)
    error = 100 * (found.cycles - cycles) / cycles
    memory = "" if config.memory == "on_chip" else f", latency {timing[0]}, {timing[1]}/256 beats"
    print(f"  {name} on {config.name}{memory}: {found.cycles:,} of {cycles:,}, {error:+.2f} %")
    return abs(error)


def _timings(config: MachineConfig) -> list[tuple[int, int]]:
    return TIMINGS[:1] if config.memory == "on_chip" else TIMINGS


def _together(config: MachineConfig, programs: Sequence[Program]) -> Iterator[float]:
    """Yield the errors of programs of one size, with every memory."""
    for timing in _timings(config):
        device = open_simulation(config, latency=timing[0], bandwidth=timing[1])
        for program, counters in zip(programs, run_all(device, programs), strict=True):
            yield _error(program.model, program, counters["cycles"], timing)


def _alone(name: str, program: Program, inputs: Writes, timing: tuple[int, int]) -> float:
    device = open_simulation(program.config, latency=timing[0], bandwidth=timing[1])
    run = device.run(program, [inputs]).runs[0]
    return _error(name, program, run.counters["cycles"], timing)


def _kernels() -> Iterator[float]:
    for config in MACHINES:
        yield from _together(config, list(kernels(config)))


def _random() -> Iterator[float]:
    for config in MACHINES:
        images = [random_image(config, seed).tobytes() for seed in range(8)]
        programs = [wrapped(config, f"random program {i}", im) for i, im in enumerate(images)]
        yield from _together(config, programs)


def _digits() -> Iterator[float]:
    for name in ("tiny", "small"):
        program = compile_model(load_model("digits_vit"), PRESETS[name])
        for timing in _timings(program.config):
            yield _alone("digits", program, (), timing)


def _layers() -> Iterator[float]:
    config = PRESETS["bench"]
    shape = {"tokens": 64, "embed": 64, "project": 64, "ffn": 64, "begin": 32, "end": 16}
    for name, program in (
        ("attention and feed-forward", mha_ffn(config, **shape)),
        ("attention", attention(config, queries=128, keys=512, width=64)),
        ("causal attention", attention(config, queries=256, keys=256, width=64, causal=True)),
    ):
        for timing in TIMINGS[:3]:
            yield _alone(name, program, random_inputs(program), timing)


def _encoder() -> Iterator[float]:
    for tokens in (9, 48):
        program, inputs = encoder(PRESETS["bench"], tokens)
        yield _alone(f"MiniLM, {tokens} tokens", program, inputs, TIMINGS[0])


GROUPS = {
    "kernels": (_kernels, "tiny, small, wide, narrow, chained"),
    "random": (_random, "tiny, small, wide, narrow, chained"),
    "digits": (_digits, "tiny, small"),
    "layers": (_layers, "bench"),
    "minilm": (_encoder, "bench"),
}


@cache
def _errors(group: str) -> list[float]:
    return list(GROUPS[group][0]())


def _largest(*groups: str) -> Callable[[], dict[str, object]]:
    def measure() -> dict[str, object]:
        errors = [error for group in groups for error in _errors(group)]
        return {"value": max(errors), "programs": len(errors)}

    return measure


MEASUREMENTS = [
    *(
        Measurement(f"cycle_model.error.{name}", TARGET, 0.0, "%", config, _largest(name))
        for name, (_, config) in GROUPS.items()
    ),
    Measurement("cycle_model.error.max", TARGET, 0.0, "%", "all of them", _largest(*GROUPS)),
]

if __name__ == "__main__":
    main(str(__doc__), "bench_cycle_model.py", MEASUREMENTS)
