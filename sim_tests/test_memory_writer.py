# amaranth: UnusedElaboratable=no
"""The memory writer, against a plain memory and against that of cocotbext-axi."""

import json

import pytest
from harness import simulate

from celosia.config import PRESETS
from celosia.rtl.memory_writer import MemoryWriter


@pytest.mark.parametrize("width", [4, 16])
def test_writes(width, tmp_path):
    config = PRESETS["bench"].replace(name=f"width{width}", memory_width=width, watchdog_cycles=150)
    simulate(
        MemoryWriter(config), "tb_memory_writer", tmp_path, CONFIG=json.dumps(config.to_dict())
    )
