# amaranth: UnusedElaboratable=no
"""The pins of a board's SDRAM: registers at all of them, and which machines suit the board."""

import gc
import json
import re
import warnings

import pytest
from amaranth import Module
from amaranth.hdl import UnusedElaboratable
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from stand_in import StandIn

from celosia.cli import app
from celosia.cli.synthesize import synthesize_board
from celosia.config import PRESETS
from celosia.errors import ConfigError
from celosia.platforms.boards import board
from celosia.platforms.fit import check_fit
from celosia.platforms.sdram_pads import check_sdram
from celosia.rtl.axi import AXI4Lite
from celosia.rtl.sdram import SDRAMMemory
from celosia.rtl.sdram_pins import SDRAMPins

CONFIG = PRESETS["ulx3s_sdram"]
SETTINGS = CONFIG.sdram_settings


class WithSDRAM(wiring.Component):
    """Registers as a machine has them, and the controller, which nobody asks for anything."""

    def __init__(self):
        super().__init__({"s_axi_lite": In(AXI4Lite()), "sdram": Out(SDRAMPins(SETTINGS))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.registers = registers = StandIn()
        connect(m, flipped(self.s_axi_lite), registers.s_axi_lite)
        m.submodules.memory = memory = SDRAMMemory(CONFIG, SETTINGS)
        connect(m, memory.pins, flipped(self.sdram))
        return m


def test_every_pin_has_a_register():
    target = board("ulx3s-85f")
    plan = target.prepare(target.top(WithSDRAM(), 75), name="top", emit_src=False)
    located = re.findall(r'LOCATE COMP "(sdram_[^"]+)"', plan.files["top.lpf"])
    # Clock, its enable, select, three of the command, 2 + 13 of the address, two masks, data.
    assert len(located) == len(set(located)) == 1 + 1 + 1 + 3 + 15 + 2 + 16
    text = plan.files["top.il"]
    text = text if isinstance(text, str) else text.decode()
    assert text.count("cell \\ODDRX1F ") == 1
    # Its edges lie six of the oscillator's eight cycles behind those of the machine's clock.
    phase = {
        name: int(re.search(rf"parameter \\{name} (\d+)", text)[1])
        for name in ("CLKOS_DIV", "CLKOS_CPHASE", "CLKOS2_DIV", "CLKOS2_CPHASE")
    }
    assert phase == {"CLKOS_DIV": 8, "CLKOS_CPHASE": 7, "CLKOS2_DIV": 8, "CLKOS2_CPHASE": 13}
    assert text.count("cell \\IFS1P3DX ") == 16
    # Each pin has a register for its level and one for driving it, the clock's has the latter.
    assert text.count("cell \\OFS1P3DX ") == 2 * (len(located) - 1) + 1


def test_boards_have_it(tmp_path):
    assert app.run(["boards", "--json", str(tmp_path / "boards.json")]) == 0
    boards = json.loads((tmp_path / "boards.json").read_text())["boards"]
    fitting = {one["name"] for one in boards if CONFIG.name in one["presets"]}
    assert fitting == {"ulx3s-85f"}


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("ulx3s-85f", {"sdram_part": "32Mx16"}, "sdram_part must be '16Mx16' .*, not '32Mx16'$"),
        ("ecpix5-85f", {}, "board ecpix5-85f has no SDRAM that machines can use; set memory$"),
        ("ulx3s-85f", {"sdram_round_trip": 1}, "sdram_round_trip must be 2 with the pins .* not 1"),
        ("ulx3s-85f", {"sdram_mhz": 49}, "sdram_mhz must be between 50 and 100 .*, not 49$"),
        ("ulx3s-85f", {"sdram_mhz": 101}, "sdram_mhz must be between 50 and 100 .*, not 101$"),
        ("ulx3s-45f", {}, "needs .* multipliers, but board ulx3s-45f has 72"),
    ],
)
def test_machines_that_do_not_suit_the_board(name, changes, message):
    with pytest.raises(ConfigError, match=f"^configuration 'ulx3s_sdram':? {message}"):
        check_fit(CONFIG.replace(**changes), board(name))


def test_the_clock_must_be_the_one_of_the_timing(tmp_path):
    message = "its SDRAM is timed for a clock of 75 MHz, not 50; change sdram_mhz or ask for that"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusedElaboratable)  # nothing is built here
        with pytest.raises(ConfigError, match=message):
            synthesize_board(CONFIG, "ulx3s-85f", tmp_path / "out", frequency=50)
        gc.collect()
    check_sdram(CONFIG, board("ulx3s-85f"), 75.0)
    for clock in (74.99, 75.01):  # as a PLL might make it
        with pytest.raises(ConfigError, match=f"75 MHz, not {clock}"):
            check_sdram(CONFIG, board("ulx3s-85f"), clock)
