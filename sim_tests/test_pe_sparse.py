# amaranth: UnusedElaboratable=no
"""The selector of a sparse element: as emitted, and as a netlist of ECP5 cells."""

import pytest
from harness import simulate
from test_ecp5 import simulate_netlist

from celosia.cores.multiplexer import Multiplexer
from celosia.cores.pe_sparse import Selector


@pytest.mark.parametrize("m", [2, 4, 8, 16])
def test_chooses_by_its_index(m, tmp_path):
    assert simulate(Selector(m), "tb_pe_sparse", tmp_path, M=m) == 2


@pytest.mark.parametrize("m", [4, 8])
def test_netlist_chooses_by_its_index(m, tmp_path):
    cells = simulate_netlist(Selector(m), "tb_pe_sparse", tmp_path, M=m)
    planes = m.bit_length() - 1
    assert cells["LUT4"] == 9 * m // 2  # one for each two bits
    assert cells["PFUMX"] == 9 * m // 4
    assert cells["TRELLIS_FF"] == 2 * planes


def test_multiplexers_have_powers_of_two():
    with pytest.raises(ValueError, match=r"^Multiplexer count must be a power .*, not 12$"):
        Multiplexer(9, 12)


@pytest.mark.parametrize("m", [0, 1, 3, 6])
def test_groups_are_powers_of_two(m):
    with pytest.raises(ValueError, match=rf"^Selector m must be a power of two, .*, not {m}$"):
        Selector(m)
