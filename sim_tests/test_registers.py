# amaranth: UnusedElaboratable=no
"""The registers that the host sees."""

import json

from harness import simulate

from celosia.config import PRESETS
from celosia.rtl.registers import HostRegisters


def test_registers(tmp_path):
    config = PRESETS["bench"]  # without memory of its own
    simulate(HostRegisters(config), "tb_registers", tmp_path, CONFIG=json.dumps(config.to_dict()))
