from dataclasses import replace

import checkpoints
import numpy as np
import pytest

from celosia.compiler.calibrate import best_scale, calibration_inputs, find_ranges
from celosia.compiler.checkpoint import load_model
from celosia.compiler.graph import Attention, Linear, Norm
from celosia.compiler.quantise import (
    dyadic,
    linear_floor,
    norm_floor,
    quantise_linear,
    quantise_norm,
    quantise_weights,
    residual_shift,
)
from celosia.compiler.quantise_model import quantise_encoder
from celosia.compiler.quantise_smooth import smooth, smoothed_linear, smoothed_norm
from celosia.config import PRESETS
from celosia.errors import ModelError
from celosia.golden.fixed import row_exponent
from celosia.golden.layernorm import layernorm
from celosia.golden.reference import layer_norm
from celosia.golden.requant import requantise

TINY = PRESETS["tiny"]
RNG = np.random.default_rng(5)


def linear(weight, bias=None, name="some.layer"):
    bias = None if bias is None else np.asarray(bias, np.float32)
    return Linear(name=name, weight=np.asarray(weight, np.float32), bias=bias)


def norm(width, spread=1.0, eps=1e-6):
    gamma = RNG.normal(0, spread, width).astype(np.float32)
    return Norm(name="some.norm", gamma=gamma, beta=gamma[::-1].copy(), eps=eps)


def test_dyadic():
    real = np.concatenate([2.0 ** RNG.uniform(-45, 14, 1000), [1.0, 2.0**-20, 0.99999999]])
    multiplier, shift = dyadic(real)
    assert (1 << 14 <= multiplier).all() and (multiplier < 1 << 15).all()
    assert (np.abs(multiplier / 2.0**shift / real - 1) <= 2.0**-15).all()
    assert [int(x) for x in dyadic(0.0)] == [0, 0]
    assert [int(x) for x in dyadic(2.0**-60)] == [0, 0]
    with pytest.raises(ValueError, match="must be below 32768"):
        dyadic(32768.0)


def test_weights():
    weight = RNG.normal(0, 1, (9, 30)) * 10.0 ** RNG.uniform(-6, 6, (9, 1))
    weight[3] = 0
    values, scale = quantise_weights(weight)
    assert (np.abs(values * scale[:, None] - weight) <= scale[:, None] / 2 * (1 + 1e-9)).all()
    assert (np.abs(values).max(axis=1)[np.arange(9) != 3] == 127).all()


@pytest.mark.parametrize("gain", [1e-3, 1.0, 1e4])
def test_a_layer_against_float(gain):
    part = linear(RNG.normal(0, gain, (12, 40)), RNG.normal(0, gain, 12))
    x = RNG.normal(0, 1, (50, 40))
    exact = x @ part.weight.T.astype(float) + part.bias
    in_scale = np.abs(x).max() / 32767
    out_scale = max(1.1 * np.abs(exact).max() / 32767, linear_floor(part, in_scale))
    found = quantise_linear(part, in_scale, out_scale, TINY)
    # Every exponent of a row can be taken off the shift.
    assert (found.shift >= 8).all()

    codes = np.rint(x / in_scale).astype(np.int64)
    e = row_exponent(codes)[:, None]
    acc = np.clip(np.rint(codes / 2.0**e), -128, 127).astype(np.int64) @ found.weight.T.astype(int)
    y, clipped = requantise(acc, found.multiplier, found.shift - e, found.bias)
    assert not clipped.any()
    error = np.abs(y * out_scale - exact).max() / np.abs(exact).max()
    assert error < 0.02


def test_a_large_gain_keeps_the_shift():
    # An output that hardly moves would ask for a factor that no shift could take an exponent off.
    part = linear([[1.0, -1.0]])
    floor = linear_floor(part, 1.0)
    assert quantise_linear(part, 1.0, floor, TINY).shift.min() >= 8
    assert quantise_linear(part, 1.0, floor / 2, TINY).shift.min() < 8


@pytest.mark.parametrize("inputs", [515, 517])
def test_accumulators_cannot_overflow(inputs):
    config = TINY.replace(accumulator_width=24)
    part = linear(np.ones((2, inputs)))
    if inputs * 127 * 128 < 1 << 23:
        assert 0.99 < quantise_linear(part, 1e-3, 1e-3, config).bound <= 1
        return
    message = r"some.layer: sums over 517 inputs may reach 8404352, .* must be at least 25"
    with pytest.raises(ModelError, match=message):
        quantise_linear(part, 1e-3, 1e-3, config)


def test_weights_must_be_finite():
    with pytest.raises(ModelError, match=r"some\.layer: weights must be finite"):
        quantise_linear(linear([[1.0, np.nan]]), 1.0, 1.0, TINY)


@pytest.mark.parametrize(("scale", "spread"), [(1e-4, 1.0), (3e-3, 1e-3), (1e-5, 30.0)])
def test_a_norm_against_float(scale, spread):
    part = norm(31, spread)
    x = RNG.normal(0, 4000, (20, 31)) * RNG.uniform(0.01, 1, (20, 1))
    codes = np.clip(np.rint(x), -32768, 32767).astype(np.int64)
    exact = layer_norm(part, codes * scale)
    out_scale = 1.2 * np.abs(exact).max() / 32767
    found = quantise_norm(part, scale, out_scale)
    y = layernorm(codes, found.gamma, found.beta, shift=found.shift, epsilon=found.epsilon)
    assert np.abs(y - exact / out_scale).max() < 10


def test_epsilon_fits():
    part = norm(4000, eps=1e-3)
    found = quantise_norm(part, norm_floor(part), 1.0)
    assert found.epsilon == pytest.approx((1 << 32) - 1, rel=1e-9)
    assert quantise_norm(norm(4, eps=1e-30), 1.0, 1.0).epsilon == 1
    with pytest.raises(ModelError, match=r"some\.norm: norms take at most 4096 elements, not 4097"):
        quantise_norm(norm(4097), 1.0, 1.0)


@pytest.mark.parametrize(("needed", "shift"), [(0.1, 0), (1.0, 0), (1.01, 1), (2.0, 1), (9.0, 4)])
def test_residual_shift(needed, shift):
    assert residual_shift(1.0, needed) == shift


def test_best_scale_stays_in_its_octave():
    peaks = np.full(10, 100.0)
    for least in (0.004, 0.0061, 0.01):
        scale = best_scale(peaks, least)
        assert least <= scale < 2 * least
        # The rows end just below a power of two.
        code = 100 / scale
        assert 0.93 < code / 2 ** np.ceil(np.log2(code)) <= 1


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return load_model(checkpoints.write(folder, checkpoints.bert_tensors(), checkpoints.BERT))


def test_smoothing_keeps_the_product():
    part, reader = norm(12), linear(RNG.normal(0, 1, (5, 12)))
    factors = RNG.uniform(0.1, 10, 12)
    x = RNG.normal(0, 1, (7, 12))
    exact = layer_norm(part, x) @ reader.weight.T
    found = layer_norm(smoothed_norm(part, factors), x) @ smoothed_linear(reader, factors).weight.T
    np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-5)


def test_smoothing_takes_outliers_off(encoder):
    ranges = find_ranges(encoder, calibration_inputs(encoder))
    name = "block0.norm1"
    ranges.columns[name][3] *= 50
    for rows in ranges.rows[name]:
        rows[:, 3] *= 50
    factors = smooth(name, ranges, (encoder.blocks[0].ffn.up,))
    assert factors[3] > 5 * np.median(factors)


def test_unusable_calibration(encoder):
    with pytest.raises(ModelError, match="calibration needs at least one input"):
        find_ranges(encoder, [])
    weight = encoder.blocks[1].attention.o.weight.copy()
    weight[0, 0] = np.inf
    blocks = list(encoder.blocks)
    attention = replace(blocks[1].attention, o=replace(blocks[1].attention.o, weight=weight))
    blocks[1] = replace(blocks[1], attention=attention)
    broken = replace(encoder, blocks=tuple(blocks))
    with (
        np.errstate(all="ignore"),
        pytest.raises(ModelError, match=r"block1\.\S+ is not finite on a calibration input"),
    ):
        find_ranges(broken, [np.array([1, 2])])


def test_calibration_finds_peaks_by_row(encoder):
    ranges = find_ranges(encoder, [np.array([1, 2, 3]), np.array([4])])
    shapes = {name: [len(p) for p in ranges.peaks[f"block0.{name}"]] for name in ("q", "v")}
    assert shapes == {"q": [9, 3], "v": [27, 27]}  # by token and head, and by channel
    assert ranges.needed("block0.q") * 32767 == pytest.approx(1.5 * ranges.largest("block0.q"))
    report = quantise_encoder(encoder, ranges, TINY).report
    assert all(entry["weight_error"] < 0.02 for entry in report if "weight_error" in entry)


def test_scores_cannot_overflow(encoder):
    def part(name, outputs, inputs):
        return linear(RNG.normal(0, 0.01, (outputs, inputs)), name=name)

    q, k, v, o = part("q", 513, 27), part("k", 513, 27), part("v", 513, 27), part("o", 27, 513)
    attention = Attention(heads=1, head_dim=513, q=q, k=k, v=v, o=o)
    model = replace(encoder, blocks=(replace(encoder.blocks[0], attention=attention),))
    ranges = find_ranges(model, [np.array([1, 2])])
    quantise_encoder(model, ranges, TINY)
    with pytest.raises(ModelError, match="q, scores: sums over 513 inputs may reach 8404992"):
        quantise_encoder(model, ranges, TINY.replace(accumulator_width=24))
