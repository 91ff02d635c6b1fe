# amaranth: UnusedElaboratable=no
"""What a host sees of a board with a DDR3."""

import json

import pytest
from harness import simulate

from celosia.rtl.host_ports import HostPorts


@pytest.mark.parametrize(("size_bits", "line"), [(12, 16), (9, 8)])
def test_shows_machine_controller_and_memory(size_bits, line, tmp_path):
    description = [0x33524444, 0, 0xFFFF_FFFF]
    dut = HostPorts(size_bits, line, description)
    env = {"SIZE_BITS": size_bits, "LINE": line, "DESCRIPTION": json.dumps(description)}
    simulate(dut, "tb_host_ports", tmp_path, **env)
