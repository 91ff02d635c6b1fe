"""Netlists of each family under a bench, and benches that see netlists and models that are wrong.

`make netlists` runs the benches of all cores, and machines.
"""

import pytest
from memory_kinds import MemoryKinds
from netlist_cores import CORES
from netlists import FAMILIES, FAULTS, bench, synthesise

from celosia.errors import CheckFailed

MEMORIES = [("tb_memory_kinds", {"COLLISIONS": 0})]
#: A line of a model, and what is wrong in its place.
MUTANTS = {
    "a rank of registers": ("gowin", "gowin_rank #(2*WIDTH, OUT_REG)", "gowin_rank #(2*WIDTH, 0)"),
    "the enable of an operand": ("ecp5", 'CE == "CE1" ? ce[1]', 'CE == "CE1" ? ce[0]'),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_products_on_netlists(family, tmp_path):
    core = CORES["multiply"]
    design = core.make()
    netlist = synthesise(design, FAMILIES[family])
    block = {"ecp5": "MULT18X18D", "ice40": "SB_MAC16", "gowin": "MULT18X18"}[family]
    assert netlist.cells[block] > 0
    found = bench(netlist, core.benches(design), tmp_path)
    assert (found.tests, found.caught) == (2, FAULTS)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_netlist_of_models(family, tmp_path):
    """As whole machines are simulated: cells replaced by their models."""
    core = CORES["serial.divide"]
    design = core.make()
    netlist = synthesise(design, FAMILIES[family], flat=True)
    cells = {"ecp5": "TRELLIS_FF", "ice40": "SB_DFF", "gowin": "DFF"}[family]
    assert any(cell.startswith(cells) for cell in netlist.cells)
    assert cells not in netlist.path.read_text()
    found = bench(netlist, core.benches(design), tmp_path, faults=1)
    assert found.tests > 0 and found.caught == 1


@pytest.mark.parametrize("family", ["ecp5", "gowin"])
def test_memories_on_netlists(family, tmp_path):
    """With logic for words that are read while they are written: what the models make of those."""
    netlist = synthesise(MemoryKinds(), FAMILIES[family], script="")
    kinds = {"ecp5": {"DP16KD"}, "gowin": {"DPB", "DPX9B", "SDPX9B"}}[family]
    assert kinds <= netlist.cells.keys()
    benches = [("tb_memory_kinds", {"COLLISIONS": 1})]
    assert bench(netlist, benches, tmp_path, faults=1).caught == 1


def test_wrong_memories_are_seen(tmp_path):
    """Words that are read while they are written are noise, and every write has its place."""
    netlist = synthesise(MemoryKinds(), FAMILIES["ecp5"])
    bench(netlist, MEMORIES, tmp_path / "right", faults=0)
    with pytest.raises(CheckFailed, match=r"keeps_every_word: [a-z]*: "):
        bench(netlist, [("tb_memory_kinds", {"COLLISIONS": 1})], tmp_path / "noise", faults=0)
    right, wrong = "qb[35:18] : qb[17:0]", "qb[17:0] : qb[17:0]"
    assert netlist.models.count(right) == 1
    with pytest.raises(CheckFailed, match=r"keeps_every_word: (word|bytes): "):
        bench(netlist, MEMORIES, tmp_path, faults=0, models=netlist.models.replace(right, wrong))


@pytest.mark.parametrize("name", MUTANTS)
def test_wrong_multipliers_are_seen(name, tmp_path):
    family, right, wrong = MUTANTS[name]
    core = CORES["multiply"]
    design = core.make()
    netlist = synthesise(design, FAMILIES[family])
    assert netlist.models.count(right) == 1
    models = netlist.models.replace(right, wrong)
    with pytest.raises(CheckFailed, match="every_product_is_exact"):
        bench(netlist, core.benches(design), tmp_path, faults=0, models=models)
