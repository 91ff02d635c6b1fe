"""Rounding of weights: formats, steps of groups, and what the second moments are good for."""

import numpy as np
import pytest

from celosia.compiler import rounding
from celosia.compiler.pruning import best_patterns, damped, partners
from celosia.compiler.rounding import nearest_code, output_error, round_weights
from celosia.compiler.rounding_sweep import (
    Sparsity,
    descend,
    descend_patterns,
    descend_steps,
    sweep,
    sweep_order,
)
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


@pytest.mark.parametrize("guided", [False, True])
def test_empty_groups_leave_the_others_their_steps(guided):
    weight, hessian = layer()
    weight *= 1e-3
    kept = np.ones(weight.shape, bool)
    kept[:12, 16:32] = False
    weight[12:, 16:32] = 0
    format = WeightFormat("int4", 16)
    found = round_weights(weight, format, hessian if guided else None, kept=kept)
    assert not found.values[~kept].any()
    assert guided or not found.values[:, 16:32].any()
    assert found.group_scale[:, [0, 2, 3]].max(axis=1).min() > 200
    error = output_error(weight[12:], found.real(16)[12:], hessian)
    assert error < 0.02


@pytest.mark.parametrize(
    "format", [WeightFormat("int8", 0, (2, 4)), WeightFormat("int4", 16, (4, 8))]
)
@pytest.mark.parametrize("pair", [0, 8])
def test_passes_make_it_better(format, pair, monkeypatch):
    weight, hessian = layer(outputs=48)
    errors = []
    default = output_error(
        weight, round_weights(weight, format, hessian, pair=pair).real(format.group), hessian
    )
    for passes in (0, 1, 4):
        monkeypatch.setattr(rounding, "PASSES", passes)
        found = round_weights(weight, format, hessian, pair=pair).real(format.group)
        errors.append(output_error(weight, found, hessian))
    assert errors[1] < 0.97 * errors[0] and errors[2] < errors[1]
    assert default < 0.97 * errors[0]
    monkeypatch.setattr(rounding, "descend_patterns", lambda *_: None)
    found = round_weights(weight, format, hessian, pair=pair).real(format.group)
    assert errors[2] < 0.98 * output_error(weight, found, hessian)


@pytest.mark.parametrize(("code", "coarseness"), [("int4", 0.4), ("ternary", 2.0)])
@pytest.mark.parametrize("pair", [0, 4])
def test_descent_keeps_its_gradient_and_never_gets_worse(pair, code, coarseness):
    weight, hessian = layer(outputs=24, inputs=72)
    full, exact = damped(hessian), weight.T.copy()
    nearest = nearest_code(code)
    groups = [slice(s, s + 24) for s in range(0, 72, 24)]
    steps = np.full((3, 24), coarseness)
    allowed = np.random.default_rng(2).random(exact.shape) < 0.9
    sparsity = Sparsity(2, 4, partners(24, pair), allowed)
    kept = allowed.copy()
    codes = sweep(exact, full, np.repeat(steps, 24, axis=0), nearest, kept, sparsity)
    gradient = full @ (exact - codes * np.repeat(steps, 24, axis=0))

    def loss():
        rest = exact - codes * np.repeat(steps, 24, axis=0)
        np.testing.assert_allclose(gradient, full @ rest, atol=1e-9 * np.abs(full).max())
        assert not codes[~kept].any() and not kept[~allowed].any()
        runs = kept.reshape(18, 4, 24)
        for one in range(24):
            together = runs[:, :, sparsity.sets == one].any(axis=2)
            assert together.sum(axis=1).max(initial=0) <= 2
        return np.bincount(sparsity.sets, (rest * (full @ rest)).sum(axis=0))

    before = loss()
    for _ in range(3):
        descend_steps(full, groups, codes, steps, lambda step: step, gradient)
        after_steps = loss()
        wide = np.repeat(steps, 24, axis=0)
        descend_patterns(full, wide, nearest, kept, codes, gradient, sparsity)
        after_patterns = loss()
        descend(full, wide, nearest, kept, codes, gradient)
        after = loss()
        # For every set of channels by itself.
        assert (after <= after_patterns * (1 + 1e-9)).all()
        assert (after_patterns <= after_steps * (1 + 1e-9)).all()
        assert (after_steps <= before * (1 + 1e-9)).all()
        before = after


def swept(weight, hessian, steps, nearest, order, keep, run):
    """Sweep by the book: the Hessian of the inputs that are left is inverted for every input."""
    left, codes = weight.copy(), np.zeros_like(weight)
    kept = np.ones(weight.shape, bool)
    for position, column in enumerate(order):
        rest = order[position:]
        inverse = np.linalg.inv(hessian[np.ix_(rest, rest)])
        if keep < run and position % run == 0:
            some = rest[:run]
            kept[some] = best_patterns(
                left[some], inverse[:run, :run], keep, partners(weight.shape[1], 0)
            )
        codes[column] = np.where(kept[column], nearest(left[column] / steps[column]), 0)
        error = (left[column] - codes[column] * steps[column]) / inverse[0, 0]
        left[rest] -= inverse[:, :1] * error
    return codes, kept


@pytest.mark.parametrize(("keep", "run"), [(1, 1), (2, 4), (2, 8)])
def test_sweep_is_by_the_book(keep, run):
    weight, hessian = layer(outputs=7, inputs=146)
    full, exact = damped(hessian), weight.T.copy()
    steps = np.random.default_rng(3).uniform(0.2, 0.4, exact.shape)
    nearest, order = nearest_code("int4"), sweep_order(full, run)
    assert sorted(order) == list(range(146))
    wanted, pattern = swept(exact, full, steps, nearest, order, keep, run)
    kept = np.ones(exact.shape, bool)
    sparsity = Sparsity(keep, run, partners(7, 0), kept.copy()) if keep < run else None
    found = sweep(exact, full, steps, nearest, kept, sparsity)
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(kept, pattern)


def test_the_strongest_inputs_go_first():
    strength = np.array([1, 9, 1, 1, 5, 5, 5, 5, 20])
    np.testing.assert_array_equal(sweep_order(np.diag(strength), 1)[:2], [8, 1])
    np.testing.assert_array_equal(sweep_order(np.diag(strength), 4), [0, 1, 2, 3, 4, 5, 6, 7, 8])


def test_clipping_spares_the_inputs_that_matter(monkeypatch):
    monkeypatch.setattr(rounding, "PASSES", 0)
    weight, _ = layer()
    hessian = np.diag(np.where(np.arange(64) % 16 == 3, 1e4, 1.0))
    format = WeightFormat("int4", 16)
    plain, spared = (
        np.square(round_weights(weight, format, h).real(16) - weight)[:, 3::16].mean()
        for h in (None, hessian)
    )
    assert spared < 0.3 * plain


@pytest.mark.parametrize("format", [WeightFormat("int4"), WeightFormat("ternary")])
def test_no_other_scale_of_a_channel_is_better(format):
    weight, hessian = layer()
    found = round_weights(weight, format, hessian).real(format.group)
    full = damped(hessian)
    best = ((weight @ full) * found).sum(axis=1) / ((found @ full) * found).sum(axis=1)
    assert np.abs(best - 1).mean() < 0.002
