import importlib.util
import math

import numpy as np
import pytest
from checkpoints import BERT, PREPROCESSOR, VIT, bert_tensors, vit_tensors, write

from celosia.compiler.checkpoint import MINILM_PACKAGE, load_model
from celosia.compiler.datasets import SENTENCE_PAIRS, digits_heldout
from celosia.compiler.graph import ACTIVATIONS
from celosia.compiler.tokens import load_tokenizer
from celosia.golden.reference import Ranges, activate, cosine, forward, softmax, taps

IDS = [7, 0, 18, 7, 3]


def plain_affine(tensors, name, row):
    weight, bias = tensors[f"{name}.weight"].tolist(), tensors[f"{name}.bias"].tolist()
    return [
        sum(w * x for w, x in zip(line, row, strict=True)) + b
        for line, b in zip(weight, bias, strict=True)
    ]


def plain_norm(tensors, name, eps, row):
    mean = sum(row) / len(row)
    deviation = math.sqrt(sum((x - mean) ** 2 for x in row) / len(row) + eps)
    scale, shift = tensors[f"{name}.weight"].tolist(), tensors[f"{name}.bias"].tolist()
    return [(x - mean) / deviation * g + b for x, g, b in zip(row, scale, shift, strict=True)]


def plain_attention(tensors, qkv, out, heads, rows):
    q, k, v = (
        [plain_affine(tensors, f"{qkv}.{part}", row) for row in rows]
        for part in ("query", "key", "value")
    )
    width = len(q[0]) // heads
    result = []
    for query in q:
        context = []
        for head in range(heads):
            span = range(head * width, (head + 1) * width)
            powers = [
                math.exp(sum(query[i] * key[i] for i in span) / math.sqrt(width)) for key in k
            ]
            total = sum(powers)
            context += [
                sum(p * value[i] for p, value in zip(powers, v, strict=True)) / total for i in span
            ]
        result.append(plain_affine(tensors, out, context))
    return result


def plain_ffn(tensors, layer, function, row):
    wide = [function(x) for x in plain_affine(tensors, f"{layer}.intermediate.dense", row)]
    return plain_affine(tensors, f"{layer}.output.dense", wide)


def add(a, b):
    return [x + y for x, y in zip(a, b, strict=True)]


def plain_bert(tensors, ids):
    """BERT in plain Python on lists, after its paper, sharing nothing with the reference."""
    names = [f"embeddings.{n}_embeddings.weight" for n in ("word", "position", "token_type")]
    words, positions, types = (tensors[name] for name in names)
    rows = [(words[i] + positions[p] + types[0]).tolist() for p, i in enumerate(ids)]
    rows = [plain_norm(tensors, "embeddings.LayerNorm", 1e-12, row) for row in rows]
    for i in range(2):
        layer = f"encoder.layer.{i}"
        mixed = plain_attention(
            tensors, f"{layer}.attention.self", f"{layer}.attention.output.dense", 3, rows
        )
        rows = [
            plain_norm(tensors, f"{layer}.attention.output.LayerNorm", 1e-12, add(x, y))
            for x, y in zip(rows, mixed, strict=True)
        ]
        gelu = [plain_ffn(tensors, layer, plain_gelu, row) for row in rows]
        rows = [
            plain_norm(tensors, f"{layer}.output.LayerNorm", 1e-12, add(x, y))
            for x, y in zip(rows, gelu, strict=True)
        ]
    return rows


def plain_gelu(x):
    return x * (1 - math.erfc(x / math.sqrt(2)) / 2)


def plain_gelu_tanh(x):
    return x / (1 + math.exp(-2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def plain_vit(tensors, rows):
    layer = "vit.encoder.layer.0"
    normed = [plain_norm(tensors, f"{layer}.layernorm_before", 1e-6, row) for row in rows]
    mixed = plain_attention(
        tensors, f"{layer}.attention.attention", f"{layer}.attention.output.dense", 3, normed
    )
    rows = [add(x, y) for x, y in zip(rows, mixed, strict=True)]
    normed = [plain_norm(tensors, f"{layer}.layernorm_after", 1e-6, row) for row in rows]
    rows = [
        add(x, plain_ffn(tensors, layer, plain_gelu_tanh, y))
        for x, y in zip(rows, normed, strict=True)
    ]
    return [plain_norm(tensors, "vit.layernorm", 1e-6, row) for row in rows]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return load_model(write(tmp_path_factory.mktemp("bert"), bert_tensors(), BERT))


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    return load_model(write(tmp_path_factory.mktemp("vit"), vit_tensors(), VIT, PREPROCESSOR))


def test_bert_matches_plain_python(bert):
    expected = np.array(plain_bert(bert_tensors(), IDS))
    out = forward(bert, np.array(IDS))
    np.testing.assert_allclose(out["hidden"], expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(out["pooled"], expected.mean(axis=0), rtol=1e-9, atol=1e-9)
    assert out["logits"] is None


def test_vit_matches_plain_python(vit):
    tensors = vit_tensors()
    image = np.random.default_rng(3).integers(0, 3, (2, 6, 9))
    embedding = vit.embedding
    rows = embedding.rows(image).astype(float) @ embedding.projection.weight.T.astype(float)
    expected = plain_vit(tensors, (rows + embedding.offsets).tolist())
    out = forward(vit, image)
    np.testing.assert_allclose(out["hidden"], expected, rtol=1e-9, atol=1e-9)
    logits = plain_affine(tensors, "classifier", expected[0])
    np.testing.assert_allclose(out["logits"], logits, rtol=1e-9, atol=1e-9)


def test_float32_is_close(bert):
    exact, short = (forward(bert, np.array(IDS), dtype=t) for t in (np.float64, np.float32))
    assert short["hidden"].dtype == np.float32
    np.testing.assert_allclose(short["hidden"], exact["hidden"], atol=1e-4)


def test_masked_tokens_change_nothing(bert):
    alone = forward(bert, np.array(IDS[:3]))
    mask = np.array([1, 1, 1, 0, 0], bool)
    padded = forward(bert, np.array(IDS), mask)
    np.testing.assert_allclose(padded["hidden"][:3], alone["hidden"], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(padded["pooled"], alone["pooled"], rtol=1e-12, atol=1e-12)


def test_bad_mask(bert):
    for mask in (np.ones(4, bool), np.zeros(5, bool)):
        with pytest.raises(ValueError, match=r"mask must have shape \(5,\) and some token"):
            forward(bert, np.array(IDS), mask)


@pytest.mark.parametrize("family", ["bert", "vit"])
def test_taps(bert, vit, family):
    encoder, inputs = {"bert": (bert, np.array(IDS)), "vit": (vit, np.ones((2, 6, 9)))}[family]
    tokens = 5 if family == "bert" else 7
    seen = {}
    out = forward(encoder, inputs, tap=seen.__setitem__)
    assert tuple(seen) == taps(encoder)
    assert seen["block0.q"].shape == (tokens, 27)
    assert seen["block0.ffn.act"].shape == (tokens, 41)
    assert seen["block0.probabilities"].shape == (3, tokens, tokens)
    np.testing.assert_allclose(seen["block0.probabilities"].sum(-1), 1)
    np.testing.assert_array_equal(seen["pooled"], out["pooled"])
    last = "final_norm" if family == "vit" else "block1.norm2"
    np.testing.assert_array_equal(seen[last], out["hidden"])


def test_ranges_cover_all_inputs(bert):
    ranges, seen = Ranges(percentile=100), []
    for ids in (IDS, IDS[:2]):
        forward(bert, np.array(ids), tap=ranges)
        forward(bert, np.array(ids), tap=lambda n, v: n == "block1.k" and seen.append(v))
    values = np.concatenate(seen)
    assert ranges.low["block1.k"] == values.min() and ranges.high["block1.k"] == values.max()
    assert ranges.largest("block1.k") == np.abs(values).max()
    assert ranges.percentile_high["block1.k"] == np.abs(values).max()
    np.testing.assert_array_equal(ranges.columns["block1.k"], np.abs(values).max(axis=0))
    assert ranges.heads["block0.logits"].shape == (3,)


def test_activations():
    x = np.array([-30.0, -1.0, 0.0, 1.0, 30.0])
    at_one = {
        "gelu": 0.8413447460685429,
        "gelu_tanh": 0.8411919906082768,
        "relu": 1.0,
        "silu": 0.7310585786300049,
        "quick_gelu": 0.8457957659328212,
        "tanh": 0.7615941559557649,
    }
    assert set(at_one) == set(ACTIVATIONS)
    for name, value in at_one.items():
        y = activate(name, x)
        assert y[3] == pytest.approx(value, abs=1e-12) and y[2] == 0
        assert y[4] == pytest.approx(1 if name == "tanh" else 30)
        low = -1 if name == "tanh" else 0
        assert y[0] == pytest.approx(low, abs=1e-9)


def test_softmax_does_not_overflow():
    np.testing.assert_allclose(softmax(np.array([[1e4, 1e4 - math.log(3)]])), [[0.75, 0.25]])


def test_digits_accuracy():
    encoder = load_model("digits_vit")
    assert encoder.parameters == 18_218
    images, labels = digits_heldout()
    right = sum(
        forward(encoder, image)["logits"].argmax() == label
        for image, label in zip(images, labels, strict=True)
    )
    assert right / len(labels) >= 0.98


@pytest.mark.skipif(
    importlib.util.find_spec(MINILM_PACKAGE) is None, reason="minilm is not installed"
)
def test_minilm_cosines():
    pytest.importorskip("tokenizers")
    encoder = load_model("minilm")
    tokenizer = load_tokenizer("minilm", max_tokens=encoder.max_tokens)
    found = [
        cosine(*(forward(encoder, tokenizer.encode(text))["pooled"] for text in pair))
        for pair in SENTENCE_PAIRS
    ]
    assert found[:2] == pytest.approx([0.667, 0.561], abs=5e-4)
    assert all(-0.1 < value < 0.24 for value in found[2:])
