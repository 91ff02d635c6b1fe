# amaranth: UnusedElaboratable=no
"""LayerNorm and RMSNorm against their twin, and the twin against float64 and Python's integers."""

import json
from fractions import Fraction
from math import floor, isqrt

import numpy as np
import pytest
from harness import simulate
from norms import CLIPPED_EPSILON, CLIPPED_ROWS, norm_columns, norm_rows

from celosia.config import PRESETS, MachineConfig
from celosia.cores.multiply_lane import MAX_SHIFT as CORE_MAX_SHIFT
from celosia.cores.multiply_lane import MultiplyLane
from celosia.cores.row_functions import RowFunctions
from celosia.golden.layernorm import MAX_ELEMENTS, MAX_SHIFT, layernorm, normalise, row_scale


def sized(lanes: int, vector_lanes: int) -> MachineConfig:
    return PRESETS["tiny"].replace(
        name=f"l{lanes}v{vector_lanes}", rows=lanes, vector_lanes=vector_lanes, attention_rows=4
    )


@pytest.mark.parametrize(("lanes", "vector_lanes"), [(8, 2), (4, 4), (16, 16), (4, 1)])
def test_matches_golden(lanes, vector_lanes, tmp_path):
    config = sized(lanes, vector_lanes)
    assert MultiplyLane.latency == 17
    simulate(RowFunctions(config), "tb_layernorm", tmp_path, CONFIG=json.dumps(config.to_dict()))


def all_kinds(n: int) -> np.ndarray:
    return norm_rows(np.random.default_rng(n), 200, n)


@pytest.mark.parametrize("n", [1, 2, 5, 32, 384, 1024, 4096])
@pytest.mark.parametrize("epsilon", [1, 1000, (1 << 32) - 1])
def test_twin_is_near_exact(n, epsilon):
    rng = np.random.default_rng(n)
    x = all_kinds(n)
    total = x.sum(axis=1)
    v = n * (x * x).sum(axis=1) - total * total + epsilon
    z = (n * x - total[:, np.newaxis]) / np.sqrt(v.astype(np.float64))[:, np.newaxis]

    zq = normalise(x, epsilon=epsilon)
    slack = 4096 * np.abs(z) * 2.0**-16
    assert (np.abs(zq - 4096 * z) <= 1 + slack).all()
    assert zq.min() >= -1 << 19 and zq.max() < 1 << 19
    assert (zq[np.ptp(x, axis=1) == 0] == 0).all()

    for shift in (10, 13, 15):
        gamma, beta = norm_columns(rng, n, shift)
        y = layernorm(x, gamma, beta, shift=shift, epsilon=epsilon)
        exact = np.clip(4096 * z * gamma / 2.0**shift + beta, -32768, 32767)
        # One unit of the result, but for gains that magnify the normal form's own rounding.
        bound = 0.5 + (1 + slack) * np.abs(gamma) / 2.0**shift
        assert (np.abs(y - exact) <= bound).all()


@pytest.mark.parametrize("n", [5, 32, 384, 1024])
@pytest.mark.parametrize("deviation", [0.4, 3, 100, 9000])
def test_twin_is_within_one_of_the_float_layer(n, deviation):
    """With gains that do not magnify: results of up to 1024 for each deviation."""
    rng = np.random.default_rng(n)
    x = np.clip(np.rint(rng.normal(500, deviation, (50, n))), -32768, 32767).astype(np.int64)
    gamma = rng.integers(-(1 << 12), (1 << 12) + 1, n)
    beta = rng.integers(-3000, 3000, n)
    variance = x.var(axis=1, keepdims=True) + 1 / n**2
    exact = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(variance) * gamma / 4 + beta
    y = layernorm(x, gamma, beta, shift=14, epsilon=1)
    assert np.abs(y - exact).max() <= 1


@pytest.mark.parametrize("n", [1, 3, 27, 1000, 4096])
def test_twin_is_as_documented(n):
    """Element by element, in Python's integers."""
    x = norm_rows(np.random.default_rng(n), 20, n)
    for row, zq in zip(x.tolist(), normalise(x, epsilon=7).tolist(), strict=True):
        total = sum(row)
        v = n * sum(value * value for value in row) - total * total + 7
        half = (v.bit_length() + 1) // 2
        root = isqrt((v << 40) >> 2 * half)
        mean = floor(Fraction(total << 20, n))
        ratio = Fraction(n << 38 - n.bit_length(), root)
        dropped = floor(ratio).bit_length() - 17
        gain = min(floor(Fraction(floor(ratio), 1 << dropped) + Fraction(1, 2)), (1 << 17) - 1)
        assert gain.bit_length() == 17
        offset = (mean & 0xFFFFF) * gain >> 16
        shift = max(half - n.bit_length() - dropped + 10, 0)
        assert shift <= 25
        for value, got in zip(row[:50], zq[:50], strict=True):
            exact = Fraction(16 * (value - (mean >> 20)) * gain - offset, 1 << shift)
            assert got == floor(exact + Fraction(1, 2))


def test_twin_scales_fit_the_hardware():
    for n in (1, 2, 5, 32, 384, 1024, 4095, 4096):
        for epsilon in (1, (1 << 32) - 1):
            scale = row_scale(all_kinds(n), epsilon=epsilon)
            assert scale.mean.min() >= -32768 and scale.mean.max() <= 32767
            assert scale.gain.min() >= 1 << 16 and scale.gain.max() < 1 << 17
            assert scale.offset.min() >= 0 and scale.offset.max() < 1 << 21
            assert scale.shift.min() >= 0 and scale.shift.max() <= 25


def test_twin_clips_the_gain():
    scale = row_scale(CLIPPED_ROWS, epsilon=CLIPPED_EPSILON)
    assert scale.gain.tolist() == [(1 << 17) - 1]
    # Rounded, the quotient by this root would have a bit more.
    assert (4 << 38 - 3) // ((1 << 19) + 1) == (1 << 18) - 1
    assert np.abs(normalise(CLIPPED_ROWS, epsilon=CLIPPED_EPSILON)).tolist() == [[4000] * 4]


def test_twin_clips_the_shift():
    x, gamma, beta = [[-32768, 32767, 5]], [32767, -32768, 1], [1, -1, 7]
    assert MAX_SHIFT == CORE_MAX_SHIFT
    assert layernorm(x, gamma, beta, shift=255, epsilon=1).tolist() == [beta]
    assert layernorm(x, gamma, beta, shift=36, epsilon=1).tolist() == [beta]


def test_twin_rejects_wrong_operands():
    good = {"gamma": [1, 1], "beta": [0, 0], "shift": 0, "epsilon": 1}
    for x, change, message in [
        ([[0, 32768]], {}, r"^x must be between -32768 and 32767, not 0 to 32768$"),
        ([[0, 0]], {"gamma": [0, -32769]}, r"^gamma must be between -32768 and 32767, not "),
        ([[0, 0]], {"beta": [0, 32768]}, r"^beta must be between -32768 and 32767, not "),
        ([[0, 0]], {"epsilon": 0}, r"^epsilon must be between 1 and 4294967295, not 0$"),
        ([[0, 0]], {"epsilon": 1 << 32}, r"^epsilon must be between 1 and 4294967295, not 429"),
        ([[0, 0]], {"shift": -1}, r"^shift must not be negative, not -1$"),
        (np.zeros((1, 0), int), {}, r"^rows must have 1 to 4096 elements, not 0$"),
        (
            np.zeros((1, MAX_ELEMENTS + 1), int),
            {},
            r"^rows must have 1 to 4096 elements, not 4097$",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            layernorm(x, **{**good, **change})
