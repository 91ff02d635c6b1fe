"""Moments of what every matrix multiplies, against the rows themselves."""

from dataclasses import replace
from pathlib import Path
from runpy import run_path

import numpy as np
import pytest

from celosia.compiler.calibrate_decoder import decoder_samples
from celosia.compiler.checkpoint import load_model
from celosia.compiler.datasets import CALIBRATION_SENTENCES, SENTENCE_PAIRS
from celosia.compiler.datasets_sentences import ROUNDING_SENTENCES
from celosia.compiler.hessians import find_moments
from celosia.compiler.layers import named_linears, replace_weights, sources
from celosia.compiler.rounding_samples import rounding_samples
from celosia.errors import ModelError
from celosia.golden import reference, reference_decoder

MODELS = ("digits_vit", "mathformer-add")


def inputs(model, count=4):
    rng = np.random.default_rng(0)
    if model.name == "digits_vit":
        return [rng.integers(0, 17, (1, 8, 8)) for _ in range(count)]
    return [rng.integers(0, model.vocabulary, length) for length in range(3, 3 + count)]


def seen(model, samples):
    """Return the rows of every matrix, taken where the reference multiplies them."""
    rows = {}
    names = {id(part): name for name, part in named_linears(model).items()}

    def product(part, x):
        rows.setdefault(names.get(id(part), "?"), []).append(np.array(x))
        return reference.linear(part, x)

    return rows, product


@pytest.mark.parametrize("name", MODELS)
def test_moments_are_those_of_the_rows(name, monkeypatch):
    model = load_model(name)
    samples = inputs(model)
    rows, product = seen(model, samples)
    if name == "digits_vit":
        original, names = reference.linear, {id(p): n for n, p in named_linears(model).items()}

        def linear(part, x):
            if id(part) in names:
                rows.setdefault(names[id(part)], []).append(np.array(x))
            return original(part, x)

        monkeypatch.setattr(reference, "linear", linear)
        for sample in samples:
            reference.forward(model, sample)
        monkeypatch.undo()
        rows["patch"] = [model.embedding.rows(sample) for sample in samples]
        if model.pooling == "mean":  # the machine applies the head to every row
            rows["head"] = [reference.forward(model, sample)["hidden"] for sample in samples]
    else:
        for sample in samples:
            reference_decoder.forward(model, sample, product=product)
    found = find_moments(model, samples)
    assert list(found) == list(named_linears(model))
    for layer, moments in found.items():
        x = np.concatenate([np.atleast_2d(part) for part in rows[layer]])
        scale = np.abs(x).max()
        np.testing.assert_allclose(moments.second, x.T @ x / len(x), atol=2e-5 * scale**2)
        np.testing.assert_allclose(moments.peak, np.abs(x).max(axis=0), atol=2e-5 * scale)


def test_a_block_in_two_places_is_rounded_by_both():
    model = load_model("mathformer-add")
    twice = replace(model, blocks=model.blocks * 2)
    samples = inputs(model)
    rows, product = seen(twice, samples)
    for sample in samples:
        reference_decoder.forward(twice, sample, product=product)
    found = find_moments(twice, samples)
    for what in ("q", "o", "down"):
        x = np.concatenate(rows[f"block1.{what}"])  # of both, which are one object
        scale = np.abs(x).max()
        for block in ("block0", "block1"):
            moments = found[f"{block}.{what}"]
            np.testing.assert_allclose(moments.second, x.T @ x / len(x), atol=2e-5 * scale**2)
            np.testing.assert_allclose(moments.peak, np.abs(x).max(axis=0), atol=2e-5 * scale)


def test_division_of_columns():
    model = load_model("mathformer-add")
    moments = find_moments(model, inputs(model), ["block0.q"])["block0.q"]
    factors = np.geomspace(0.1, 5, len(moments.peak))
    found = moments.divided(factors)
    np.testing.assert_allclose(found.second * factors * factors[:, None], moments.second)
    np.testing.assert_allclose(found.peak * factors, moments.peak)


def test_a_sample_is_needed():
    with pytest.raises(ModelError, match="at least one input"):
        find_moments(load_model("mathformer-add"), [])


@pytest.mark.parametrize("name", MODELS)
def test_every_weight_can_be_replaced(name):
    model = load_model(name)
    linears = named_linears(model)
    assert set(sources(model)) == set(linears)
    weights = {name: part.weight + 1 for name, part in linears.items()}
    found = named_linears(replace_weights(model, weights))
    for name, part in linears.items():
        np.testing.assert_array_equal(found[name].weight, part.weight + 1)
    with pytest.raises(KeyError):
        replace_weights(model, {"block9.q": linears["head"].weight})


def test_samples_to_round_by():
    for name, count in (("digits_vit", 128), ("mathformer-add", 100), ("glassllm", 32)):
        model = load_model(name)
        samples = rounding_samples(model)
        assert len(samples) == count
        assert len({np.asarray(sample).tobytes() for sample in samples}) == count
    assert len(decoder_samples(model, 2)) == 2


def test_sentences_to_round_by_judge_nothing():
    script = Path(__file__).parents[1] / "scripts" / "accuracy_minilm.py"
    judged = {
        *run_path(str(script))["SENTENCES"],
        *(sentence for pair in SENTENCE_PAIRS for sentence in pair),
    }
    assert not judged & {*ROUNDING_SENTENCES, *CALIBRATION_SENTENCES}
    assert len(set(ROUNDING_SENTENCES)) == len(ROUNDING_SENTENCES)
