# amaranth: UnusedElaboratable=no
"""The vector unit against the golden LayerNorm."""

import json

import pytest
from harness import simulate

from celosia.config import PRESETS
from celosia.rtl.vector import VectorUnit


@pytest.mark.parametrize(
    ("lanes", "vector_lanes", "write_latency"), [(8, 2, 4), (4, 4, 1), (16, 4, 4), (4, 1, 4)]
)
def test_matches_golden(lanes, vector_lanes, write_latency, tmp_path):
    config = PRESETS["tiny"].replace(
        name="bench",
        rows=lanes,
        vector_lanes=vector_lanes,
        attention_rows=4,
        scratchpad_words=1024,
    )
    simulate(
        VectorUnit(config, write_latency=write_latency),
        "tb_vector",
        tmp_path,
        CONFIG=json.dumps(config.to_dict()),
        WRITE_LATENCY=write_latency,
    )


def test_rejects_a_latency_of_nothing():
    with pytest.raises(ValueError, match=r"^VectorUnit write_latency must be at least 1, not 0$"):
        VectorUnit(PRESETS["tiny"], write_latency=0)
