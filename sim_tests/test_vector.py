# amaranth: UnusedElaboratable=no
"""The vector unit against the golden machine."""

import json

import pytest
from harness import simulate

from celosia.config import PRESETS
from celosia.isa import OPCODES, Opcode
from celosia.rtl.vector import VectorUnit


@pytest.mark.parametrize(
    ("rows", "columns", "vector_lanes", "write_latency"),
    [(8, 4, 2, 4), (4, 4, 4, 1), (16, 4, 4, 4), (4, 4, 1, 4), (4, 8, 8, 4)],
)
def test_matches_golden(rows, columns, vector_lanes, write_latency, tmp_path):
    config = PRESETS["tiny"].replace(
        name="bench",
        rows=rows,
        columns=columns,
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


def test_operands_have_one_place():
    """What the unit reads in one place, whatever the instruction is."""
    norm, product, argmax = (
        {f.name: (f.lsb, f.width) for f in OPCODES[opcode][1]}
        for opcode in (Opcode.NORM, Opcode.MULTIPLY, Opcode.ARGMAX)
    )
    for name in ("m", "x_base", "x_stride", "y_base", "y_stride", "y_slot"):
        assert norm[name] == product[name] == argmax[name]
    assert (norm["n"], norm["words"]) == (argmax["n"], argmax["words"])
    assert (norm["gamma"], norm["beta"]) == (product["w_base"], product["w_stride"])
    assert norm["shift"] == product["shift"]


def test_rejects_a_latency_of_nothing():
    with pytest.raises(ValueError, match=r"^VectorUnit write_latency must be at least 1, not 0$"):
        VectorUnit(PRESETS["tiny"], write_latency=0)
