# amaranth: UnusedElaboratable=no
"""The memory reader, against a plain memory and against that of cocotbext-axi."""

import json

import pytest
from harness import simulate

from celosia.config import PRESETS
from celosia.rtl.bursts import MAX_BURST, burst_limit
from celosia.rtl.memory_reader import MemoryReader


@pytest.mark.parametrize(
    ("width", "outstanding", "depths", "reserves"),
    [
        (4, 2, [64, 16], [0, 8]),
        (8, 8, [128, 32, 4], [0, 12, 0]),
        (16, 16, [256, 64], [0, 32]),
    ],
)
def test_reads(width, outstanding, depths, reserves, tmp_path):
    config = PRESETS["bench"].replace(
        name=f"width{width}",
        memory_width=width,
        outstanding_reads=outstanding,
        watchdog_cycles=150,
    )
    simulate(
        MemoryReader(config, depths, reserves),
        "tb_memory_reader",
        tmp_path,
        CONFIG=json.dumps(config.to_dict()),
        DEPTHS=json.dumps(depths),
        RESERVES=json.dumps(reserves),
    )


@pytest.mark.parametrize("width", [4, 8, 16, 32, 64])
@pytest.mark.parametrize("room", [3, 4, 7, 16, 63, 64, 100, 256, 4096])
def test_bursts_fit_and_divide_a_boundary(width, room):
    config = PRESETS["bench"].replace(rows=64, columns=64, memory_width=width)
    limit = burst_limit(config, room)
    assert 4096 % (limit * width) == 0
    assert limit <= MAX_BURST
    assert limit == 1 or 4 * limit <= room
