# amaranth: UnusedElaboratable=no
"""The walk through grouped rows."""

import json

from harness import simulate

from celosia.config import PRESETS
from celosia.rtl.row_groups import GroupedRows


def test_finds_every_row(tmp_path):
    config = PRESETS["tiny"]
    sizes = json.dumps([config.accumulator_rows, config.scratchpad_words])
    assert simulate(GroupedRows(config), "tb_row_groups", tmp_path, SIZES=sizes) == 2
