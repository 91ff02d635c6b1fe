# amaranth: UnusedElaboratable=no
"""The pins of a board's flash, which machines suit it, and how programs get into it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from golden_board import GoldenBoard
from stand_in import StandIn

from celosia.cli import app
from celosia.config import PRESETS
from celosia.errors import ConfigError
from celosia.platforms.boards import board
from celosia.platforms.estimate import Estimate
from celosia.platforms.fit import check_fit
from celosia.platforms.flash_pads import check_flash
from celosia.rtl.axi import AXI4Lite
from celosia.rtl.flash import FlashPins
from celosia.rtl.flash_memory import FlashMemory
from celosia.runtime import serial_device

CONFIG = PRESETS["tiny_flash"]


class WithFlash(wiring.Component):
    """Registers as a machine has them, and the memory, which nobody asks for anything."""

    def __init__(self):
        super().__init__({"s_axi_lite": In(AXI4Lite()), "flash": Out(FlashPins())})

    def elaborate(self, platform):
        m = Module()
        m.submodules.registers = registers = StandIn()
        connect(m, flipped(self.s_axi_lite), registers.s_axi_lite)
        m.submodules.memory = memory = FlashMemory(CONFIG.replace(on_chip_bytes=4096))
        connect(m, memory.pins, flipped(self.flash))
        return m


def test_the_pins_and_the_clock_of_the_bitstream():
    target = board("ulx3s-85f")
    plan = target.prepare(target.top(WithFlash(), 50), name="top", emit_src=False)
    found = re.findall(r'LOCATE COMP "machine_flash_0__(\S+)" SITE "(\w+)"', plan.files["top.lpf"])
    lines = {f"dq__io[{n}]": site for n, site in enumerate(("W2", "V2", "Y2", "W1"))}
    assert dict(found) == {"cs__io": "R2", **lines}
    # The clock's pin, U3, cannot be asked for; its cell has it.
    assert "U3" not in plan.files["top.lpf"]
    text = plan.files["top.il"]
    text = text if isinstance(text, str) else text.decode()
    assert text.count("cell \\USRMCLK ") == 1
    clock = re.search(r"cell \\USRMCLK .*?connect \\USRMCLKI (\S+)", text, re.S)[1]
    assert clock.endswith("clk") and "flash" in clock, clock


def test_the_memory_on_the_chip_is_counted():
    without = Estimate(CONFIG.replace(on_chip_bytes=4096)).block_rams
    assert Estimate(CONFIG).block_rams - without == (CONFIG.on_chip_bytes - 4096) // 2048
    check_fit(CONFIG, board("ulx3s-85f"))


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("ecpix5-85f", {}, "board ecpix5-85f has no flash that machines can use; set memory$"),
        ("ulx3s-85f", {"flash_offset": 0}, "flash_offset must be at least 2097152 .*, not 0$"),
    ],
)
def test_machines_that_do_not_suit_the_board(name, changes, message):
    with pytest.raises(ConfigError, match=f"^configuration 'tiny_flash': {message}"):
        check_fit(CONFIG.replace(**changes), board(name))


def test_the_clock_is_not_faster_than_the_pins():
    check_flash(CONFIG, board("ulx3s-85f"), 60.0)
    with pytest.raises(ConfigError, match="the clock must be at most 60 MHz, not 61; ask for"):
        check_flash(CONFIG, board("ulx3s-85f"), 61.0)


def test_a_program_is_written_behind_the_bitstream_and_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    found = GoldenBoard(CONFIG)
    monkeypatch.setattr(serial_device, "open_port", lambda name, baud: found)
    assert app.run("compile digits_vit -c tiny_flash -o P".split()) == 0
    run = "run P --dataset digits --limit 2 --device"
    assert app.run(f"{run} golden --json golden.json".split()) == 0
    capsys.readouterr()
    assert app.run(f"{run} serial:X".split()) == 2
    shown = " ".join(capsys.readouterr().err.split())
    assert re.search(r"flash holds something else in (\d+) of \1 blocks; write the program", shown)

    assert app.run("program ulx3s-85f P --flash --dry-run".split()) == 0
    command = capsys.readouterr().out.split()
    expected = "--write-flash --file-type raw --offset 4194304 P/image.bin".split()
    assert command[-6:] == expected
    image = Path(command[-1]).read_bytes()
    at = CONFIG.flash_base + int(command[-2]) - CONFIG.flash_offset
    found.memory[at : at + len(image)] = np.frombuffer(image, np.uint8)
    assert app.run(f"{run} serial:X --json board.json".split()) == 0
    golden, given = (json.loads(Path(f"{name}.json").read_text()) for name in ("golden", "board"))
    assert given["results"] == golden["results"] and len(golden["results"]) == 2

    found.memory[at + 5000] ^= 1
    assert app.run(f"{run} serial:X".split()) == 2
    assert "something else in 1 of " in " ".join(capsys.readouterr().err.split())
    assert app.run("program ulx3s-85f P --dry-run".split()) == 2
    assert "add --flash" in capsys.readouterr().err
    assert app.run("compile digits_vit -c tiny -o Q".split()) == 0
    assert app.run("program ulx3s-85f Q --flash --dry-run".split()) == 2
    assert "made for a machine with on_chip memory" in " ".join(capsys.readouterr().err.split())


def test_the_self_test_of_a_board_is_written_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = GoldenBoard(CONFIG)
    monkeypatch.setattr(serial_device, "open_port", lambda name, baud: found)
    assert app.run("selftest -c tiny_flash --device serial:X --runs 1".split()) == 2
    assert app.run("selftest -c tiny_flash --save S".split()) == 0
    image = Path("S/image.bin").read_bytes()
    found.memory[CONFIG.flash_base :][: len(image)] = np.frombuffer(image, np.uint8)
    assert app.run("selftest -c tiny_flash --device serial:X --runs 1 --json S.json".split()) == 0
    assert json.loads(Path("S.json").read_text())["equal"]
