# amaranth: UnusedElaboratable=no
"""Standard cells: the mapped netlist under the benches of the cores, memories as macros."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from harness import CACHE
from stand_in import StandIn
from test_scratchpad import Memories

from celosia.cli import app
from celosia.config import PRESETS
from celosia.cores.pe import ProcessingElement
from celosia.platforms.asic import smallest_inverter, synthesize_asic
from celosia.platforms.asic_macros import Macro, macro_model
from celosia.rtl.scratchpad import Scratchpad
from celosia.runtime.verilator import build_simulation, run_simulation

MODELS = Path(__file__).parent / "models"
LIBERTY = MODELS / "cells.lib"
CONFIG = PRESETS["tiny"].replace(scratchpad_words=128, exponent_slots=64, scratchpad_banks=2)


def simulate(build, testbench, **env):
    sources = [build / "macros.v", MODELS / "cells.v"]
    netlist = build_simulation(build / "netlist.v", "top", CACHE, extra_sources=sources)
    return run_simulation(netlist, testbench, build, env=env)


def test_an_element_of_cells(tmp_path):
    element = ProcessingElement(18, 19)
    found = synthesize_asic(element, tmp_path, liberty=LIBERTY, period=10)
    assert simulate(tmp_path, "tb_pe", ADDEND_WIDTH=18, LATENCY=element.latency)
    assert not found.macros
    # Operands, weight, product twice, sum: 9 + 9 + 8 + 8 + 2 · 17 + 19 and the swap, of 6 each.
    assert found.area > 6 * 88 and found.cells > 88


def test_memories_are_macros(tmp_path):
    dut = Memories(CONFIG, 3, 2)
    found = synthesize_asic(dut, tmp_path, liberty=LIBERTY, period=10)
    sizes = {(one["count"], one["bits"]) for one in found.macros}
    assert (2, 64 * 64) in sizes  # a bank of 64 words of 4 int16
    environment = {"CONFIG": json.dumps(CONFIG.to_dict()), "READERS": 3, "WRITERS": 2}
    environment["WRITE_LATENCY"] = Scratchpad.write_latency
    assert simulate(tmp_path, "tb_scratchpad", **environment)


class HalfUsed(wiring.Component):
    """A gate of which the module around it ties an input to 0."""

    def __init__(self):
        super().__init__({"a": In(1), "o": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.gate = gate = Gate()
        m.d.comb += [gate.a.eq(self.a), self.o.eq(gate.o)]
        return m


class Gate(wiring.Component):
    def __init__(self):
        super().__init__({"a": In(1), "b": In(1), "o": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.o.eq(self.a & self.b)
        return m


def test_what_is_analysed_has_no_constants(tmp_path):
    synthesize_asic(HalfUsed(), tmp_path, liberty=LIBERTY, period=10)
    assert "1'h" in (tmp_path / "netlist.v").read_text()
    analysed = (tmp_path / "sta.v").read_text()
    assert "1'h" not in analysed and "ZERO" in analysed


class Broadcast(wiring.Component):
    """A register that many gates read."""

    def __init__(self):
        super().__init__({"a": In(1), "b": In(300), "o": Out(300)})

    def elaborate(self, platform):
        m = Module()
        chosen = Signal()
        m.d.sync += [chosen.eq(self.a), self.o.eq(Mux(chosen, self.b, ~self.b))]
        return m


def test_nets_with_many_ends_are_trees_of_buffers(tmp_path):
    synthesize_asic(Broadcast(), tmp_path, liberty=LIBERTY, period=10)
    netlist = (tmp_path / "netlist.v").read_text()
    ends = Counter(re.findall(r"\.[ABD]\((\\?\w+)\s*\)", netlist))
    assert sum(ends.values()) > 600 and max(ends.values()) <= 30


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("", "", "INV"),
        ("cell (INV) {\n    area : 1;", "cell (INV) {\n    area : 1; dont_use : true;", None),
        ("A'", "(!A)", "INV"),
        ("cell_rise", "rise", None),
    ],
)
def test_the_smallest_inverter(old, new, name):
    assert smallest_inverter(LIBERTY.read_text().replace(old, new)) == name


def test_a_macro_says_what_it_is():
    macro = Macro(8, 100, 2, 1, (0, 1))
    assert macro.name == "ram_100x8_2r1wt1" and macro.bits == 800 and macro.address_bits == 7
    model = macro_model(macro)
    assert "reg [7:0] words [0:99];" in model and model.count("wr_addr[0 +: 7] ==") == 1


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("celosia.rtl.machine.machine", lambda config: StandIn())
    line = f"synthesize -c tiny --asic --liberty {LIBERTY} --period 10 --json r.json"
    assert app.run(line.split()) == 0
    record = json.loads((tmp_path / "r.json").read_text())
    assert record["period_ns"] == 10 and record["area"] > 0 and record["liberty"] == "cells.lib"
    assert (tmp_path / "out" / "tiny" / "netlist.v").exists()
    assert "area" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("-c tiny --asic --liberty none.lib", "liberty file none.lib is not there; give the path"),
        ("-c tiny --asic --liberty r.txt", "r.txt is not a liberty file"),
        ("-c tiny --asic -b ulx3s-85f", "give one of --board, --core and --asic"),
        ("-c tiny --period 3 -b ulx3s-85f", "--liberty and --period are for --asic"),
    ],
)
def test_refusals(line, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.txt").write_text("no cells")
    assert app.run(["synthesize", *line.split()]) == 2
    assert message in capsys.readouterr().err
