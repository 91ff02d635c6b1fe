# amaranth: UnusedElaboratable=no
"""The requantiser against its twin, and the twin against Python's integers and fractions."""

import json
from fractions import Fraction
from math import floor

import numpy as np
import pytest
from amaranth import unsigned
from harness import simulate
from hypothesis import given
from hypothesis import strategies as st

from celosia.config import PRESETS, MachineConfig
from celosia.cores.requant import Requantiser
from celosia.golden.requant import requantise


def sized(columns: int, width: int) -> MachineConfig:
    return PRESETS["tiny"].replace(
        name=f"c{columns}a{width}", columns=columns, accumulator_width=width
    )


@pytest.mark.parametrize(("columns", "width"), [(4, 32), (8, 27), (4, 24)])
def test_matches_golden(columns, width, tmp_path):
    config = sized(columns, width)
    dut = Requantiser(config, unsigned(9))
    assert dut.latency == 11
    environment = {"CONFIG": json.dumps(config.to_dict()), "LATENCY": dut.latency}
    simulate(dut, "tb_requant", tmp_path, **environment)


def signed(bits: int) -> st.SearchStrategy[int]:
    low, high = -1 << (bits - 1), (1 << (bits - 1)) - 1
    return st.one_of(st.integers(low, high), st.sampled_from([low, low + 1, -1, 0, 1, high]))


@given(
    acc=signed(32),
    multiplier=st.integers(0, 32767) | st.just(32767),
    shift=st.integers(-3, 60),
    bias=signed(16),
    residual=signed(16),
    r_shift=st.integers(0, 31),
    narrow=st.booleans(),
)
def test_twin_is_the_rounded_quotient(acc, multiplier, shift, bias, residual, r_shift, narrow):
    y, clipped = requantise(
        acc, multiplier, shift, bias, residual=residual, r_shift=r_shift, narrow=narrow
    )
    half = Fraction(1, 2)
    exact = floor(Fraction(acc * multiplier, 1 << min(max(shift, 0), 47)) + half)
    exact += bias + floor(Fraction(residual, 1 << r_shift) + half)
    limit = 128 if narrow else 32768
    assert y == min(max(exact, -limit), limit - 1)
    assert clipped == (y != exact)


def test_twin_broadcasts():
    acc = np.arange(-6, 6).reshape(3, 4) << 20
    multiplier, shift, bias = np.array([1, 2, 3, 32767]), np.array([9, 10, -2, 70]), np.arange(4)
    y, clipped = requantise(acc, multiplier, shift, bias)
    for i, c in np.ndindex(3, 4):
        one = requantise(acc[i, c], multiplier[c], shift[c], bias[c])
        assert (y[i, c], clipped[i, c]) == one
    assert y.dtype == np.int64 and clipped.dtype == np.bool_
    assert clipped.any() and not clipped.all()


def test_twin_rejects_wrong_operands():
    with pytest.raises(ValueError, match=r"^multiplier must be between 0 and 32767, not -1 to -1$"):
        requantise(0, -1, 0, 0)
    with pytest.raises(ValueError, match=r"^acc must be between -2147483648 and 2147483647, not "):
        requantise(1 << 31, 0, 0, 0)
    with pytest.raises(ValueError, match=r"^bias must be between -32768 and 32767, not "):
        requantise(0, 0, 0, 32768)
    with pytest.raises(ValueError, match=r"^shift must be between 0 and 62, not -1 to -1$"):
        requantise(0, 0, 0, 0, residual=1, r_shift=-1)
