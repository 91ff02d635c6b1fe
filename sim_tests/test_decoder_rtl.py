"""Language models through the Verilog, in lockstep with the golden machine: every byte is equal."""

import numpy as np
import pytest
from decoder_runs import build, samples_of
from harness import CACHE

from celosia import generate as verilog
from celosia.compiler.checkpoint import load_model
from celosia.compiler.compile_decoder import compile_decoder
from celosia.compiler.datasets_text import arithmetic_problems
from celosia.compiler.text import load_codec
from celosia.config import PRESETS
from celosia.runtime.generate import Generator, generate
from celosia.runtime.golden_device import GoldenDevice
from celosia.runtime.lockstep import LockstepSession
from celosia.runtime.sim_device import SimDevice

MATHFORMER = [f"mathformer-{name}" for name in ("add", "sub", "mul", "div")]
PROBLEMS = 5

SMALL = PRESETS["small"]
MACHINES = {
    "small": SMALL,
    "tall": SMALL.replace(name="tall", rows=8, columns=4, memory_width=16),
    "flat": PRESETS["tiny"].replace(name="flat", rows=2, columns=8, accumulator_width=30),
}


def lockstep(program):
    design = verilog.elaborate(program.config, cache=CACHE / "generated")
    device = SimDevice(program.config, design.path, CACHE, quick=True)
    golden = GoldenDevice(program.config).open(program)
    return LockstepSession(program, golden, device.open(program))


def check(session):
    found = session.compare_memory()
    assert not found.mismatches, "\n".join(str(one) for one in found.differences[:8])
    assert found.bytes_compared > len(session.program.image)


@pytest.mark.parametrize("name", MATHFORMER)
def test_arithmetic(name):
    program = compile_decoder(load_model(name), SMALL)
    codec = load_codec(name)
    problems = [(prompt, right) for prompt, right, model in arithmetic_problems() if model == name]
    with lockstep(program) as session:
        generator = Generator(program, session)
        for prompt, right in problems[:: len(problems) // PROBLEMS][:PROBLEMS]:
            generator.reset()
            said = generate(generator, codec.encode(prompt), len(right) + 1, stop=codec.stop)
            assert codec.decode(list(said)) == right
        check(session)


@pytest.mark.parametrize("precision", ["A8W8", "A16W16"])
@pytest.mark.parametrize("machine", MACHINES)
def test_random_decoders(machine, precision):
    config = MACHINES[machine]
    if precision != "A8W8" and config.accumulator_width < 32:
        pytest.skip("rows of 16 bits need accumulators of 32")
    decoder = build(biases="q k v o", layout="adjacent" if machine == "tall" else "half")
    program = compile_decoder(
        decoder, config, samples=samples_of(decoder), precision=precision, sequences=2
    )
    tokens = np.random.default_rng(7).integers(0, decoder.vocabulary, 40).tolist()
    with lockstep(program) as session:
        generator = Generator(program, session)
        generator.prefill(tokens[:11], sequence=1)
        generator.decode(tokens[11], sequence=1)
        generator.prefill(tokens[:2])
        generator.score(tokens[12:15], sequence=1)
        assert generator.logits().shape == (3, decoder.vocabulary)
        generator.truncate(13, sequence=1)
        generator.decode(tokens[20], sequence=1)
        generator.decode(tokens[2])
        check(session)
