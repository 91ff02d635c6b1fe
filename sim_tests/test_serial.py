"""The serial units against Python's integers."""

import pytest
from contracts import KeepsStreamRules
from harness import prove, simulate

from celosia.cores.serial import SerialDivider, SerialMultiplier, SerialSquareRoot


@pytest.mark.parametrize(
    ("kind", "unit", "widths", "cycles"),
    [
        ("multiplier", SerialMultiplier, (28, 28), 29),
        ("multiplier", SerialMultiplier, (3, 5), 6),
        ("divider", SerialDivider, (36, 13), 37),
        ("divider", SerialDivider, (5, 3), 6),
        ("root", SerialSquareRoot, (20,), 21),
        ("root", SerialSquareRoot, (3,), 4),
    ],
)
def test_is_exact(kind, unit, widths, cycles, tmp_path):
    text = " ".join(map(str, widths))
    dut = unit(*widths)
    simulate(dut, "tb_serial", tmp_path, KIND=kind, WIDTHS=text, CYCLES=cycles)


def test_keeps_stream_rules(tmp_path):
    spec = KeepsStreamRules(SerialMultiplier(2, 2), capacity=1, prompt=False)
    prove(spec, tmp_path, mode="bmc", depth=15)
