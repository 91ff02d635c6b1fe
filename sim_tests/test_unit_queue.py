# amaranth: UnusedElaboratable=no
"""Queue of a unit: order, tokens, and room for as many instructions as it says."""

import pytest
from harness import simulate

from celosia.isa import Unit
from celosia.rtl.unit_queue import UnitQueue


@pytest.mark.parametrize("unit", list(Unit))
def test_offers_instructions_in_order(unit, tmp_path):
    assert simulate(UnitQueue(unit), "tb_unit_queue", tmp_path, UNIT=str(int(unit))) == 10
