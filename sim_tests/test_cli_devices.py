"""Boards on the command line, with a board in Python at the end of the line."""

import json
import re

import pytest
from golden_board import GoldenBoard

from celosia.cli import app
from celosia.config import PRESETS
from celosia.isa import REGISTERS
from celosia.runtime import serial_device
from celosia.runtime.selftest import selftest_program

TINY = PRESETS["tiny"]


@pytest.fixture
def board(monkeypatch):
    opened = []

    def open_port(name, baud):
        opened.append((name, baud))
        return found

    found = GoldenBoard(TINY)
    found.opened = opened
    monkeypatch.setattr(serial_device, "open_port", open_port)
    return found


def celosia(line):
    return app.run(line.split())


def record(path):
    return json.loads(path.read_text())


def test_a_program_runs_on_a_board(board, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert celosia("compile digits_vit -c tiny -o P") == 0
    for name, device in {"right": "golden", "given": "serial:/dev/ttyX --baud 3000000"}.items():
        line = f"run P --dataset digits --limit 3 --device {device} --json {name}.json"
        assert celosia(line) == 0
    right, given = (record(tmp_path / f"{name}.json") for name in ("right", "given"))
    assert right["results"] == given["results"] and len(given["results"]) == 3
    assert given["device"] == "serial:/dev/ttyX"
    assert board.opened == [("/dev/ttyX", 3_000_000)] and not board.open


@pytest.mark.parametrize("device", ["golden", "serial:COM3"])
def test_self_test(board, tmp_path, capsys, device):
    path = tmp_path / "out.json"
    assert celosia(f"selftest -c tiny --device {device} --runs 2 --json {path}") == 0
    found = record(path)
    assert found["equal"] and found["differences"] == [] and found["config"] == "tiny"
    assert all(part["compared"] > 0 == part["differ"] for part in found["parts"].values())
    assert found["parts"]["memory"]["compared"] == TINY.on_chip_bytes
    shown = capsys.readouterr().out
    assert re.search(r"attend +128 +0 +equal", shown)
    assert ("line: " in shown) == ("line" in found) == (device != "golden")
    if device != "golden":
        assert found["line"]["repeated"] == 0 and board.opened == [("COM3", serial_device.BAUD)]


@pytest.mark.parametrize("part", ["norm", "memory", "counters"])
def test_self_test_of_a_bad_board(board, tmp_path, capsys, part):
    """One bit of a result is wrong, or of the memory beside it, or a counter, in one run."""
    run, runs = board.run, []
    section = selftest_program(TINY).section("table" if part == "memory" else "result norm")

    def wrong():
        run()
        runs.append(part)
        if len(runs) == 3:  # the first clears the machine
            if part == "counters":
                board.registers[REGISTERS["mac_rows"]] += 1
            else:
                board.memory[section.address + 5] ^= 1

    board.run = wrong
    path = tmp_path / "out.json"
    assert celosia(f"selftest -c tiny --device serial:X --runs 2 --json {path}") == 1
    found = record(path)
    differ = {name for name, part in found["parts"].items() if part["differ"]}
    # A result that is wrong in the last run is so in the memory.
    assert differ == {part} | ({"memory"} if part == "norm" else set())
    assert found["differences"][0] in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("serial:", r"device serial: needs a port, such as serial:/dev/ttyUSB0 or serial:COM3"),
        ("golden --baud 9600", r"device golden has no serial line; --baud is for serial:PORT"),
        ("gpu", r"device 'gpu' is not known; known: golden, sim, serial:PORT"),
        ("serial:/dev/nothing", r"port /dev/nothing cannot be opened at 1000000 baud: .*No such"),
    ],
)
def test_errors(capsys, device, message):
    assert celosia(f"selftest -c tiny --device {device}") == 2
    assert re.search(message, capsys.readouterr().err.replace("\n", " "))
