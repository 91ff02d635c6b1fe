# amaranth: UnusedElaboratable=no
"""Queues of steps: order, rate, and room for as many as they are deep."""

import json

import pytest
from harness import simulate

from celosia.config import PRESETS
from celosia.rtl.step_queues import StepQueues


@pytest.mark.parametrize("preset", ["tiny", "mixed"])
def test_splits_steps(preset, tmp_path):
    config = PRESETS[preset]
    dut = StepQueues(config)
    assert simulate(dut, "tb_step_queues", tmp_path, CONFIG=json.dumps(config.to_dict())) == 14
