# amaranth: UnusedElaboratable=no
"""The SDRAM behind the pins of a board, with their delays: words arrive when they are expected."""

import json
from dataclasses import asdict

import pytest
from amaranth import Module, Value
from amaranth.back import verilog
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from harness import CACHE
from sdram_system import MODEL
from test_sdram import PART

from celosia.config import PRESETS
from celosia.errors import CheckFailed
from celosia.platforms.boards import board
from celosia.platforms.sdram_pads import CLOCKS_MHZ, ROUND_TRIP, SDRAMPads
from celosia.rtl.axi import AXI4Read, AXI4Write
from celosia.rtl.on_chip import HostAccess
from celosia.rtl.sdram import SDRAMMemory
from celosia.runtime.sdram_model import model_parameters
from celosia.runtime.verilator import build_simulation, run_simulation

CONFIG = PRESETS["ulx3s_sdram"]
BOARD = MODEL.parents[3] / "sim_tests" / "models" / "sdram_board.v"
#: Nanoseconds: pads, outwards and inwards, and the SDRAM's access time and hold, at the slowest
#: and at the fastest.
SLOW = {"out": 4.0, "in": 2.0, "access": 6.0, "hold": 5.9}
FAST = {"out": 2.0, "in": 0.8, "access": 2.6, "hold": 2.5}
#: The bench's clock in MHz; delays are stretched to it.
BENCH_MHZ = 100
PINS = ("clk", "clk_en", "cs", "ras", "cas", "we", "ba", "a", "dqm", "dq")


class OnBoard(wiring.Component):
    """`SDRAMMemory` on the pads of a board."""

    def __init__(self, settings, round_trip):
        self.settings, self.round_trip = settings, round_trip
        super().__init__({
            "read": In(AXI4Read(CONFIG)),
            "write": In(AXI4Write(CONFIG)),
            "host": In(stream.Signature(HostAccess)),
            "host_data": Out(stream.Signature(32)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = SDRAMMemory(
            CONFIG, self.settings, round_trip=self.round_trip
        )
        for name in ("read", "write", "host"):
            connect(m, flipped(getattr(self, name)), getattr(memory, name))
        connect(m, memory.host_data, flipped(self.host_data))
        m.submodules.pads = SDRAMPads(memory.pins)
        return m


def system(dut: OnBoard, mhz: float) -> str:
    """The Verilog of `dut` with the SDRAM at its pins, `mhz` being the bench's clock."""
    ports = [("clk", "In", 1), ("rst", "In", 1)]
    for path, member, signal in dut.signature.flatten(dut):
        ports.append(("__".join(path), member.flow.name, len(Value.cast(signal))))
    declared = [f"{flow.lower()}put [{width - 1}:0] {name}" for name, flow, width in ports]
    declared += ["output [7:0] violation", "output [31:0] words, refreshed"]
    widths = {"ba": 2, "a": 13, "dqm": 2, "dq": 16}
    wires = [f"    wire [{widths.get(name, 1) - 1}:0] {name}_pin;" for name in PINS]
    joined = [f".{name}({name})" for name, _, _ in ports]
    joined += [".late_clk(late)"]
    joined += [f".sdram_0__{name}__io({name}_pin)" for name in PINS]
    low = ("cs", "ras", "cas", "we")
    chip = [f".{name}{'_n' * (name in low)}({name}_pin)" for name in PINS]
    chip += [".rst(rst)", ".drives_out(!machine.pads.dq.\\buf .t[0])"]
    chip += [f".{name}({name})" for name in ("violation", "words", "refreshed")]
    part = model_parameters(PART, mhz, 0)
    lines = ["`define PART " + ", ".join(f".{name}({value})" for name, value in part.items())]
    lines += ["`timescale 1ns / 1ps", f"module top ({', '.join(declared)});", *wires]
    lines += ["    reg late;"]
    lines += [
        "    always @(posedge clk) #2.5 late = 0;",
        "    always @(posedge clk) #7.5 late = 1;",
    ]
    lines += [f"    board machine ({', '.join(joined)});"]
    lines += [f"    sdram_chip chip ({', '.join(chip)});", "endmodule", ""]
    design = verilog.convert(
        dut, name="board", platform=board("ulx3s-85f"), emit_src=False, strip_internal_attrs=True
    )
    return "\n".join(lines) + design


def run(folder, mhz: float, delays: dict[str, float], real_mhz: float | None = None) -> None:
    """Run the controller's bench at the pads' `delays`; `real_mhz` is another clock than `mhz`."""
    settings = PART.at(mhz)
    path = folder / "top.v"
    path.write_text(system(OnBoard(settings, ROUND_TRIP), mhz))
    simulation = build_simulation(path, "top", CACHE, extra_sources=(BOARD, MODEL), timing=True)
    env = {
        "CONFIG": json.dumps(CONFIG.to_dict()),
        "SETTINGS": json.dumps(asdict(settings)),
        "SIZE": settings.bytes,
    }
    stretch = 1000 * (real_mhz or mhz) / BENCH_MHZ
    plusargs = [f"+{name}={round(stretch * delay)}" for name, delay in delays.items()]
    run_simulation(simulation, "tb_sdram", folder, env=env, plusargs=plusargs)


SLOWEST, FASTEST = CLOCKS_MHZ


@pytest.mark.parametrize("mhz", CLOCKS_MHZ)
@pytest.mark.parametrize("delays", [SLOW, FAST], ids=["slow", "fast"])
def test_words_arrive_when_they_are_expected(mhz, delays, tmp_path):
    run(tmp_path, mhz, delays)


@pytest.mark.parametrize(("mhz", "delays", "real_mhz"), [(SLOWEST, FAST, 40), (FASTEST, SLOW, 115)])
def test_they_do_not_at_clocks_beyond(mhz, delays, real_mhz, tmp_path):
    with pytest.raises(CheckFailed, match="tests failed"):
        run(tmp_path, mhz, delays, real_mhz)
