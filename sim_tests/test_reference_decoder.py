import cmath
import math
from dataclasses import replace

import glassllm
import numpy as np
import pytest
from checkpoints import write
from checkpoints_decoder import LLAMA, glass_tensors, llama_tensors, write_glass

from celosia.compiler.checkpoint import load_model, locate
from celosia.compiler.datasets_text import alice_page, arithmetic_problems
from celosia.compiler.decoder import Rope
from celosia.compiler.text import load_codec
from celosia.golden.reference_decoder import forward, generate, nll, rms_norm, rotate, taps

IDS = [3, 26, 0, 3, 11, 7]


def matrix(tensors, name, row):
    """A row times a stored matrix: Hugging Face's (out, in) with its bias, glassllm's (in, out)."""
    if name in tensors:
        columns = tensors[name].T.tolist()
        return [sum(x * w for x, w in zip(row, column, strict=True)) for column in columns]
    bias = tensors.get(f"{name}.bias", np.zeros(len(tensors[f"{name}.weight"]))).tolist()
    return [
        sum(x * w for x, w in zip(row, weights, strict=True)) + b
        for weights, b in zip(tensors[f"{name}.weight"].tolist(), bias, strict=True)
    ]


def normed(gamma, eps, row):
    size = math.sqrt(sum(x * x for x in row) / len(row) + eps)
    return [x / size * g for x, g in zip(row, gamma.tolist(), strict=True)]


def turned(head, position, base, layout):
    """Rotary positions as a complex number times a power of the unit circle."""
    half = len(head) // 2
    places = [(i, i + half) if layout == "half" else (2 * i, 2 * i + 1) for i in range(half)]
    result = [0.0] * len(head)
    for i, (a, b) in enumerate(places):
        z = complex(head[a], head[b]) * cmath.exp(1j * position * base ** (-i / half))
        result[a], result[b] = z.real, z.imag
    return result


def silu(x):
    return x / (1 + math.exp(-x))


def add(a, b):
    return [x + y for x, y in zip(a, b, strict=True)]


def plain_decoder(tensors, names, rows, *, layers, heads, kv_heads, width, eps, base, layout):
    """LLaMA in plain Python on lists, after its papers, one token after the other."""
    for i in range(layers):
        part = {key: name.format(i=i) for key, name in names.items()}
        keys, values, result = [], [], []
        for position, row in enumerate(rows):
            x = normed(tensors[part["norm1"]], eps, row)
            q, k, v = (matrix(tensors, part[what], x) for what in "qkv")
            cut = [
                [turned(wide[h * width :][:width], position, base, layout) for h in range(count)]
                for wide, count in ((q, heads), (k, kv_heads))
            ]
            keys.append(cut[1])
            values.append([v[h * width :][:width] for h in range(kv_heads)])
            context = []
            for h in range(heads):
                shared = h * kv_heads // heads
                powers = [
                    math.exp(sum(map(lambda a, b: a * b, cut[0][h], key[shared])) / width**0.5)
                    for key in keys
                ]
                context += [
                    sum(p * value[shared][j] for p, value in zip(powers, values, strict=True))
                    / sum(powers)
                    for j in range(width)
                ]
            row = add(row, matrix(tensors, part["o"], context))
            x = normed(tensors[part["norm2"]], eps, row)
            gate = [silu(g) for g in matrix(tensors, part["gate"], x)]
            product = [g * u for g, u in zip(gate, matrix(tensors, part["up"], x), strict=True)]
            result.append(add(row, matrix(tensors, part["down"], product)))
        rows = result
    return [normed(tensors[names["norm"]], eps, row) for row in rows]


LAYER = "model.layers.{i}"
LLAMA_NAMES = {
    **{part: f"{LAYER}.self_attn.{part}_proj" for part in "qkvo"},
    **{part: f"{LAYER}.mlp.{part}_proj" for part in ("gate", "up", "down")},
    "norm1": f"{LAYER}.input_layernorm.weight",
    "norm2": f"{LAYER}.post_attention_layernorm.weight",
    "norm": "model.norm.weight",
}
GLASS_NAMES = {
    **{part: f"blocks.{{i}}.attn.W_{part.upper()}" for part in "qkvo"},
    **{part: f"blocks.{{i}}.ffn.W{n}" for part, n in (("gate", 1), ("up", 3), ("down", 2))},
    "norm1": "blocks.{i}.norm1.gamma",
    "norm2": "blocks.{i}.norm2.gamma",
    "norm": "norm_f.gamma",
}


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return load_model(write(tmp_path_factory.mktemp("llama"), llama_tensors(), LLAMA))


@pytest.mark.parametrize("biases", ["", "q k v o"])
def test_llama_matches_plain_python(tmp_path, biases):
    tensors = llama_tensors(biases=biases)
    decoder = load_model(write(tmp_path, tensors, LLAMA | {"attention_bias": bool(biases)}))
    rows = plain_decoder(
        tensors,
        LLAMA_NAMES,
        tensors["model.embed_tokens.weight"][IDS].tolist(),
        layers=2,
        heads=6,
        kv_heads=2,
        width=4,
        eps=1e-5,
        base=500.0,
        layout="half",
    )
    expected = [matrix(tensors, "lm_head", row) for row in rows]
    np.testing.assert_allclose(forward(decoder, np.array(IDS)), expected, rtol=1e-9, atol=1e-9)


def test_glass_matches_plain_python(tmp_path):
    tensors = glass_tensors()
    decoder = load_model(write_glass(tmp_path / "g.npz", tensors))
    tensors = {name: values.astype(float) for name, values in tensors.items()}
    rows = plain_decoder(
        tensors,
        GLASS_NAMES,
        tensors["E"][IDS].tolist(),
        layers=2,
        heads=4,
        kv_heads=2,
        width=6,
        eps=1e-6,
        base=500.0,
        layout="adjacent",
    )
    tensors["head"] = tensors["E"].T
    expected = [matrix(tensors, "head", row) for row in rows]
    np.testing.assert_allclose(forward(decoder, np.array(IDS)), expected, rtol=1e-9, atol=1e-9)


def test_later_tokens_change_nothing(llama):
    whole = forward(llama, np.array(IDS))
    for length in range(1, len(IDS)):
        part = forward(llama, np.array(IDS[:length]))
        np.testing.assert_allclose(whole[:length], part, rtol=1e-12, atol=1e-12)


def test_float32_is_close(llama):
    exact, short = (forward(llama, np.array(IDS), dtype=t) for t in (np.float64, np.float32))
    assert short.dtype == np.float32
    np.testing.assert_allclose(short, exact, atol=2e-4)


def test_taps(llama):
    seen = {}
    logits = forward(llama, np.array(IDS), tap=seen.__setitem__)
    assert tuple(seen) == taps(llama) and len(seen) == 1 + 2 * 16 + 2
    widths = {"q": 24, "q_rope": 24, "k": 8, "k_rope": 8, "v": 8, "context": 24}
    widths |= dict.fromkeys(("gate_linear", "gate", "up", "product"), 41)
    for name, values in seen.items():
        width = 27 if name == "logits" else widths.get(name.split(".")[-1], 20)
        assert values.shape == (6, width), name
    np.testing.assert_array_equal(seen["logits"], logits)
    np.testing.assert_array_equal(seen["embedding"], llama.embedding[IDS])
    np.testing.assert_array_equal(
        seen["final_norm"], rms_norm(llama.final_norm, seen["block1.out"])
    )
    for i, before in enumerate(("embedding", "block0.out")):
        tap = {name.split(".")[1]: seen[name] for name in seen if name.startswith(f"block{i}.")}
        block = llama.blocks[i]
        np.testing.assert_array_equal(tap["norm1"], rms_norm(block.norm1, seen[before]))
        np.testing.assert_array_equal(tap["mid"], seen[before] + tap["attn"])
        np.testing.assert_array_equal(tap["norm2"], rms_norm(block.norm2, tap["mid"]))
        np.testing.assert_array_equal(tap["out"], tap["mid"] + tap["down"])
        np.testing.assert_array_equal(tap["product"], tap["gate"] * tap["up"])
        gate = tap["gate_linear"]
        np.testing.assert_allclose(tap["gate"], gate / (1 + np.exp(-gate)), rtol=1e-12)
        np.testing.assert_allclose(tap["attn"], tap["context"] @ block.attention.o.weight.T)
        np.testing.assert_allclose(tap["q"], tap["norm1"] @ block.attention.q.weight.T)
        assert (tap["q"][0] == tap["q_rope"][0]).all() and (tap["k"][1] != tap["k_rope"][1]).all()
        shared = np.repeat(tap["v"][0].reshape(2, 4), 3, axis=0).ravel()
        np.testing.assert_allclose(tap["context"][0], shared)


def test_geglu(llama):
    blocks = tuple(replace(b, ffn=replace(b.ffn, activation="gelu")) for b in llama.blocks)
    seen = {}
    forward(replace(llama, blocks=blocks), np.array(IDS), tap=seen.__setitem__)
    half = [1 + math.erf(x / math.sqrt(2)) for x in seen["block0.gate_linear"].ravel()]
    expected = seen["block0.gate_linear"].ravel() / 2 * half
    np.testing.assert_allclose(seen["block0.gate"].ravel(), expected, rtol=1e-12)


@pytest.mark.parametrize("layout", ["half", "adjacent"])
def test_products_depend_on_distance_alone(layout):
    rope = Rope(base=100.0, layout=layout)
    q, k = np.random.default_rng(1).normal(size=(2, 1, 1, 10))

    def product(a, b):
        first, second = (
            rotate(x, rope.angles(np.array([at]), 10), layout) for x, at in ((q, a), (k, b))
        )
        return float((first * second).sum())

    assert product(7, 4) == pytest.approx(product(103, 100), rel=1e-9)
    assert product(7, 4) != pytest.approx(product(7, 5), rel=1e-3)


def test_angles():
    angles = Rope(base=16.0, layout="half").angles(np.array([0, 3, 5]), 4)
    np.testing.assert_allclose(angles, [[0, 0], [3, 0.75], [5, 1.25]])
    assert angles.dtype == np.float64


def test_nll():
    logits = np.log([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [9, 9, 9]])
    logits += [[3], [-4], [0]]
    assert nll(logits, np.array([2, 1, 0])) == pytest.approx(-(math.log(0.25) + math.log(0.1)) / 2)
    far = np.array([[0.0, 1e4], [0, 0]])
    assert nll(far, np.array([0, 0])) == pytest.approx(1e4)


def test_generate(llama):
    tokens = list(generate(llama, [3, 26], 5))
    for i, token in enumerate(tokens):
        assert forward(llama, np.array([3, 26, *tokens[:i]]))[-1].argmax() == token
    assert len(tokens) == 5
    assert list(generate(llama, [3, 26], 5, {tokens[2]})) == tokens[: tokens.index(tokens[2])]


def test_arithmetic():
    problems = arithmetic_problems()
    assert len({prompt for prompt, _, _ in problems}) == 345
    assert ("7/2=", "Q3R1", "mathformer-div") in problems
    right = dict.fromkeys(("add", "sub", "mul", "div"), 0)
    for name in right:
        model = f"mathformer-{name}"
        decoder, codec = load_model(model), load_codec(model)
        for prompt, answer, wanted in problems:
            if wanted == model:
                found = list(generate(decoder, codec.encode(prompt), 8, codec.stop))
                right[name] += codec.decode(found) == answer
    assert right == {"add": 100, "sub": 55, "mul": 100, "div": 90}


@pytest.mark.parametrize(("name", "language"), [("glassllm", "en"), ("glassllm-pt", "pt")])
def test_glassllm_agrees_with_its_package(name, language):
    theirs, _ = glassllm.load_pretrained(language)
    tokens = np.random.default_rng(2).integers(0, 1024, 128)
    decoder = load_model(name)
    logits = forward(decoder, tokens, dtype=np.float32)
    np.testing.assert_allclose(logits, theirs.forward(tokens).data[0], atol=1e-4)
    with np.load(locate(name)) as data:
        np.testing.assert_array_equal(decoder.embedding, data["E"])


def test_glassllm_on_alice():
    decoder = load_model("glassllm")
    tokens = np.array(load_codec("glassllm").encode(alice_page()))
    assert len(tokens) == 454
    assert nll(forward(decoder, tokens[:128]), tokens[:128]) == pytest.approx(3.1415, abs=5e-4)
