# amaranth: UnusedElaboratable=no
"""The quantiser against its twin, and the twin against the real quotient."""

import numpy as np
import pytest
from harness import simulate

from celosia.cores.quantise import Quantiser
from celosia.golden.fixed import row_exponent
from celosia.golden.quantise import quantise


@pytest.mark.parametrize("lanes", [3, 32])
def test_matches_golden(lanes, tmp_path):
    dut = Quantiser(lanes)
    assert dut.latency == 2
    simulate(dut, "tb_quantise", tmp_path, LANES=lanes, LATENCY=dut.latency)


def test_twin_is_near_the_quotient():
    x = np.arange(-32768, 32768)
    for e in range(9):
        q = quantise(x, e)
        assert q.min() >= -128 and q.max() <= 127
        inside = (q > -128) & (q < 127)
        assert np.abs(q * 2.0**e - x)[inside].max() <= 2.0**e / 2
        # Half a step is rounded up.
        assert all(q[inside] == np.floor(x[inside] / 2.0**e + 0.5))


def test_exponents_make_rows_fit():
    rng = np.random.default_rng(0)
    rows = rng.integers(-32768, 32768, (500, 7)) >> rng.integers(0, 16, (500, 1))
    e = row_exponent(rows)
    error = np.abs(quantise(rows, e) * 2.0 ** e[:, None] - rows)
    # Only a value that rounds up to 128 saturates, and it is off by a step at most.
    assert all(error.max(axis=1) <= 2.0**e)
    assert all(np.abs(rows).max(axis=1)[e > 0] > 2.0 ** (e[e > 0] + 6))


def test_twin_rejects_wrong_operands():
    with pytest.raises(ValueError, match=r"^e must be between 0 and 8, not 9 to 9$"):
        quantise(np.zeros((1, 4), int), [9])
    with pytest.raises(ValueError, match=r"^x must be between -32768 and 32767, not 0 to 32768$"):
        quantise([[0, 32768]], [0])


def test_rejects_wrong_lanes():
    with pytest.raises(ValueError, match=r"^Quantiser lanes must be positive, not 0$"):
        Quantiser(0)
    with pytest.raises(TypeError, match=r"^Quantiser lanes must be an integer, not 4\.0$"):
        Quantiser(4.0)
