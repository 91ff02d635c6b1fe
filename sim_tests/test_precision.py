from dataclasses import replace

import numpy as np
import pytest
from decoder_runs import build, samples_of, tokens_of
from hypothesis import given, settings
from hypothesis import strategies as st

from celosia.compiler.calibrate_decoder import find_decoder_ranges
from celosia.compiler.compile_decoder import compile_decoder, rows_of
from celosia.compiler.precision import (
    PRECISIONS,
    TOKENS,
    TOLERANCE,
    choose_precision,
    divergence,
    matrices,
    rounded_rows,
    rounded_weights,
)
from celosia.config import PRESETS
from celosia.golden.fixed import bit_length
from celosia.golden.quantise import quantise
from celosia.golden.reference import linear
from celosia.golden.reference_decoder import forward, taps

LOW, MIDDLE, HIGH = PRECISIONS


def additive(errors):
    """A measure that adds up what each matrix does, by its level; the highest does nothing."""
    calls = []

    def measure(precision):
        calls.append(dict(precision))
        return sum(
            errors[name][PRECISIONS.index(level)]
            for name, level in precision.items()
            if level != HIGH
        )

    return measure, calls


def test_nothing_is_raised_without_need():
    measure, calls = additive({"a": (0.004, 0), "b": (0.005, 0)})
    found = choose_precision("ab", {"a": 1, "b": 1}, measure)
    assert found.precision == {"a": LOW, "b": LOW}
    assert found.plain == found.reached == pytest.approx(0.009) and not found.steps
    assert len(calls) == 1


def test_only_the_culprit_is_raised():
    measure, _ = additive({"a": (0.002, 0), "b": (5.0, 0.001), "c": (0.003, 0.002)})
    found = choose_precision("abc", dict.fromkeys("abc", 7), measure)
    assert found.precision == {"a": LOW, "b": MIDDLE, "c": LOW}
    assert found.plain == pytest.approx(5.005) and found.reached == pytest.approx(0.006)
    assert [step["layer"] for step in found.steps] == ["a", "c", "b"]
    assert [step["precision"] for step in found.steps] == [LOW, LOW, MIDDLE]
    assert [step["divergence"] for step in found.steps] == pytest.approx([0.002, 0.005, 0.006])


def test_weights_of_16_bits_where_rows_are_not_enough():
    measure, _ = additive({"a": (1.0, 0.5), "b": (0.02, 0.004)})
    found = choose_precision("ab", {"a": 1, "b": 1}, measure)
    assert found.precision == {"a": HIGH, "b": MIDDLE}
    assert found.reached == pytest.approx(0.004)
    # A matrix that stays as it is counts with the divergence that there is.
    assert found.steps[-1] == {"layer": "a", "precision": HIGH, "divergence": found.reached}


def test_large_matrices_come_first():
    """Of two that cannot both be lowered, the one that saves more for its harm is."""
    errors = {"small": (0.007, 0.006), "large": (0.008, 0.006)}
    for size, lowered in ((100, "large"), (10, "small")):
        measure, _ = additive(errors)
        found = choose_precision(errors, {"small": 10, "large": size}, measure)
        assert [name for name, level in found.precision.items() if level == LOW] == [lowered]
        assert found.reached == errors[lowered][0]


def test_a_tolerance_out_of_reach_takes_all_there_is():
    found = choose_precision("ab", {"a": 1, "b": 1}, lambda precision: 0.5)
    assert found.precision == {"a": HIGH, "b": HIGH} and found.reached == 0.5


def test_errors_that_cancel_do_not_lead_astray():
    """Two that are bad alone cancel each other; a third is the one to raise."""

    def measure(precision):
        a, b = (precision[name] == LOW for name in "ab")
        return abs(a - b) * 1.0 + (0.5 if precision["c"] == LOW else 0.0)

    found = choose_precision("abc", dict.fromkeys("abc", 1), measure)
    assert found.plain == 0.5
    assert measure(found.precision) == found.reached == 0
    assert found.precision["c"] == MIDDLE


def test_no_matrices_no_choice():
    found = choose_precision([], {}, lambda precision: 3.0)
    assert (found.precision, found.plain, found.reached) == ({}, 3.0, 3.0)


NUMBERS = st.floats(0, 0.02)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.tuples(NUMBERS, NUMBERS), min_size=1),
    st.data(),
)
def test_it_ends_below_the_tolerance_and_lowers_what_it_can(pairs, data):
    errors = {name: (max(pair), min(pair)) for name, pair in pairs.items()}
    sizes = {name: data.draw(st.integers(1, 1000)) for name in errors}
    measure, calls = additive(errors)
    found = choose_precision(errors, sizes, measure)
    assert len(calls) <= 2 + 3 * len(errors)
    assert found.precision.keys() == errors.keys()
    assert measure(found.precision) == pytest.approx(found.reached) and found.reached <= TOLERANCE
    # No matrix could have less.
    for name, level in found.precision.items():
        for lower in PRECISIONS[: PRECISIONS.index(level)]:
            assert measure(found.precision | {name: lower}) > TOLERANCE - 1e-12


@pytest.fixture(scope="module")
def decoder():
    return build(biases="q k v o", num_attention_heads=9, num_key_value_heads=3, hidden_size=18)


@pytest.fixture(scope="module")
def scales(decoder):
    ranges = find_decoder_ranges(decoder, samples_of(decoder))
    return {name: ranges.scale(rows_of(name)) for name in matrices(decoder)}


def test_every_matrix_has_a_name_and_rows_that_the_reference_shows(decoder):
    found = matrices(decoder)
    assert sorted(id(part) for part in found.values()) == sorted(map(id, decoder.linears))
    assert len(found) == 15 and {"block0.q", "block1.down", "head"} <= found.keys()
    seen = {}
    forward(decoder, tokens_of(decoder), tap=seen.__setitem__)
    for name, part in found.items():
        assert rows_of(name) in taps(decoder)
        assert seen[rows_of(name)].shape[1] == part.inputs


def test_16_bits_do_not_diverge(decoder, scales):
    samples = [tokens_of(decoder, seed=seed) for seed in range(2)]
    measure = divergence(decoder, samples, scales.__getitem__)
    names = matrices(decoder)
    high = dict.fromkeys(names, HIGH)
    assert 0 <= measure(high) < 1e-6
    low, middle = measure({}), measure(dict.fromkeys(names, MIDDLE))
    assert measure(dict.fromkeys(names, LOW)) == low
    assert 1e-5 < middle < low < 1
    for name in names:
        assert measure(high) < measure(high | {name: LOW}) < 1
    assert measure({}) == low  # what was measured before leaves nothing behind


def test_the_divergence_is_that_of_the_worst_token(decoder, scales):
    samples = [tokens_of(decoder, seed=seed) for seed in range(3)]
    found = divergence(decoder, samples, scales.__getitem__)({"head": "A16W8", "block0.q": HIGH})
    names = {id(part): name for name, part in matrices(decoder).items()}

    def product(part, x):
        name = names[id(part)]
        bits = 16 if name == "block0.q" else 8
        rows = x if name in ("head", "block0.q") else rounded_rows(x, scales[name])
        weight = rounded_weights(part.weight, bits).astype(np.float32)
        return linear(replace(part, weight=weight), rows)

    def probabilities(logits):
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    worst = 0.0
    for sample in samples:
        right, ours = (
            probabilities(forward(decoder, sample, **more)) for more in ({}, {"product": product})
        )
        for p, q in zip(right, ours, strict=True):
            worst = max(worst, float(np.sum(p * np.log(p / q))))
    assert found == pytest.approx(worst, rel=1e-3)


def test_some_tokens_are_enough(decoder, scales):
    def endless():
        for index in range(10**9):
            assert index * decoder.context < TOKENS, "more than are looked at"
            yield tokens_of(decoder)

    assert divergence(decoder, endless(), scales.__getitem__)({}) > 0


def test_rows_are_rounded_as_the_array_takes_them():
    rng = np.random.default_rng(5)
    scale = 0.003
    for size in (1, 100, 127, 128, 1000, 32767):
        codes = rng.integers(-size, size + 1, (20, 9))
        magnitudes = np.bitwise_or.reduce(codes ^ (codes >> 15), axis=1)
        exponents = np.maximum(bit_length(magnitudes) - 7, 0)
        steps = 2 ** exponents[:, np.newaxis]
        expected = quantise(codes, exponents) * steps
        found = np.rint(rounded_rows(codes * scale, scale) / scale)
        # What lies half way between two values may become either of them.
        ties = 2 * codes % (2 * steps) == steps
        np.testing.assert_array_equal(found[~ties], expected[~ties])
        assert (abs(found - codes)[ties] * 2 == steps.repeat(9, axis=1)[ties]).all()
        assert (~ties).sum() > 80
    np.testing.assert_array_equal(rounded_rows(np.array([[1e9, 3.0]]), 1.0), [[127 * 256, 0]])


def test_weights_are_rounded_by_channel():
    weight = np.random.default_rng(6).normal(size=(5, 40)) * 10.0 ** np.arange(5)[:, np.newaxis]
    peak = abs(weight).max(axis=1, keepdims=True)
    for bits, steps in ((8, 127), (16, 127 * 254)):
        error = abs(rounded_weights(weight, bits) - weight)
        assert (error <= peak / steps / 2 * 1.0001).all()
        assert error.max() > peak.max() / steps / 4
    assert not rounded_weights(np.zeros((2, 3)), 16).any()


@pytest.mark.parametrize("seed", range(3))
def test_what_is_chosen_stays_below_the_tolerance(seed):
    decoder = build(seed=seed)
    program = compile_decoder(decoder, PRESETS["small"])
    found = program.extra["precision"]
    assert found["divergence"] <= TOLERANCE < found["divergence_a8w8"]
    chosen = {one["layer"]: one["precision"] for one in program.extra["report"]}
    assert chosen == {step["layer"]: step["precision"] for step in found["steps"]}
    assert len(set(chosen.values())) > 1
