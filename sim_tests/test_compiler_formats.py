"""Models with weights of every format: on the golden machine, and through the Verilog."""

from dataclasses import replace

import numpy as np
import pytest
from compiler_runs import agrees_in_any_order, run
from decoder_runs import build, opened, samples_of, tokens_of
from harness import CACHE
from test_cli import contents, refuse
from test_compiler import models, sample, similarity  # noqa: F401 - a fixture

from celosia import generate as verilog
from celosia.compiler import compile_model
from celosia.compiler.checkpoint import load_model
from celosia.compiler.compile_decoder import compile_decoder
from celosia.compiler.cycles import predict
from celosia.compiler.datasets import digits_heldout
from celosia.compiler.formats import read_weights
from celosia.compiler.recipe import parse_recipe
from celosia.config import PRESETS
from celosia.errors import ModelError
from celosia.golden.reference_decoder import forward
from celosia.isa import Flag, Opcode, disassemble
from celosia.runtime.compare import require_equal
from celosia.runtime.golden_device import GoldenDevice
from celosia.runtime.host import prepare
from celosia.runtime.sim_device import SimDevice

MIXED = PRESETS["tiny"].replace(name="packed", pe="packed", sparsity=4, on_chip_bytes=1 << 18)
MACHINES = {
    "square": MIXED,
    "tall": MIXED.replace(rows=8, sparsity=8),
    "wide": MIXED.replace(rows=4, columns=16, attention_rows=16, parameter_entries=64),
}
SIZES = {
    "words_512": MIXED.replace(scratchpad_words=512),
    "entries_32": MIXED.replace(parameter_entries=32),
    "few_rows": MIXED.replace(accumulator_rows=16, attention_rows=4),
}


def recipe(*layers, **defaults):
    return parse_recipe({"layers": list(layers), "defaults": defaults}, "recipe")


#: Heads of 9 are padded: neither the inputs of O nor pairs of channels of Q and K can be cut there.
EVERY = recipe(
    {"match": "block*.[qk]", "sparsity": "2:4"},
    {"match": "block*.up", "code": "int4", "group": 16, "sparsity": "2:4"},
    {"match": "block*.down", "code": "fp4", "group": 16, "blocks": 0.3},
    {"match": "block*.o", "code": "int4"},
)


def instructions(program):
    return disassemble(program.image[program.entry :])


def formats(program):
    """What the products with weights in memory are."""
    return {
        (ins["code"], ins["group"], bool(ins.flags & Flag.SPARSE), bool(ins["skip"]))
        for ins in instructions(program)
        if ins.opcode is Opcode.MATMUL and Flag.WEIGHTS_IN_MEMORY in ins.flags
    }


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("family", ["bert", "vit"])
def test_odd_models(models, family, machine):  # noqa: F811
    tokens = 5 if family == "bert" else None
    program = compile_model(models[family], MACHINES[machine], tokens=tokens, weights=EVERY)
    found = formats(program)
    assert {code for code, *_ in found} == {0, 1, 2}
    assert any(sparse for _, _, sparse, _ in found) and any(skip for *_, skip in found)
    assert similarity(program, models[family], sample(models[family])) > 0.9
    assert agrees_in_any_order(program, sample(models[family]))


@pytest.mark.parametrize("size", SIZES)
def test_results_do_not_depend_on_space(models, size):  # noqa: F811
    whole, cut = (
        compile_model(models["bert"], config, tokens=5, weights=EVERY)
        for config in (MIXED, SIZES[size])
    )
    values = sample(models["bert"])
    np.testing.assert_array_equal(run(whole, values)[0].hidden, run(cut, values)[0].hidden)


def test_bytes_follow_the_format(models):  # noqa: F811
    sizes = {}
    for text in ("int8", "int4", "int8 2:4", "int4 2:4", "int8 b50%"):
        program = compile_model(
            models["bert"], MIXED, tokens=5, weights=recipe({"match": "*.up"} | one(text))
        )
        (layer,) = [x for x in program.extra["report"] if x.get("name") == "block0.up"]
        sizes[text] = layer["bytes"]
        named = sum(s.bytes for s in program.sections if s.name == f"{layer['layer']}.weight")
        assert named == layer["bytes"]
    assert sizes["int4"] * 2 == pytest.approx(sizes["int8"], rel=0.1)
    # With four columns half of a plane of indices is padding.
    assert sizes["int8 2:4"] < 0.9 * sizes["int8"] and sizes["int4 2:4"] < 0.9 * sizes["int4"]
    assert sizes["int8 b50%"] == pytest.approx(0.5 * sizes["int8"], rel=0.1)


def one(text):
    """The keys of a format in words."""
    format = read_weights(text).default
    pattern = {} if format.sparsity == (1, 1) else {"sparsity": "{}:{}".format(*format.sparsity)}
    return {"code": format.code, "blocks": format.blocks} | pattern


def test_a_budget_is_kept(models):  # noqa: F811
    auto = {"mean_bits": 5.5, "formats": [{"code": "int8"}, {"code": "int4", "group": 16}]}
    program = compile_model(
        models["bert"], MIXED, tokens=5, weights=parse_recipe({"auto": auto}, "mix")
    )
    chosen = {x["name"]: x["format"] for x in program.extra["report"] if "bytes" in x}
    assert set(chosen.values()) == {"int8", "int4 g16"}
    assert chosen["block0.v"] == "int8"  # it streams
    auto = {"accuracy": 0.999, "formats": auto["formats"]}
    finer = compile_model(
        models["bert"], MIXED, tokens=5, weights=parse_recipe({"auto": auto}, "mix")
    )
    more = {x["name"]: x["format"] for x in finer.extra["report"] if "bytes" in x}
    assert list(more.values()).count("int8") >= list(chosen.values()).count("int8")


def test_decoders():
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    decoder = build(hidden_size=32, intermediate_size=48, num_hidden_layers=1, **heads)
    weights = recipe(
        {"match": "block*", "code": "int4", "group": 16},
        {"match": "*.down", "code": "int8", "sparsity": "2:4"},
        {"match": "head", "code": "int4", "sparsity": "1:4"},
    )
    config = PRESETS["small"].replace(pe="packed", sparsity=4)
    program = compile_decoder(
        decoder, config, samples=samples_of(decoder), precision="A8W8", weights=weights
    )
    assert {(1, 2, False, False), (0, 0, True, False), (1, 0, True, False)} <= formats(program)
    tokens = tokens_of(decoder, 9)
    generator = opened(program)
    generator.prefill(tokens[:-1])
    generator.decode(tokens[-1])
    last = generator.logits()[-1]
    generator.reset()
    generator.prefill(tokens)
    np.testing.assert_array_equal(generator.logits()[-1], last)
    exact = forward(decoder, tokens)[-1]
    assert np.corrcoef(last, exact)[0, 1] > 0.7


def with_outliers(decoder, columns, times):
    """The same function, but some columns of the norms' results are larger."""

    def larger(norm):
        gamma = norm.gamma.copy()
        gamma[columns] *= times
        return replace(norm, gamma=gamma)

    def smaller(linear):
        weight = linear.weight.copy()
        weight[:, columns] /= times
        return replace(linear, weight=weight)

    blocks = []
    for block in decoder.blocks:
        a, f = block.attention, block.ffn
        a = replace(a, q=smaller(a.q), k=smaller(a.k), v=smaller(a.v))
        f = replace(f, gate=smaller(f.gate), up=smaller(f.up))
        norms = {name: larger(getattr(block, name)) for name in ("norm1", "norm2")}
        blocks.append(replace(block, attention=a, ffn=f, **norms))
    return replace(decoder, blocks=tuple(blocks))


@pytest.mark.parametrize("sparsity", [1, 4])
def test_outliers_keep_16_bits(sparsity):
    plain = build(hidden_size=40, num_hidden_layers=2)
    decoder = with_outliers(plain, [3, 29], 60.0)
    config = PRESETS["small"].replace(sparsity=sparsity)
    tokens = tokens_of(decoder, 11)
    exact = forward(decoder, tokens)
    np.testing.assert_allclose(exact, forward(plain, tokens), rtol=1e-3, atol=1e-4)
    weights = recipe({"match": "block*", "outliers": 6.0})
    errors, size = {}, {}
    for name, given, asked in (("a8", decoder, None), ("mixed", decoder, weights)):
        program = compile_decoder(
            given, config, samples=samples_of(decoder), precision="A8W8", weights=asked
        )
        generator = opened(program)
        generator.score(tokens)
        logits = generator.logits()
        errors[name] = np.abs(logits - exact).mean()
        generator.reset()
        generator.prefill(tokens[:4])
        for token in tokens[4:]:
            generator.decode(int(token))
        np.testing.assert_array_equal(generator.logits()[-1], logits[-1])
        size[name] = {one["layer"]: one["bytes"] for one in program.extra["report"]}
        split = {x["layer"] for x in program.extra["report"] if x["precision"] == "A8/16W8"}
    assert split >= {f"block{i}.{what}" for i in range(2) for what in ("q", "k", "v", "gate", "up")}
    assert errors["mixed"] < 0.3 * errors["a8"]
    # Two of five tiles hold outliers; a machine that cannot leave out the others stores them all.
    grown = size["mixed"]["block0.q"] / size["a8"]["block0.q"]
    assert grown == pytest.approx(1.4 if sparsity > 1 else 2.0, abs=0.01)


def test_an_encoder_takes_no_outliers(models):  # noqa: F811
    weights = recipe({"match": "block0.up", "outliers": 6.0})
    with pytest.raises(ModelError, match="outliers are for language models"):
        compile_model(models["bert"], MIXED, tokens=5, weights=weights)


def test_digits_through_the_verilog():
    """Every format in one model, on packed elements that select: every byte is equal."""
    weights = recipe(
        {"match": "block*", "code": "int4", "group": 16},
        {"match": "block0.*", "code": "int4", "group": 16, "sparsity": "2:4"},
        {"match": "block1.down", "code": "fp4", "group": 32, "blocks": 0.25},
        {"match": "block1.up", "code": "int8", "sparsity": "2:4", "blocks": 0.25},
    )
    program = compile_model(load_model("digits_vit"), MIXED, weights=weights)
    images, _ = digits_heldout()
    inputs = [prepare(program, image) for image in images[:2]]
    design = verilog.elaborate(MIXED, cache=CACHE / "generated")
    batch = SimDevice(MIXED, design.path, CACHE, quick=True).run(program, inputs)
    found = require_equal(program, GoldenDevice(MIXED).run(program, inputs), batch)
    assert not found.mismatches and found.bytes_compared > len(program.image)
    # Two words of a row at once are more than two banks give beside all else: the model is too
    # sanguine there.
    cycles = batch.runs[0].counters["cycles"]
    assert 0.94 * cycles < predict(instructions(program), MIXED).cycles < 1.01 * cycles


REFUSED = {
    "compile digits_vit -c tiny --weights int4": 'patch: code .int4. needs .* pe is "packed"',
    "compile digits_vit -c tiny --weights recipe.toml": "patch: sparsity 2:4 is beyond this mach",
    "compile digits_vit -c mixed --weights group.toml": "block0.q: group must be the 16 inputs of",
    "compile digits_vit -c mixed --weights other.toml": "match 'layer' matches no layer; .* patch",
    "compile digits_vit -c mixed --weights eight.toml": "block1.up: sparsity 4:8 is beyond .* N:4",
    "compile digits_vit -c mixed --weights v.toml": "block0.v: the weights of V stream in an enc",
    "compile digits_vit -c mixed --weights int5": "code must be one of int8, int4, fp4, ternary",
    "compile digits_vit -c mixed --weights 4bit": "weights must be a recipe's .toml file or a form",
}


@pytest.mark.parametrize("line", REFUSED)
def test_recipes_that_cannot_be(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.toml").write_text('[defaults]\nsparsity = "2:4"\n')
    layers = '[[layers]]\nmatch = "{}"\n{}\n'
    group = layers.format("block0.*", 'code = "int4"\ngroup = 24')
    (tmp_path / "group.toml").write_text(group)
    (tmp_path / "v.toml").write_text(layers.format("block*.v", 'code = "int4"'))
    (tmp_path / "other.toml").write_text(layers.format("layer", 'code = "int4"'))
    (tmp_path / "eight.toml").write_text(layers.format("block1.up", 'sparsity = "4:8"'))
    refuse(capsys, tmp_path, f"{line} -o P", REFUSED[line])
    assert "P" not in contents(tmp_path)
