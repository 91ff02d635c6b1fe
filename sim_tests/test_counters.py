# amaranth: UnusedElaboratable=no
"""Counters of events."""

from harness import simulate

from celosia.rtl.counters import Counters


def test_counters(tmp_path):
    assert simulate(Counters(), "tb_counters", tmp_path) == 3
