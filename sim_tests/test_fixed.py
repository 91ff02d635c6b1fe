"""Rounding, saturation and exponents of the twins against Python's integers."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celosia.golden.fixed import bit_length, checked, magnitude, rnd, row_exponent, saturate

INT16 = st.integers(-32768, 32767)


@given(st.integers(-(1 << 62) + 1, (1 << 62) - 1), st.integers(0, 62))
def test_rnd_rounds_half_up(x, s):
    assert rnd(x, s) == floor(Fraction(x, 1 << s) + Fraction(1, 2))


@given(st.integers(-(1 << 20), 1 << 20), st.integers(2, 40))
def test_rnd_at_ties(quotient, s):
    tie = (quotient << s) + (1 << (s - 1))
    assert rnd([tie - 1, tie, tie + 1], s).tolist() == [quotient, quotient + 1, quotient + 1]


def test_rnd_broadcasts():
    y = rnd([[-3], [3]], [0, 1, 2])
    np.testing.assert_array_equal(y, [[-3, -1, -1], [3, 2, 1]])
    assert y.dtype == np.int64


@given(st.integers(-(1 << 62), 1 << 62), st.integers(1, 62))
def test_saturate_clips(x, bits):
    limit = 1 << (bits - 1)
    assert saturate(x, bits) == min(max(x, -limit), limit - 1)


@given(st.integers(0, 63), st.integers(-2, 2))
def test_bit_length_at_powers_of_two(bits, offset):
    x = min(max((1 << bits) + offset, 0), (1 << 63) - 1)
    assert bit_length(x) == x.bit_length()


def test_magnitude_is_the_ones_complement():
    x = np.arange(-32768, 32768)
    np.testing.assert_array_equal(magnitude(x), np.where(x < 0, -x - 1, x))


@given(st.lists(st.lists(INT16, min_size=3, max_size=3), min_size=1, max_size=5))
def test_row_exponent_is_the_smallest_that_fits(rows):
    expected = [
        next(e for e in range(9) if all(-128 <= x >> e <= 127 for x in row)) for row in rows
    ]
    assert row_exponent(rows).tolist() == expected


def test_ranges_are_checked():
    with pytest.raises(ValueError, match=r"^shift must be between 0 and 62, not -1 to 3$"):
        rnd(1, [3, -1])
    with pytest.raises(ValueError, match=r"^value must be between -32768 and 32767, not "):
        magnitude([32768])
    with pytest.raises(ValueError, match=r"^gain must hold integers, not float64$"):
        checked("gain", [0.5], 0, 1)
    assert checked("gain", [], 0, 1).shape == (0,)
