# amaranth: UnusedElaboratable=no
"""The register that gathers instructions and adds their arguments."""

import json

import pytest
from harness import simulate

from celosia.config import PRESETS
from celosia.rtl.instruction_register import InstructionRegister


@pytest.mark.parametrize("width", [4, 8, 16, 32, 64])
def test_instruction_register(width, tmp_path):
    config = PRESETS["bench"].replace(rows=32, name=f"width{width}", memory_width=width)
    simulate(
        InstructionRegister(config),
        "tb_instruction_register",
        tmp_path,
        CONFIG=json.dumps(config.to_dict()),
    )
