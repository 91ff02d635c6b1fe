# amaranth: UnusedElaboratable=no
"""The SDRAM controller in the solver: timing, refreshes in time, each beat once."""

from dataclasses import replace

import pytest
from harness import prove
from sdram_contracts import BankKeepsTiming, CommandsKeepRules, RefreshesInTime

from celosia.config import PRESETS
from celosia.sdram_part import SDRAMSettings

CONFIG = PRESETS["bench"].replace(name="formal", memory_width=4)
#: Small figures, all different where they can be.
SMALL = SDRAMSettings(
    row_bits=1,
    column_bits=3,
    cas_latency=2,
    **{"rcd": 2, "ras": 3, "rc": 6, "rrd": 2, "rp": 2, "wr": 2, "rfc": 4, "mrd": 2},
    interval=16,
    postponed=1,
    power_up=1,
)


@pytest.mark.parametrize(
    ("mode", "burst", "rcd", "ras", "rc", "rp", "wr"),
    [
        ("prove", 2, 2, 3, 6, 2, 2),
        ("prove", 8, 1, 1, 1, 1, 2),
        ("prove", 4, 3, 7, 10, 3, 4),
        ("cover", 2, 2, 3, 6, 2, 2),
    ],
)
def test_bank_allows_what_the_part_allows(mode, burst, rcd, ras, rc, rp, wr, tmp_path):
    settings = replace(SMALL, rcd=rcd, ras=ras, rc=rc, rp=rp, wr=wr)
    prove(BankKeepsTiming(settings, burst), tmp_path, mode=mode, depth=20)


@pytest.mark.parametrize(("mode", "depth"), [("bmc", 70)])
def test_refreshes_in_time(mode, depth, tmp_path):
    spec = RefreshesInTime(SMALL, 4, anew=True)
    prove(spec, tmp_path, mode=mode, depth=depth)


@pytest.mark.parametrize(("mode", "depth"), [("bmc", 22), ("cover", 26)])
def test_commands_keep_the_rules(mode, depth, tmp_path):
    prove(CommandsKeepRules(CONFIG, SMALL), tmp_path, mode=mode, depth=depth)
