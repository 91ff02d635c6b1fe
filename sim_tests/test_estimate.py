"""What machines take of an ECP5, estimated before synthesis."""

import re
import sys
import time
from dataclasses import fields
from pathlib import Path

import pytest
from amaranth.back import rtlil  # pyright: ignore[reportAttributeAccessIssue]

from celosia.cli import app
from celosia.compiler.program import Program
from celosia.config import PRESETS, MachineConfig, load_config
from celosia.errors import ConfigError, ModelError
from celosia.platforms.boards import BOARDS
from celosia.platforms.cures import cure, shortage
from celosia.platforms.ecp5 import ECP5Cells
from celosia.platforms.ecp5_memory import Memory, memories
from celosia.platforms.estimate import ERROR, FEATURES, KINDS, Estimate, part_of
from celosia.platforms.estimate_table import COEFFICIENTS
from celosia.platforms.fit import check_fit
from celosia.platforms.largest import largest_machine
from celosia.rtl.top import Accelerator

sys.path.append(str(Path(__file__).parents[1] / "scripts"))
import fit_estimates

TINY = PRESETS["tiny"]
#: A machine in the middle of all ranges, which can grow in every size.
MIDDLE = PRESETS["small"].replace(
    memory="on_chip", on_chip_bytes=1 << 16, accumulator_rows=2048, vector_lanes=2
)
BIG = PRESETS["mixed"].replace(memory="on_chip", on_chip_bytes=1 << 18)
SIZES = (
    *("rows", "columns", "vector_lanes", "memory_width", "on_chip_bytes", "accumulator_rows"),
    *("scratchpad_words", "scratchpad_banks", "exponent_slots", "attention_rows"),
    *("parameter_entries",),
)
RESOURCES = ("multipliers", "block_rams", *KINDS)


def needs(config):
    return {name: getattr(Estimate(config), name) for name in RESOURCES}


@pytest.mark.parametrize("size", SIZES)
def test_larger_machines_take_no_less(size):
    value = {"memory_width": 4, "rows": 4, "columns": 4}.get(size) or getattr(MIDDLE, size) // 2
    most = {"memory_width": 16, "vector_lanes": 8}.get(size) or 8 * value
    before = None
    while value <= most:
        now = Estimate(MIDDLE.replace(**{size: value}))
        # A memory may leave LUTs for block RAM, but then for no fewer of those.
        logic = now.luts - sum(memory.luts for memory in memories(now.config))
        found = (now.multipliers, now.flip_flops, logic)
        if before is not None:
            # Sums are rounded.
            assert all(a <= b + 1 for a, b in zip(before, found, strict=True)), (size, value)
        before, value = found, 2 * value


@pytest.mark.parametrize("changes", [{"pe": "packed"}, {"sparsity": 4}, {"sparsity": 8}])
def test_more_kinds_of_weights_take_more(changes):
    plain, more = needs(MIDDLE), needs(MIDDLE.replace(**changes))
    assert all(more[name] >= plain[name] for name in RESOURCES)
    assert more["luts"] > plain["luts"]


def test_every_size_counts():
    for size in SIZES:
        assert needs(MIDDLE.replace(**{size: 2 * getattr(MIDDLE, size)})) != needs(MIDDLE), size


def test_coefficients_match_features():
    assert list(COEFFICIENTS) == list(FEATURES)
    for part, features in FEATURES.items():
        for kind, names in zip(KINDS, features, strict=True):
            assert len(COEFFICIENTS[part][kind]) == len(names)
            assert all(value >= 0 for value in COEFFICIENTS[part][kind])


def test_the_table_is_the_fit_of_its_samples():
    assert fit_estimates.fit_all(fit_estimates.samples()) == {
        part: {kind: pytest.approx(list(values), rel=1e-3) for kind, values in kinds.items()}
        for part, kinds in COEFFICIENTS.items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_machines_that_were_synthesised(kind):
    whole = [sample for sample in fit_estimates.samples() if "control" in sample.parts]
    assert {"tiny", "ulx3s"} <= {sample.config.name for sample in whole}
    for sample in whole:
        there = sum(part[kind] for part in sample.parts.values())
        assert getattr(Estimate(sample.config), kind) == pytest.approx(there, rel=0.03)
        # Of a machine that none of the samples is.
        table = fit_estimates.without(sample.config)
        guess = fit_estimates.total(sample.config, kind, table, sample.parts)
        assert guess == pytest.approx(there, rel=ERROR)


def test_carries_are_counted_as_placed():
    cell = {"type": "CCU2C", "port_directions": {"CIN": "input", "COUT": "output"}}
    carries = [
        ("0", 2),  # the constant takes a cell
        (2, 3),
        (3, 4),  # read by a LUT: its way out takes a cell
        ("x", "x"),  # neither
        (9, 10),  # from a LUT, to nobody
    ]
    cells = {
        f"c{index}": {**cell, "connections": {"CIN": [begin], "COUT": [end]}}
        for index, (begin, end) in enumerate(carries)
    }
    cells["lut"] = {
        "type": "LUT4",
        "port_directions": {"A": "input", "Z": "output"},
        "connections": {"A": [4], "Z": [9]},
    }
    fit_estimates.complete_chains({"cells": cells, "ports": {}})
    assert sorted(name for name in cells if "end" in name) == [
        *("c0.end_0", "c2.end_0", "c4.end_0", "c4.end_1"),
    ]


def test_modules_belong_to_parts():
    assert part_of("machine.matrix.array", TINY) == "array"
    assert part_of("machine.vector", TINY) == "vector"
    assert part_of("machine.store_queue", TINY) == part_of("machine", TINY) == "control"
    assert part_of("bridge", TINY) == part_of("button", TINY) == "board"
    assert part_of("machine.memory", TINY) == "memory"
    assert part_of("machine.memory", PRESETS["ulx3s_sdram"]) == "sdram"


@pytest.mark.parametrize("name", ["tiny", "small", "mixed"])
def test_multipliers_are_those_of_the_design(name):
    config = PRESETS[name]
    if name == "mixed":  # smaller, for its time
        config = TINY.replace(pe="packed", sparsity=4)
    text = rtlil.convert(Accelerator(config), name="top", platform=ECP5Cells())
    assert text.count("cell \\MULT18X18D ") == Estimate(config).multipliers
    # The memories whose size depends on the configuration are all there.
    shapes = re.findall(r"memory width (\d+) size (\d+) ", text)
    for memory in memories(config):
        assert (str(memory.width), str(memory.depth)) in shapes, memory


@pytest.mark.parametrize(
    ("memory", "block_rams"),
    [
        # As synthesised: of `tiny`, and of `ulx3s`.
        (Memory("", 64, 1024), 4),
        (Memory("", 256, 1024, piece=128), 15),
        (Memory("", 128, 128, reads=2), 8),
        (Memory("", 256, 512, reads=2), 16),
        (Memory("", 32, 32768, piece=8), 64),
        (Memory("", 37, 256, reads=2), 4),
        (Memory("", 42, 64), 0),
        (Memory("", 138, 128), 4),
        (Memory("", 21, 64), 1),
        (Memory("", 21, 128), 1),
        (Memory("", 41, 32), 0),
        (Memory("", 41, 64), 0),
        (Memory("", 32, 63), 1),
        (Memory("", 36, 63), 1),
        (Memory("", 22, 17), 0),
        (Memory("", 24, 33), 0),
        (Memory("", 4, 256, reads=5), 0),
        (Memory("", 136, 8, block=False), 0),
    ],
)
def test_block_rams_of_a_memory(memory, block_rams):
    assert memory.block_rams == block_rams
    assert (memory.luts == 0) == (block_rams > 0)


@pytest.mark.parametrize(
    ("name", "block_rams"), [("tiny", 95), ("ulx3s", 133), ("ulx3s_sdram", 69)]
)
def test_block_rams_of_a_machine(name, block_rams):
    assert Estimate(PRESETS[name]).block_rams == block_rams


@pytest.mark.parametrize(
    ("changes", "board", "message"),
    [
        (
            {"rows": 32, "columns": 8},
            "ulx3s-85f",
            r"needs at least 284 multipliers, but board ulx3s-85f has 156; set rows to 16$",
        ),
        (
            {"rows": 16, "columns": 16},
            "ulx3s-85f",
            r"needs at least 300 multipliers, but board ulx3s-85f has 156; set columns to 8$",
        ),
        (
            {"on_chip_bytes": 1 << 19},
            "ulx3s-85f",
            r"needs at least \d+ block RAMs, but board ulx3s-85f has 208; "
            r"set on_chip_bytes to 262144$",
        ),
        (
            {"rows": 32, "columns": 8, "on_chip_bytes": 1 << 19},
            "ulx3s-85f",
            r"needs at least 284 multipliers and \d+ block RAMs, but board ulx3s-85f has 156 and "
            r"208; set rows to 16 and on_chip_bytes to (131072|262144)$",
        ),
        (
            {"rows": 32, "columns": 8},
            "ulx3s-25f",
            r"multipliers and [\d,]+ LUTs and [\d,]+ flip-flops and \d+ block RAMs, but board "
            r"ulx3s-25f has 28 and 24,288 .*; set columns to 4 and rows to 2 and vector_lanes to 1 "
            r"and on_chip_bytes to 32768$",
        ),
    ],
)
def test_refusals_name_parameters_and_values(changes, board, message):
    config = TINY.replace(accumulator_rows=512, **changes)
    with pytest.raises(ConfigError, match=r"^configuration 'tiny' .*" + message) as refusal:
        check_fit(config, BOARDS[board])
    told = dict(re.findall(r"(\w+) to (\d+)", str(refusal.value)))
    if told:
        cured = config.replace(**{name: int(value) for name, value in told.items()})
        check_fit(cured, BOARDS[board])


def test_a_cure_leaves_nothing_short():
    board = BOARDS["ulx3s-45f"]
    for name in ("bench", "mixed", "ulx3s"):
        config = PRESETS[name].replace(memory="on_chip", on_chip_bytes=1 << 18)
        assert shortage(config, board)
        changes = cure(config, board)
        assert not shortage(config.replace(**changes), board, 0)
        assert all(value < getattr(config, name) for name, value in changes.items())


def test_estimates_take_no_second():
    begin = time.process_time()
    with pytest.raises(ConfigError):
        check_fit(BIG, BOARDS["ulx3s-85f"])
    assert time.process_time() - begin < 1


def _fits_surely(config, board):
    estimate = Estimate(config)
    return (
        estimate.multipliers <= board.multipliers
        and estimate.block_rams <= board.block_rams
        and estimate.luts * (1 + ERROR) <= board.luts
        and estimate.flip_flops * (1 + ERROR) <= board.flip_flops
    )


@pytest.mark.parametrize("name", ["ulx3s-85f", "ulx3s-45f", "ecpix5-85f"])
def test_the_largest_machine_fits_and_a_larger_one_does_not(name):
    board = BOARDS[name]
    machine = largest_machine(board)
    check_fit(machine, board)
    assert _fits_surely(machine, board)
    least = {
        **{"scratchpad_words": 512, "attention_rows": 16, "parameter_entries": 64},
        **{"exponent_slots": 64, "vector_lanes": 1, "on_chip_bytes": 4096},
    }
    for rows in (2, 4, 8, 16, 32, 64):
        for columns in (4, 8, 16, 32, 64):
            if rows * columns > machine.multipliers:
                words = max(4, max(rows, columns) // columns) * 16
                sizes = {"rows": rows, "columns": columns, "accumulator_rows": words}
                assert not _fits_surely(TINY.replace(**least, **sizes), board)
    assert not _fits_surely(machine.replace(on_chip_bytes=2 * machine.on_chip_bytes), board)


def test_the_largest_machine_leaves_room_for_errors():
    machine = largest_machine(BOARDS["ulx3s-85f"])

    class Narrow(BOARDS["ulx3s-85f"]):
        luts = round(1.05 * Estimate(machine).luts)

    smaller = largest_machine(Narrow)
    assert Estimate(smaller).luts < Estimate(machine).luts and _fits_surely(smaller, Narrow)
    Narrow.luts = round(0.95 * Estimate(machine).luts)
    check_fit(machine, Narrow)  # what may fit is not refused
    Narrow.luts = round(0.85 * Estimate(machine).luts)
    with pytest.raises(ConfigError, match="LUTs, but board ulx3s-85f has"):
        check_fit(machine, Narrow)


def test_memory_is_large_enough_for_a_model():
    board = BOARDS["ulx3s-85f"]
    machine = largest_machine(board)
    more = largest_machine(board, lambda config: machine.on_chip_bytes + 1)
    assert more.memory_bytes > machine.on_chip_bytes
    assert more.multipliers == machine.multipliers
    # Without an SDRAM it is a smaller machine, or none.
    with pytest.raises(ConfigError, match=r"no machine with 999,999 bytes of memory surely fits"):
        largest_machine(BOARDS["ecpix5-85f"], lambda config: 999_999)


def test_buffers_grow_for_a_model():
    def needed(config):
        if config.exponent_slots < 1000:
            raise ModelError("exponent slots")
        return 1

    assert largest_machine(BOARDS["ulx3s-85f"], needed).exponent_slots >= 1000


def test_boards_too_small_for_any_machine():
    with pytest.raises(
        ConfigError, match=r"^board ulx3s-25f: no machine surely fits; the preset mini may, or take"
    ):
        largest_machine(BOARDS["ulx3s-25f"])
    with pytest.raises(ConfigError, match=r"^board icebreaker: sizes are only estimated for"):
        largest_machine(BOARDS["icebreaker"])


def test_fit_prints_a_configuration(capsys, tmp_path):
    file = tmp_path / "mine.toml"
    assert app.run(["fit", "-b", "ulx3s-85f", "-o", str(file)]) == 0
    machine = load_config(file)
    assert machine == largest_machine(BOARDS["ulx3s-85f"], name="mine")
    assert "16 x 8: about" in capsys.readouterr().err
    assert app.run(["fit", "-b", "ulx3s-85f"]) == 0
    (tmp_path / "printed.toml").write_text(capsys.readouterr().out)
    printed = load_config(tmp_path / "printed.toml")
    for field in fields(MachineConfig):
        if field.name != "name":
            assert getattr(printed, field.name) == getattr(machine, field.name)


def test_fit_holds_a_model(capsys, tmp_path):
    program = tmp_path / "program"
    assert app.run(["compile", "digits_vit", "-c", "tiny", "-o", str(program)]) == 0
    window = Program.load(program).window_bytes
    for model in ("digits_vit", str(program)):
        file = tmp_path / "machine.toml"
        assert app.run(["fit", "-b", "ulx3s-45f", "--model", model, "-o", str(file)]) == 0
        assert load_config(file).memory_bytes >= window
    assert app.run(["fit", "-b", "ulx3s-45f", "--tokens", "3"]) == 2
    assert "--tokens is for a model" in capsys.readouterr().err
