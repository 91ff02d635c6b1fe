# amaranth: UnusedElaboratable=no
"""The DDR3 of boards: LiteDRAM's cores at their pins, and the host that levels their reads."""

import importlib.util
import random
import re

import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from ddr3_model import KNOWN, LANES, ModelDDR3
from stand_in import StandIn

from celosia.cli.synthesize import check_fit, synthesize_board
from celosia.config import PRESETS
from celosia.ddr3 import CONTROL_WINDOW, DDR3Description
from celosia.errors import ConfigError, DeviceError, ToolError
from celosia.isa import MEMORY_WINDOW
from celosia.platforms import litedram
from celosia.platforms.boards import BOARDS, board
from celosia.rtl.axi import AXI4, AXI4Lite
from celosia.runtime.ddr3 import wake_ddr3
from celosia.runtime.link import SerialLink

SMALL = PRESETS["small"]
WITH_DDR3 = [name for name, kind in BOARDS.items() if kind.ddr3 is not None]
needs_litedram = pytest.mark.skipif(
    importlib.util.find_spec("litedram") is None,
    reason="LiteDRAM is not installed (pip install 'celosia[ddr3]')",
)


class WithPort(wiring.Component):
    """Registers as a machine has them, and a port to memory that asks for nothing."""

    def __init__(self, config):
        self.config = config
        super().__init__({"s_axi_lite": In(AXI4Lite()), "m_axi": Out(AXI4(config))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.registers = registers = StandIn()
        connect(m, flipped(self.s_axi_lite), registers.s_axi_lite)
        return m


def text(plan, name):
    found = plan.files[name]
    return found if isinstance(found, str) else found.decode()


def test_these_boards_have_one():
    assert WITH_DDR3 == [
        "ecpix5-45f",
        "ecpix5-85f",
        "orangecrab-25f",
        "orangecrab-85f",
        "butterstick",
    ]


@needs_litedram
@pytest.mark.parametrize("name", WITH_DDR3)
def test_cores_are_at_the_pins_of_their_boards(name):
    target = board(name)
    settings, divisor = target.clocks(target.ddr3.frequency, SMALL)
    assert settings.output == pytest.approx(target.ddr3.frequency)
    assert divisor == round(settings.output)  # of a line of 1 MHz
    top = target.top(WithPort(SMALL), target.ddr3.frequency)
    plan = target.prepare(top, name="top", emit_src=False)
    assert text(plan, "litedram.v") == settings.verilog

    places = dict(re.findall(r'LOCATE COMP "(ddr3_0__[^"]+)" SITE "(\w+)"', text(plan, "top.lpf")))
    lines = {line.name: line.ios[0] for line in target.lookup("ddr3").ios}
    expected = set()
    for line in lines.values():
        # Of differential pins the first says where both are.
        expected.update((line.p if hasattr(line, "p") else line).names)
    assert len(places) == len(expected) and set(places.values()) == expected
    # What the core drives goes through an output of its own, as do idle pins, LEDs and the line;
    # for the others it has buffers.
    driven = expected - {*lines["dq"].names, *lines["dqs"].p.names}
    idle = [line.ios[0] for one in target.ddr3_idle for line in target.lookup(one).ios]
    outputs = len(driven) + sum(len(line.names) for line in idle) + 3 + 1
    assert text(plan, "top.il").count("cell \\OBZ ") == outputs
    assert settings.verilog.count("TRELLIS_IO #(") == 16 + LANES
    assert not re.search(r"input .*ddram", settings.verilog)


@needs_litedram
def test_the_pins_of_the_orangecrab_are_those_of_its_second_revision():
    lines = {line.name: line.ios[0] for line in board("orangecrab-85f").lookup("ddr3").ios}
    assert lines["ba"].names == ["D6", "B7", "A6"]
    assert lines["dqs"].p.names == ["B15", "G18"] and lines["dm"].names == ["D16", "G16"]


@needs_litedram
@pytest.mark.parametrize("name", WITH_DDR3)
def test_what_the_host_is_told_is_what_litedram_made(name):
    target = board(name)
    core = target.clocks(target.ddr3.frequency, SMALL)[0]
    known, registers = core.description, core.registers
    assert known.bytes == (1 << 29 if name.startswith("ecpix5") else 1 << 27)
    assert DDR3Description.from_words(known.words()) == known
    for phase in range(known.phases):
        prefix = f"sdram_dfii_pi{phase}"
        for place, register in enumerate(("command", "command_issue", "address", "baddress")):
            assert registers[f"{prefix}_{register}"] == known.phase(phase) + 4 * place
        assert registers[f"{prefix}_wrdata"] == known.write_data(phase)
        assert registers[f"{prefix}_rddata"] == known.read_data(phase)
    assert registers["sdram_dfii_control"] == known.dfii == KNOWN.dfii
    assert [registers[f"ddrctrl_init_{key}"] for key in ("done", "error")] == [0, 4]
    phy = ("dly_sel", "rdly_dq_rst", "rdly_dq_inc", "rdly_dq_bitslip_rst", "rdly_dq_bitslip")
    phy += ("burstdet_clr", "burstdet_seen")
    assert [registers[f"ddrphy_{key}"] for key in phy] == [known.phy + 4 * n for n in range(7)]
    # The model is of such a core; OrangeCrab's part has no termination (bits 2, 6 and 9 of MR1).
    same = {key: getattr(KNOWN, key) for key in ("phases", "read_phase", "write_phase", "delays")}
    same |= {key: getattr(KNOWN, key) for key in ("phase_bytes", "lanes", "bitslips", "phy")}
    assert {key: getattr(known, key) for key in same} == same
    assert known.modes[0] == KNOWN.modes[0] and known.modes[2:] == KNOWN.modes[2:]
    assert bool(known.modes[1] & 0b10_0100_0100) == (not name.startswith("orangecrab"))


@needs_litedram
def test_equal_settings_give_equal_cores():
    target = board("orangecrab-25f")
    first = target.clocks(50, SMALL)[0]
    litedram._generate.cache_clear()
    assert target.clocks(50, SMALL)[0] == first
    assert first.output == pytest.approx(50.4)  # as near as its generator finds


def test_what_does_not_suit(monkeypatch, tmp_path):
    check_fit(SMALL, board("ecpix5-85f"))
    wide = PRESETS["bench"].replace(name="wide", memory_width=32)
    message = r"^configuration 'wide': memory_width must be at most 16 with a DDR3, not 32$"
    with pytest.raises(ConfigError, match=message):
        check_fit(wide, board("ecpix5-85f"))
    with pytest.raises(ConfigError, match=r"^frequency must be between 48 and 100 MHz with a DDR3"):
        board("ecpix5-85f").clocks(40, SMALL)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    litedram._generate.cache_clear()
    message = r"^litedram was not found, .*; pip install 'celosia\[ddr3\]'$"
    with pytest.raises(ToolError, match=message):
        synthesize_board(SMALL, "ecpix5-85f", tmp_path / "out")


def window(rng):
    """Where one lane reads right: a bit slip, and delays from the first to the last."""
    first = rng.randrange(8)
    return rng.randrange(4), first, rng.randrange(first, 8)


@pytest.mark.parametrize("seed", range(20))
def test_levelling_finds_the_middle(seed):
    rng = random.Random(seed)
    windows = [window(rng) for _ in range(LANES)]
    model = ModelDDR3(windows, seed=seed)
    with pytest.raises(DeviceError, match="the bus answered with an error"):
        SerialLink(model).read_word(MEMORY_WINDOW)
    assert wake_ddr3(SerialLink(model)) == 1 << 29
    for (delay, slip), (at, first, last) in zip(model.set, windows, strict=True):
        assert slip == at and delay == (first + last) // 2
    assert model.registers[0] == 1 and model.control == [0, 12, 14, 1]
    # It is awake: nothing is done again, and memory keeps what it has.
    before, model.memory[MEMORY_WINDOW] = model.tests, 77
    link = SerialLink(model)
    assert wake_ddr3(link) == 1 << 29
    assert model.tests == before and link.read_word(MEMORY_WINDOW) == 77


def test_no_delay_brings_anything_back():
    model = ModelDDR3([(2, 1, 5), (0, 8, 8)])
    message = (
        "^lane 1 of the board's DDR3 brings back nothing that was written, at none of 8 delays"
    )
    with pytest.raises(DeviceError, match=message):
        wake_ddr3(SerialLink(model))
    assert not model.registers[0]


def test_memory_that_forgets():
    model = ModelDDR3([(0, 0, 7)] * LANES, forgets=True)
    with pytest.raises(DeviceError, match="DDR3 does not keep what is written"):
        wake_ddr3(SerialLink(model))
    assert not model.registers[0]


def test_a_board_that_describes_nothing(monkeypatch):
    model = ModelDDR3([(0, 0, 7)] * LANES)
    monkeypatch.setattr(ModelDDR3, "load", lambda self, address: 0)
    with pytest.raises(DeviceError, match=r"^the board does not describe a DDR3: .* 0x00000000"):
        wake_ddr3(SerialLink(model))


def test_numbers_that_a_description_cannot_hold():
    with pytest.raises(ValueError, match="ubyte"):
        DDR3Description(**(KNOWN.__dict__ | {"delays": 256})).words()
    assert CONTROL_WINDOW + KNOWN.dfii < CONTROL_WINDOW + (1 << 16)
