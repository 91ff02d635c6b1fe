# amaranth: UnusedElaboratable=no
"""Narrow beats on wide lines, between cocotbext-axi's manager and memory."""

import json

import pytest
from harness import simulate

from celosia.config import PRESETS
from celosia.rtl.axi_widen import AXI4Widener


@pytest.mark.parametrize(("width", "line"), [(4, 16), (8, 16)])
def test_moves_every_byte(width, line, tmp_path):
    config = PRESETS["bench"].replace(name=f"width{width}", memory_width=width)
    dut = AXI4Widener(config, line)
    simulate(dut, "tb_axi_widen", tmp_path, CONFIG=json.dumps(config.to_dict()), LINE=line)
