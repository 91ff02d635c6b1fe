"""Rounding of weights: formats, steps of groups, and what the second moments are good for."""

import numpy as np
import pytest

from celosia.compiler.rounding import nearest_code, output_error, round_weights
from celosia.compiler.weight_format import CODES, WeightFormat


def layer(outputs: int = 24, inputs: int = 64, seed: int = 0):
    """Return weights, and the second moments of correlated inputs."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(inputs // 4, inputs)) * np.geomspace(0.1, 3, inputs)
    rows = rng.normal(size=(400, inputs // 4)) @ mixing + 0.3 * rng.normal(size=(400, inputs))
    return rng.normal(size=(outputs, inputs)), rows.T @ rows / len(rows)


@pytest.mark.parametrize("code", CODES)
def test_nearest_code(code):
    x = np.linspace(-140, 140, 4001) if code == "int8" else np.linspace(-14, 14, 4001)
    values = np.array(CODES[code][1])
    least = np.abs(x[:, None] - values).min(axis=1)
    found = nearest_code(code)(x)
    assert set(found) == set(values)
    np.testing.assert_array_equal(np.abs(x - found), least)


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("group", [0, 16, 24])
@pytest.mark.parametrize("guided", [False, True])
def test_values_are_of_the_format(code, group, guided):
    weight, hessian = layer(outputs=5)
    weight[2] = 0
    weight[3, :16] = 0
    found = round_weights(weight, WeightFormat(code, group), hessian if guided else None)
    assert set(np.unique(found.values)) <= set(CODES[code][1])
    groups = -(-64 // group) if group else 1
    assert found.values.dtype == found.group_scale.dtype == np.int64
    assert found.group_scale.shape == (5, groups) and found.scale.shape == (5,)
    assert found.group_scale.min() >= 1 and found.group_scale.max() <= (255 if group else 1)
    assert np.isfinite(found.scale).all() and (found.scale > 0).all()
    assert not found.values[2].any()
    error = output_error(weight, found.real(group), hessian)
    assert error < {"int8": 1e-3, "int4": 0.05, "fp4": 0.05, "ternary": 0.4}[code]


@pytest.mark.parametrize("format", [WeightFormat("int8"), WeightFormat("int4", 16)])
def test_without_hessian_is_the_nearest(format):
    weight, _ = layer()
    found = round_weights(weight, format, None)
    step = np.repeat(found.group_scale, format.group or 64, axis=1) * found.scale[:, None]
    np.testing.assert_array_equal(found.values, nearest_code(format.code)(weight / step))
    assert np.abs(found.real(format.group) - weight).mean() < 0.3 * step.mean()


def test_clipping_is_searched_for():
    weight, _ = layer()
    format = WeightFormat("int4", 32)
    found = round_weights(weight, format, None)
    groups = weight.reshape(24, 2, 32)
    step = np.abs(groups).max(axis=2, keepdims=True) / 7
    plain = (np.rint(groups / step) * step).reshape(weight.shape)
    ours, theirs = (np.square(x - weight).sum() for x in (found.real(32), plain))
    assert ours < 0.85 * theirs


@pytest.mark.parametrize(
    "format",
    [
        WeightFormat("int4", 16),
        WeightFormat("fp4", 16),
        WeightFormat("int8"),
        WeightFormat("ternary", 16),
    ],
)
def test_errors_make_up_for_each_other(format):
    weight, hessian = layer()
    plain = round_weights(weight, format, None).real(format.group)
    guided = round_weights(weight, format, hessian).real(format.group)
    assert output_error(weight, guided, hessian) < 0.5 * output_error(weight, plain, hessian)


@pytest.mark.parametrize("sparsity", [(2, 4), (4, 8), (1, 4), (2, 8)])
@pytest.mark.parametrize("guided", [False, True])
def test_sparsity(sparsity, guided):
    weight, hessian = layer()
    keep, run = sparsity
    format = WeightFormat("int8", 0, sparsity)
    found = round_weights(weight, format, hessian if guided else None)
    counts = (found.values.reshape(24, -1, run) != 0).sum(axis=2)
    assert counts.max() == keep and counts.mean() > 0.9 * keep


@pytest.mark.parametrize(("outputs", "pair"), [(24, 4), (22, 8), (7, 16)])
def test_pairs_share_a_pattern(outputs, pair):
    weight, hessian = layer(outputs)
    found = round_weights(weight, WeightFormat("int8", 0, (2, 4)), hessian, pair=pair).values
    for first in range(0, outputs, 2 * pair):
        block = found[first : first + 2 * pair]
        for one, other in zip(block[:pair], block[pair:], strict=False):
            together = ((one != 0) | (other != 0)).reshape(-1, 4).sum(axis=1)
            assert together.max() <= 2


def test_kept_weights_only():
    weight, hessian = layer()
    kept = np.random.default_rng(1).random(weight.shape) < 0.5
    for second in (None, hessian):
        found = round_weights(weight, WeightFormat("int4", 16, (2, 4)), second, kept=kept)
        assert not found.values[~kept].any() and found.values[kept].any()
    assert kept.any() and not kept.all()


def test_inputs_that_were_always_zero():
    weight, hessian = layer()
    hessian[:8] = hessian[:, :8] = 0
    found = round_weights(weight, WeightFormat("int4", 16), hessian)
    assert output_error(weight, found.real(16), hessian) < 0.01
    nothing = round_weights(weight, WeightFormat("int4", 16), np.zeros_like(hessian))
    assert np.abs(nothing.real(16) - weight).max() < 1


def test_sizes_that_leave_a_rest():
    weight, hessian = layer()
    weight, hessian = weight[:, :54], hessian[:54, :54]
    format = WeightFormat("int4", 16, (2, 4))
    found = round_weights(weight, format, hessian)
    assert found.real(16).shape == (24, 54) and found.group_scale.shape == (24, 4)
    assert (found.values[:, 52:] != 0).any()
