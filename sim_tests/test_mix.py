"""Mixes of formats: the integer program against trying everything, and what layers cost."""

from itertools import product

import numpy as np
import pytest

from celosia.compiler.checkpoint import load_model
from celosia.compiler.datasets import digits_calibration
from celosia.compiler.hessians import find_moments
from celosia.compiler.layers import named_linears, replace_weights
from celosia.compiler.mix import (
    Option,
    choose_mix,
    mix_within,
    model_error,
    sensitivity,
    stored_bits,
)
from celosia.compiler.recipe import describe
from celosia.compiler.rounding import output_error, round_weights
from celosia.compiler.weight_format import WeightFormat
from celosia.errors import ModelError

FORMATS = (WeightFormat("int8"), WeightFormat("int4", 16), WeightFormat("int4", 16, (2, 4)))


def table(seed, layers=5, fall=10.0):
    """Return options with bytes and errors drawn by chance."""
    rng = np.random.default_rng(seed)
    return {
        f"layer{i}": [
            Option(format, float(rng.integers(1, 1000)), float(rng.random() * fall**-i))
            for format in FORMATS
        ]
        for i in range(layers)
    }


def tried(options):
    """Return bytes and error of every choice."""
    return [
        (sum(o.bytes for o in each), sum(o.error for o in each))
        for each in product(*options.values())
    ]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_the_best_of_all_choices(seed, share):
    options = table(seed)
    every = tried(options)
    sizes, errors = (sorted(x) for x in zip(*every, strict=True))
    budget = sizes[0] + share * (sizes[-1] - sizes[0])
    found = choose_mix(options, most_bytes=budget)
    assert found.bytes <= budget
    assert found.error == pytest.approx(min(e for b, e in every if b <= budget), abs=1e-6)
    allowed = errors[0] + share * (errors[-1] - errors[0])
    found = choose_mix(options, most_error=allowed)
    assert found.error <= allowed * (1 + 1e-6)
    assert found.bytes == pytest.approx(min(b for b, e in every if e <= allowed * (1 + 1e-9)))


def test_report():
    options = table(0)
    found = choose_mix(options, most_bytes=1e6)
    assert [entry["layer"] for entry in found.report] == list(options)
    assert found.bytes == sum(entry["bytes"] for entry in found.report)
    for entry in found.report:
        several = {describe(o.format): o for o in options[entry["layer"]]}
        assert entry["error"] == min(o.error for o in several.values())
        assert entry["format"] == describe(found.formats[entry["layer"]])
        assert entry["options"].keys() == several.keys()


def test_budgets_that_nothing_keeps():
    options = table(0)
    least = min(size for size, _ in tried(options))
    with pytest.raises(ModelError, match=f"bytes must be at least {least:.6g}.*smaller formats"):
        choose_mix(options, most_bytes=least - 1)
    with pytest.raises(ModelError, match=r"error must be at least .*finer formats"):
        choose_mix(options, most_error=0)
    with pytest.raises(ValueError, match="either"):
        choose_mix(options)


def test_stored_bits():
    assert [stored_bits(format) for format in FORMATS] == [8, 4.5, 3]
    assert stored_bits(WeightFormat("int8", 0, (2, 4))) == 5
    assert stored_bits(WeightFormat("int8", 0, (4, 8)), 8) == 5.5
    assert stored_bits(WeightFormat("int8", 0, (1, 4))) == 5
    assert stored_bits(WeightFormat("int4", 16, blocks=0.5)) == 2.25


def test_the_whole_model_counts():
    options = table(1, fall=1.0)

    def measure(formats, factor):
        chosen = {name: {o.format: o for o in options[name]}[f] for name, f in formats.items()}
        return factor * sum(option.error for option in chosen.values())

    errors = sorted(error for _, error in tried(options))
    mix, error = mix_within(options, 3 * errors[0], lambda formats: measure(formats, 1.0))
    assert error <= 3 * errors[0] and mix == choose_mix(options, most_error=3 * errors[0])
    allowed = 4 * errors[0]
    assert 3 * errors[0] < allowed < 3 * choose_mix(options, most_error=allowed).error
    mix, error = mix_within(options, allowed, lambda formats: measure(formats, 3.0))
    assert 0.3 * allowed < error <= allowed and error == pytest.approx(3 * mix.error)
    # At the last the finest of all, though the errors do not add up to as little.
    allowed = 0.55 * errors[0]
    mix, error = mix_within(options, allowed, lambda formats: measure(formats, 0.5))
    assert mix.error == pytest.approx(errors[0]) and error <= allowed
    allowed = 1.5 * errors[0]
    assert 1.45 * choose_mix(options, most_error=allowed).error > allowed
    mix, error = mix_within(options, allowed, lambda formats: measure(formats, 1.49))
    assert mix.error == pytest.approx(errors[0]) and error <= allowed
    with pytest.raises(ModelError, match="automatic mix"):
        mix_within(options, 3 * errors[0], lambda formats: 1e9)


@pytest.mark.parametrize("name", ["digits_vit", "mathformer-add"])
def test_sensitivity(name):
    model = load_model(name)
    rng = np.random.default_rng(0)
    if name == "digits_vit":
        samples = list(digits_calibration()[:6])
    else:
        samples = [rng.integers(0, model.vocabulary, 6) for _ in range(6)]
    moments = find_moments(model, samples)
    linears = named_linears(model)
    layers = ["block0.q", "block0.down", "head"]
    measure = model_error(model, samples)
    assert measure(model) == pytest.approx(0, abs=1e-6)
    formats = dict.fromkeys(layers, FORMATS)

    def rounded(name, format):
        return round_weights(linears[name].weight, format, moments[name].second, pair=4)

    proxy = sensitivity(model, formats, moments, rounded)
    whole = sensitivity(model, formats, moments, rounded, measure=measure)
    assert list(proxy) == list(whole) == layers
    for layer in layers:
        weight = linears[layer].weight
        for format, cheap, dear in zip(FORMATS, proxy[layer], whole[layer], strict=True):
            real = rounded(layer, format).real(format.group)
            assert cheap.error == output_error(weight, real, moments[layer].second)
            assert dear.error == measure(replace_weights(model, {layer: real}))
            assert cheap.bytes == dear.bytes == weight.size * stored_bits(format) / 8
        assert proxy[layer][0].error < proxy[layer][1].error < proxy[layer][2].error
    harm = [sum(options[i].error for options in whole.values()) for i in range(3)]
    assert harm[0] < harm[1] < harm[2]
