# amaranth: UnusedElaboratable=no
"""The on-chip memory under the AXI4 managers of cocotbext-axi."""

import json

import pytest
from harness import simulate

from celosia.config import PRESETS
from celosia.rtl.on_chip import OnChipMemory


@pytest.mark.parametrize(("width", "size"), [(4, 2048), (16, 3 * 1024)])
def test_holds_memory(width, size, tmp_path):
    config = PRESETS["bench"].replace(
        name=f"width{width}", memory="on_chip", memory_width=width, on_chip_bytes=size
    )
    simulate(OnChipMemory(config), "tb_on_chip", tmp_path, CONFIG=json.dumps(config.to_dict()))
