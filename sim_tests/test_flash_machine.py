# amaranth: UnusedElaboratable=no
"""A whole machine whose weights and program lie in a flash: a model, faults, the two regions."""

import numpy as np
import pytest
from harness import CACHE

from celosia import generate
from celosia.compiler import compile_model
from celosia.compiler.checkpoint import load_model
from celosia.compiler.cycles import predict
from celosia.config import PRESETS
from celosia.isa import disassemble
from celosia.runtime.compare import compare
from celosia.runtime.golden_device import GoldenDevice
from celosia.runtime.host import prepare
from celosia.runtime.sim_device import SimDevice

CONFIG = PRESETS["tiny_flash"]


def simulated(config=CONFIG) -> SimDevice:
    return SimDevice(config, generate.elaborate(config, cache=CACHE / "generated").path, CACHE)


@pytest.fixture(scope="module")
def digits():
    return compile_model(load_model("digits_vit"), CONFIG)


def test_a_model_runs_from_flash(digits):
    images = np.random.default_rng(2).integers(0, 17, (2, 8, 8)).astype(np.float32)
    inputs = [prepare(digits, image) for image in images]
    with simulated().open(digits) as session:
        batch = session.run_all(inputs)
    found = compare(digits, GoldenDevice(CONFIG).run(digits, inputs), batch)
    assert found.mismatches == 0, "\n".join(map(str, found.differences[:8]))
    assert batch.memory[digits.base :].tobytes() == digits.image
    cycles = batch.runs[0].counters["cycles"]
    predicted = predict(disassemble(digits.code), CONFIG, entry=digits.entry)
    # While the machine runs its pins move a byte nearly all the time.
    total = sum(run.counters["cycles"] for run in batch.runs)
    share = session.report["flash"]["data"] / total
    print(f"share of the flash's pin bandwidth: {share:.3f}")
    assert share > 0.9
    assert 0.97 * cycles < predicted.cycles < 1.03 * cycles
