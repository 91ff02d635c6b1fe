from dataclasses import replace

import checkpoints
import numpy as np
import pytest
from compiler_runs import agrees_in_any_order, run

from celosia.compiler import compile_model, emit_program, quantise_model
from celosia.compiler.checkpoint import load_model
from celosia.compiler.datasets import digits_heldout
from celosia.compiler.graph import ACTIVATIONS, Attention, Linear
from celosia.compiler.program import Program
from celosia.config import PRESETS
from celosia.errors import ModelError
from celosia.golden.reference import cosine, forward
from celosia.isa import Opcode, disassemble
from celosia.runtime.host import prepare

TINY = PRESETS["tiny"]
SHAPES = {
    "square": TINY,
    "tall": TINY.replace(rows=8, columns=4),
    "tallest": TINY.replace(rows=16, columns=4, attention_rows=16),
    "wide": TINY.replace(rows=2, columns=8),
    "widest": TINY.replace(rows=4, columns=16, attention_rows=16, parameter_entries=64),
    "wide_memory": TINY.replace(rows=16, columns=4, attention_rows=8, memory_width=16),
    "widest_memory": TINY.replace(rows=64, columns=4, attention_rows=4, memory_width=64),
    "few_rows": TINY.replace(accumulator_rows=8, attention_rows=4, scratchpad_words=1024),
}
#: Machines that hold less and less of a model at a time.
SIZES = {
    "words_1024": TINY.replace(scratchpad_words=1024),
    "words_512": TINY.replace(scratchpad_words=512),
    "words_256": TINY.replace(scratchpad_words=256),
    "words_128": TINY.replace(scratchpad_words=128),
    "slots_64": TINY.replace(exponent_slots=64),
    "slots_32": TINY.replace(exponent_slots=32),
    "entries_32": TINY.replace(parameter_entries=32),
    "entries_16": TINY.replace(parameter_entries=16),
    "all_small": TINY.replace(scratchpad_words=128, parameter_entries=64),
}
FAMILIES = {"bert": checkpoints.BERT, "vit": checkpoints.VIT}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """An odd model of each family: 27 wide, 3 heads of 9, 41 in the feed-forward half."""
    folder = tmp_path_factory.mktemp("models")
    checkpoints.write(folder / "bert", checkpoints.bert_tensors(), checkpoints.BERT)
    checkpoints.write(
        folder / "vit", checkpoints.vit_tensors(), checkpoints.VIT, checkpoints.PREPROCESSOR
    )
    return {name: load_model(folder / name) for name in FAMILIES}


@pytest.fixture(scope="module")
def quantised(models):
    return {name: quantise_model(model, TINY) for name, model in models.items()}


@pytest.fixture(scope="module")
def digits():
    return load_model("digits_vit")


def sample(model, seed=0, tokens=5):
    rng = np.random.default_rng(seed)
    if model.family == "bert":
        return rng.integers(0, 19, tokens)
    return rng.uniform(0, 2, (2, 6, 9))


def similarity(program, model, values):
    """Cosine of what the machine and the float reference say."""
    output, _ = run(program, values)
    exact = forward(model, values)
    if output.logits is not None:
        return cosine(output.logits, exact["logits"])
    return cosine(output.hidden.ravel(), exact["hidden"].ravel())


def opcodes(program):
    return [ins.opcode for ins in disassemble(program.code)]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shape", SHAPES)
def test_odd_models_on_odd_machines(models, quantised, family, shape):
    model = models[family]
    program = emit_program(quantised[family], SHAPES[shape], model.max_tokens)
    for seed in range(2):
        assert similarity(program, model, sample(model, seed)) > 0.998
    assert agrees_in_any_order(program, sample(model))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", SIZES)
def test_results_do_not_depend_on_space(models, quantised, family, size):
    model = models[family]
    whole, small = (
        emit_program(quantised[family], config, model.max_tokens) for config in (TINY, SIZES[size])
    )
    values = sample(model)
    name = whole.outputs[0].name
    expected, found = (run(program, values)[0].tensors[name] for program in (whole, small))
    np.testing.assert_array_equal(found, expected)
    assert agrees_in_any_order(small, values, seeds=2)


def test_small_machines_spill(quantised):
    stores = {
        size: opcodes(emit_program(quantised["vit"], SIZES[size], 7)).count(Opcode.STORE)
        for size in ("words_1024", "words_128")
    }
    assert stores["words_1024"] == 1 < stores["words_128"]


@pytest.mark.parametrize("tokens", range(1, 6))
def test_every_length(models, quantised, tokens):
    program = emit_program(quantised["bert"], TINY, tokens)
    values = sample(models["bert"], tokens=tokens)
    assert similarity(program, models["bert"], values) > 0.998


@pytest.mark.parametrize("preset", PRESETS)
def test_digits(digits, preset):
    images, labels = digits_heldout()
    program = compile_model(digits, PRESETS[preset])
    right = agreed = 0
    for image, label in zip(images[:40], labels[:40], strict=True):
        found = run(program, image)[0].logits.argmax()
        right += found == label
        agreed += found == forward(digits, image)["logits"].argmax()
    assert agreed >= 39
    assert right >= 38
    assert agrees_in_any_order(program, images[0], seeds=1)


def test_program_round_trip(digits, tmp_path):
    image = digits_heldout()[0][0]
    program = compile_model(digits, TINY)
    program.save(tmp_path / "p")
    loaded = Program.load(tmp_path / "p")
    first, second = run(program, image)[0], run(loaded, image)[0]
    np.testing.assert_array_equal(first.logits, second.logits)
    assert sum(count for _, count in loaded.extra["layers"]) == len(opcodes(loaded))


def test_compilation_is_reproducible(digits):
    assert compile_model(digits, TINY).image == compile_model(digits, TINY).image


def linear(name, outputs, inputs):
    rng = np.random.default_rng(outputs)
    weight = rng.normal(0, 0.4, (outputs, inputs)).astype(np.float32)
    return Linear(name=name, weight=weight, bias=weight[:, 0].copy())


def reordered(model, order):
    return replace(model, blocks=tuple(replace(b, order=order) for b in model.blocks))


VARIANTS = {
    "mean_head": lambda m: replace(m["bert"], pooling="mean", head=linear("head", 6, 27)),
    "cls_head": lambda m: replace(m["bert"], pooling="cls", head=linear("head", 1, 27)),
    "no_pooling": lambda m: replace(m["bert"], pooling="none"),
    "pre_norm_text": lambda m: replace(
        reordered(m["bert"], "pre"), embedding_norm=None, final_norm=m["bert"].embedding_norm
    ),
    "no_embedding_norm": lambda m: replace(m["bert"], embedding_norm=None),
    "both_norms": lambda m: reordered(m["bert"], "pre"),
    "mixed_orders": lambda m: replace(
        m["bert"], blocks=(m["bert"].blocks[0], replace(m["bert"].blocks[1], order="pre"))
    ),
    "post_norm_image": lambda m: replace(reordered(m["vit"], "post"), final_norm=None),
    "no_class_token": lambda m: replace(
        m["vit"],
        embedding=replace(m["vit"].embedding, cls=None, positions=m["vit"].embedding.positions[1:]),
        pooling="mean",
    ),
    "no_head": lambda m: replace(m["vit"], head=None),
    "wide_heads": lambda m: replace(
        m["bert"],
        blocks=(
            replace(
                m["bert"].blocks[0],
                attention=Attention(
                    heads=2,
                    head_dim=21,
                    q=linear("q", 42, 27),
                    k=linear("k", 42, 27),
                    v=linear("v", 42, 27),
                    o=linear("o", 27, 42),
                ),
            ),
        ),
    ),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants(models, variant):
    model = VARIANTS[variant](models)
    tokens = model.max_tokens
    values = sample(model)
    for config in (TINY, SHAPES["tall"], TINY.replace(scratchpad_words=256)):
        program = compile_model(model, config, tokens=tokens)
        assert similarity(program, model, values) > 0.995
        output, exact = run(program, values)[0], forward(model, values)
        if model.pooling != "none" and output.pooled is not None:
            assert cosine(output.pooled, exact["pooled"]) > 0.99
        assert agrees_in_any_order(program, values, seeds=1)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(models, activation):
    model = models["bert"]
    blocks = tuple(replace(b, ffn=replace(b.ffn, activation=activation)) for b in model.blocks)
    model = replace(model, blocks=blocks)
    program = compile_model(model, TINY, tokens=5)
    assert similarity(program, model, sample(model)) > 0.995


def test_inputs_beyond_the_calibration_saturate(digits):
    program = compile_model(digits, TINY)
    ((_, data),) = prepare(program, np.full((8, 8), 1e6))
    rows = np.frombuffer(data, "<i2").reshape(17, -1)
    assert (rows[1:, :4] == 32767).all()
    assert not rows[0].any()


def test_input_of_another_length(models, quantised):
    program = emit_program(quantised["bert"], TINY, 4)
    with pytest.raises(ModelError, match="takes 4 tokens, not 3; compile it for 3"):
        run(program, sample(models["bert"], tokens=3))


@pytest.mark.parametrize(
    ("changes", "tokens", "message"),
    [
        ({"scratchpad_words": 64}, 5, r"block \d attention, 5 tokens: \d+ scratchpad words are "),
        ({"exponent_slots": 16}, 5, r"attention, 5 tokens: \d+ exponent slots .* has 16; raise"),
        ({"on_chip_bytes": 8192}, 5, "bytes of memory, but configuration 'tiny' has 8192; raise"),
        ({}, 6, "tokens must be 1 to 5, not 6"),
        ({}, 0, "tokens must be 1 to 5, not 0"),
    ],
    ids=str,
)
def test_refusals(models, quantised, changes, tokens, message):
    with pytest.raises(ModelError, match=message):
        emit_program(quantised["bert"], TINY.replace(**changes), tokens)


def test_number_of_tokens_must_be_given(models):
    with pytest.raises(ModelError, match="the number of tokens must be given, 1 to 5"):
        compile_model(models["bert"], TINY)
    with pytest.raises(ModelError, match="every image has 7 tokens, not 3"):
        compile_model(models["vit"], TINY, tokens=3)
