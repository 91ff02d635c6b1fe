# amaranth: UnusedElaboratable=no
"""RowArgmax against its twin, and the twin against Python."""

import numpy as np
import pytest
from harness import simulate

from celosia.cores.argmax import RowArgmax
from celosia.golden.argmax import argmax


@pytest.mark.parametrize("lanes", [1, 2, 4, 16])
def test_matches_golden(lanes, tmp_path):
    core = RowArgmax(lanes)
    simulate(core, "tb_argmax", tmp_path, LANES=lanes, LATENCY=core.latency)


def test_twin_is_as_documented():
    rng = np.random.default_rng(5)
    for spread in (2, 1 << 15):
        x = rng.integers(-spread, spread, (50, 9))
        value, index = argmax(x, first=7)
        for row, best, place in zip(x.tolist(), value.tolist(), index.tolist(), strict=True):
            assert (best, place) == (max(row), 7 + row.index(max(row)))
