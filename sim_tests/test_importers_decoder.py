import re
import sys
from dataclasses import FrozenInstanceError, replace

import gguf
import numpy as np
import pytest
from checkpoints import BERT, bert_tensors, write
from checkpoints_decoder import (
    GLASS,
    LLAMA,
    MISTRAL,
    QWEN,
    glass_tensors,
    llama_tensors,
    write_gguf,
    write_glass,
)
from gguf import GGMLQuantizationType as Kind

from celosia.compiler import checkpoint
from celosia.compiler.checkpoint import list_models, load_encoder, load_model, locate
from celosia.compiler.decoder import Decoder, GatedFeedForward, GroupedAttention, RmsNorm, Rope
from celosia.compiler.graph_parts import Linear
from celosia.errors import ModelError
from celosia.golden.reference_decoder import forward

QUERY = "model.layers.1.self_attn.q_proj.weight"
IDS = np.array([3, 26, 0, 3, 11])


def refused(path, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_model(path)


def saved(folder, config=LLAMA, tensors=None, **changes):
    """Write a checkpoint; None takes a key of the configuration away."""
    config = config | changes
    tensors = llama_tensors(config) if tensors is None else tensors
    return write(folder / "tiny", tensors, {k: v for k, v in config.items() if v is not ...})


def test_llama_round_trip(tmp_path):
    tensors = llama_tensors()
    decoder = load_model(saved(tmp_path))
    assert isinstance(decoder, Decoder)
    assert (decoder.name, decoder.family, decoder.hidden) == ("tiny", "llama", 20)
    assert (decoder.vocabulary, decoder.context, decoder.tied) == (27, 12, False)
    assert (decoder.rope.base, decoder.rope.layout) == (500.0, "half")
    np.testing.assert_array_equal(decoder.embedding, tensors["model.embed_tokens.weight"])
    np.testing.assert_array_equal(decoder.head.weight, tensors["lm_head.weight"])
    np.testing.assert_array_equal(decoder.final_norm.gamma, tensors["model.norm.weight"])
    assert len(decoder.blocks) == 2 and decoder.final_norm.eps == 1e-5
    for i, block in enumerate(decoder.blocks):
        attention, ffn, layer = block.attention, block.ffn, f"model.layers.{i}"
        assert (attention.heads, attention.kv_heads, attention.head_dim) == (6, 2, 4)
        assert ffn.activation == "silu"
        for part, name in (
            (attention.q, f"{layer}.self_attn.q_proj"),
            (attention.k, f"{layer}.self_attn.k_proj"),
            (attention.v, f"{layer}.self_attn.v_proj"),
            (attention.o, f"{layer}.self_attn.o_proj"),
            (ffn.gate, f"{layer}.mlp.gate_proj"),
            (ffn.up, f"{layer}.mlp.up_proj"),
            (ffn.down, f"{layer}.mlp.down_proj"),
        ):
            assert part.name == name and part.bias is None
            np.testing.assert_array_equal(part.weight, tensors[f"{name}.weight"])
        for norm, name in (
            (block.norm1, f"{layer}.input_layernorm"),
            (block.norm2, f"{layer}.post_attention_layernorm"),
        ):
            assert (norm.name, norm.eps) == (name, 1e-5)
            np.testing.assert_array_equal(norm.gamma, tensors[f"{name}.weight"])
    assert decoder.parameters == sum(tensor.size for tensor in tensors.values())
    assert [part.outputs for part in decoder.linears] == [24, 8, 8, 20, 41, 41, 20] * 2 + [27]


@pytest.mark.parametrize("stored", ["no", "equal", "different"])
def test_tied_head(tmp_path, stored):
    config = LLAMA | {"tie_word_embeddings": True}
    tensors = llama_tensors(config)
    if stored != "no":
        head = tensors["model.embed_tokens.weight"].copy()
        head[3, 4] += stored == "different"
        tensors["lm_head.weight"] = head
    folder = saved(tmp_path, config, tensors)
    if stored == "different":
        refused(folder, r"'lm_head\.weight' differs from .*embed_tokens.*tie_word_embeddings")
        return
    decoder = load_model(folder)
    assert decoder.tied and decoder.head.weight is decoder.embedding
    assert decoder.parameters == sum(t.size for t in llama_tensors(config).values())


@pytest.mark.parametrize(
    ("config", "biases"),
    [
        (LLAMA | {"attention_bias": True}, "q k v o"),
        (LLAMA | {"mlp_bias": True}, "gate up down"),
        (QWEN, "q k v"),
        (MISTRAL, ""),
    ],
)
def test_biases(tmp_path, config, biases):
    tensors = llama_tensors(config, biases=biases)
    decoder = load_model(saved(tmp_path, config, tensors))
    for linear in decoder.linears:
        part = linear.name.split(".")[-1].removesuffix("_proj")
        assert (linear.bias is not None) == (part in biases.split())
        if linear.bias is not None:
            np.testing.assert_array_equal(linear.bias, tensors[f"{linear.name}.bias"])
    assert decoder.parameters == sum(tensor.size for tensor in tensors.values())


def test_unasked_biases_are_refused(tmp_path):
    tensors = llama_tensors(biases="o")
    refused(saved(tmp_path, tensors=tensors), r"unsupported layer: tensor .*o_proj\.bias' \(2 in")
    del tensors["model.layers.0.self_attn.o_proj.bias"]
    tensors |= llama_tensors(biases="q k v")
    folder = saved(tmp_path, tensors=tensors, attention_bias=True)
    refused(folder, r"tensor 'model\.layers\.0\.self_attn\.o_proj\.bias' is missing")


@pytest.mark.parametrize(
    ("heads", "kv", "width", "hidden", "wide", "words"),
    [(9, 3, 2, 18, 341, 27), (1, 1, 2, 3, 1, 2), (4, 4, 6, 24, 5, 49_152)],
)
def test_any_size(tmp_path, heads, kv, width, hidden, wide, words):
    config = LLAMA | {
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "head_dim": width,
        "hidden_size": hidden,
        "intermediate_size": wide,
        "vocab_size": words,
    }
    decoder = load_model(saved(tmp_path, config))
    assert decoder.blocks[0].ffn.up.weight.shape == (wide, hidden)
    assert forward(decoder, np.array([0, 1, 1])).shape == (3, words)


def test_defaults(tmp_path):
    missing = dict.fromkeys(["rope_theta", "rms_norm_eps", "num_key_value_heads"], ...)
    config = LLAMA | {"num_key_value_heads": 6}
    decoder = load_model(saved(tmp_path, config, llama_tensors(config), **missing))
    assert (decoder.rope.base, decoder.final_norm.eps) == (10000.0, 1e-6)
    assert decoder.blocks[0].attention.kv_heads == 6


def test_head_dim_by_division(tmp_path):
    config = LLAMA | {"hidden_size": 24}
    decoder = load_model(saved(tmp_path, config, llama_tensors(config), head_dim=...))
    assert decoder.blocks[0].attention.head_dim == 4


@pytest.mark.parametrize(
    "changes",
    [
        {"rope_theta": ..., "rope_parameters": {"rope_theta": 7e5, "rope_type": "default"}},
        {"rope_parameters": {"rope_theta": 7e5}},
        {"rope_theta": 7e5, "rope_scaling": None},
        {"rope_theta": 700000, "rope_scaling": {"type": "default"}, "partial_rotary_factor": 1.0},
    ],
)
def test_rope_bases(tmp_path, changes):
    assert load_model(saved(tmp_path, **changes)).rope.base == 7e5


@pytest.mark.parametrize(
    ("config", "changes"),
    [
        (LLAMA, {"sliding_window": 4}),
        (QWEN, {"sliding_window": 4, "use_sliding_window": False}),
        (QWEN, {"sliding_window": 12, "use_sliding_window": True}),
        (MISTRAL, {"sliding_window": 12}),
        (MISTRAL, {"sliding_window": ...}),
        (LLAMA, {"layer_types": ["full_attention"] * 2}),
    ],
)
def test_windows_without_effect(tmp_path, config, changes):
    biases = "q k v" if config is QWEN else ""
    load_model(saved(tmp_path, config, llama_tensors(config, biases=biases), **changes))


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        (LLAMA, {"architectures": ["GPT2LMHeadModel"]}, r"'GPT2LMHeadModel' is not supported: no"),
        (LLAMA, {"architectures": ["LlamaForX"]}, r"supported are .*Mistral.*, Qwen2ForCausalLM$"),
        (LLAMA, {"architectures": []}, r"architectures must be a list of names, not \[\]"),
        (LLAMA, {"vocab_size": ...}, r"config\.json: key 'vocab_size' is missing"),
        (LLAMA, {"vocab_size": 28}, r"embed_tokens.* shape \(27, 20\), but .* makes it \(28, 20\)"),
        (LLAMA, {"num_hidden_layers": 3}, r"tensor 'model\.layers\.2\..*' is missing"),
        (LLAMA, {"num_hidden_layers": 1}, r"unsupported layer: tensor 'model\.layers\.1\..*9 in"),
        (LLAMA, {"num_hidden_layers": 0}, r"num_hidden_layers must be an integer from 1 .* not 0"),
        (LLAMA, {"num_key_value_heads": 4}, r"multiple of that of key and value heads, not 6 of 4"),
        (LLAMA, {"head_dim": 5}, r"config\.json: .* a head must be even, not 5 wide"),
        (LLAMA, {"head_dim": ...}, r"hidden_size 20 must be a multiple of .*heads 6, or head_dim"),
        (LLAMA, {"hidden_act": "mish"}, r"hidden_act = 'mish' is not supported; known are .*silu"),
        (LLAMA, {"rms_norm_eps": 2}, r"rms_norm_eps must be between 0 and 1, not 2"),
        (LLAMA, {"rope_theta": 1}, r"rope_theta must be finite and more than 1, not 1$"),
        (LLAMA, {"rope_theta": "1e4"}, r"rope_theta must be finite and more than 1, not '1e4'"),
        (LLAMA, {"rope_theta": float("inf")}, r"rope_theta must be finite .*, not inf"),
        (LLAMA, {"rope_scaling": {"rope_type": "llama3"}}, r"rope_scaling = .*llama3.* 'default'"),
        (LLAMA, {"rope_scaling": {"type": "linear", "factor": 2}}, r"rope_scaling = .*linear"),
        (LLAMA, {"rope_scaling": "yarn"}, r"rope_scaling = 'yarn' is not supported"),
        (LLAMA, {"rope_parameters": {"rope_type": "yarn"}}, r"rope_parameters = .* not supported"),
        (LLAMA, {"partial_rotary_factor": 0.5}, r"partial_rotary_factor = 0\.5 is not supported"),
        (LLAMA, {"layer_types": ["full_attention", "sliding_attention"]}, r"'sliding_attention'"),
        (LLAMA, {"quantization_config": {"bits": 4}}, r"quantization_config = .* must be floats"),
        (LLAMA, {"tie_word_embeddings": 1}, r"tie_word_embeddings must be true or false, not 1"),
        (MISTRAL, {"sliding_window": 11}, r"sliding_window = 11 is not supported, .* = 12; .* 11$"),
        (MISTRAL, {"sliding_window": -1}, r"sliding_window must be an integer from 1 .*, not -1"),
        (
            MISTRAL,
            {"sliding_window": ..., "max_position_embeddings": 4097},
            r"window = 4096 is not",
        ),
        (
            QWEN,
            {"use_sliding_window": True, "sliding_window": 3},
            r"sliding_window = 3 is not supp",
        ),
    ],
)
def test_bad_config(tmp_path, config, changes, message):
    refused(saved(tmp_path, config, llama_tensors(LLAMA), **changes), message)


@pytest.mark.parametrize("size", [0, 5, 60, 3000, -1])
def test_truncated_safetensors(tmp_path, size):
    path = saved(tmp_path) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    refused(path, r"model\.safetensors: truncated.*\d+ bytes; copy it again")


def test_bad_tensors(tmp_path):
    tensors = llama_tensors()
    tensors[QUERY][5, 3] = np.nan
    refused(saved(tmp_path, tensors=tensors), r"layers\.1.*q_proj.* 1 NaN or .* at \[5, 3\]")
    tensors[QUERY] = tensors[QUERY][:-1]
    refused(saved(tmp_path, tensors=tensors), r"q_proj.*shape \(23, 20\), but .* makes it \(24, 20")
    del tensors[QUERY]
    refused(saved(tmp_path, tensors=tensors), rf"tensor '{re.escape(QUERY)}' is missing")


def test_glass_round_trip(tmp_path):
    tensors = glass_tensors()
    decoder = load_model(write_glass(tmp_path / "small.npz", tensors))
    assert (decoder.name, decoder.tied, decoder.rope.layout) == ("small", True, "adjacent")
    assert (decoder.rope.base, decoder.context, decoder.final_norm.eps) == (500.0, 12, 1e-6)
    assert decoder.head.weight is decoder.embedding
    np.testing.assert_array_equal(decoder.embedding, tensors["E"])
    for i, block in enumerate(decoder.blocks):
        attention, ffn, name = block.attention, block.ffn, f"blocks.{i}"
        assert (attention.heads, attention.kv_heads, attention.head_dim) == (4, 2, 6)
        for part, tensor in (
            (attention.q, f"{name}.attn.W_Q"),
            (attention.k, f"{name}.attn.W_K"),
            (attention.v, f"{name}.attn.W_V"),
            (attention.o, f"{name}.attn.W_O"),
            (ffn.gate, f"{name}.ffn.W1"),
            (ffn.up, f"{name}.ffn.W3"),
            (ffn.down, f"{name}.ffn.W2"),
        ):
            assert part.name == tensor and part.weight.flags.c_contiguous
            np.testing.assert_array_equal(part.weight, tensors[tensor].T)
        np.testing.assert_array_equal(block.norm1.gamma, tensors[f"{name}.norm1.gamma"])
        np.testing.assert_array_equal(block.norm2.gamma, tensors[f"{name}.norm2.gamma"])
    assert decoder.parameters == sum(tensor.size for tensor in tensors.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"d_model": 25}, r"g\.npz: d_model 25 must be a multiple of n_heads 4"),
        ({"n_kv_heads": 3}, r"multiple of that of key and value heads, not 4 of 3"),
        ({"n_layers": 3}, r"g\.npz: tensor 'blocks\.2\..*' is missing"),
        ({"n_layers": 1}, r"unsupported layer: tensor 'blocks\.1\."),
        ({"vocab_size": 26}, r"'E' has shape \(27, 24\), but g\.npz makes it \(26, 24\)"),
        ({"max_len": 0}, r"g\.npz: max_len must be an integer from 1 to .*, not 0"),
        ({"rope_base": -1}, r"g\.npz: rope_base must be finite and more than 1, not -1"),
        ({"eps": 0}, r"g\.npz: eps must be between 0 and 1, not 0"),
    ],
)
def test_bad_glass_config(tmp_path, change, message):
    refused(write_glass(tmp_path / "g.npz", glass_tensors(), GLASS | change), message)


def test_bad_npz(tmp_path):
    path, tensors, query = tmp_path / "g.npz", glass_tensors(), "blocks.1.attn.W_Q"
    refused(write_glass(path, tensors, ["d_model"]), r"__config__ must hold a JSON object, not lis")
    np.savez(path, __config__=np.array("{"), **tensors)
    refused(path, r"g\.npz: __config__ is not readable as JSON")
    np.savez(path, **tensors)
    refused(path, r"g\.npz: __config__ is missing; of npz files only those of glassllm")
    refused(
        write_glass(path, tensors | {query: tensors[query].astype(np.int8)}),
        r"g\.npz: tensor 'blocks\.1\.attn\.W_Q' is stored as int8; weights must be floats",
    )
    spoilt = tensors | {query: tensors[query].copy()}
    spoilt[query][7, 2] = np.inf
    refused(write_glass(path, spoilt), r"W_Q' holds 1 NaN or infinite values, the first at \[7, 2")
    refused(write_glass(path, tensors | {query: tensors[query][1:]}), r"W_Q' has shape \(23, 24\)")
    del spoilt[query]
    refused(write_glass(path, spoilt), r"tensor 'blocks\.1\.attn\.W_Q' is missing")
    refused(write_glass(path, {"E": tensors["E"]}), r"tensor 'blocks\.0\.ffn\.W1' is missing")


@pytest.mark.parametrize("size", [0, 4, 500, -30, -1])
def test_truncated_npz(tmp_path, size):
    path = write_glass(tmp_path / "g.npz", glass_tensors())
    path.write_bytes(path.read_bytes()[:size])
    refused(path, r"g\.npz: truncated or not an npz \(.*\); the file has \d+ bytes; copy it again")


def test_damaged_npz(tmp_path):
    path = write_glass(tmp_path / "g.npz", glass_tensors())
    raw = bytearray(path.read_bytes())
    raw[3000] ^= 255
    path.write_bytes(raw)
    refused(path, r"g\.npz: truncated or not an npz")


@pytest.mark.parametrize("tied", [False, True])
def test_gguf_is_the_same_model(tmp_path, tied):
    config = LLAMA | {"tie_word_embeddings": tied}
    tensors = llama_tensors(config)
    half = load_model(saved(tmp_path, config))
    adjacent = load_model(write_gguf(tmp_path / "small.gguf", tensors, config))
    assert (adjacent.name, adjacent.tied, adjacent.rope.layout) == ("small", tied, "adjacent")
    assert (adjacent.parameters, adjacent.context) == (half.parameters, half.context)
    assert adjacent.blocks[1].attention.q.name == "blk.1.attn_q"
    assert (adjacent.blocks[1].attention.q.weight != half.blocks[1].attention.q.weight).any()
    np.testing.assert_allclose(forward(adjacent, IDS), forward(half, IDS), rtol=1e-6, atol=1e-6)


def test_gguf_qwen_keeps_halves(tmp_path):
    tensors = llama_tensors(QWEN, biases="q k v")
    plain = load_model(saved(tmp_path, QWEN, tensors))
    same = load_model(write_gguf(tmp_path / "q.gguf", tensors, QWEN, kind="qwen2"))
    assert same.rope.layout == "half" and same.blocks[0].attention.k.bias is not None
    np.testing.assert_allclose(forward(same, IDS), forward(plain, IDS), rtol=1e-6, atol=1e-6)


WIDE = LLAMA | {"hidden_size": 64, "intermediate_size": 256}


@pytest.mark.parametrize(
    ("kind", "error"),
    [(Kind.F16, 2**-10), (Kind.BF16, 2**-7), (Kind.Q8_0, 0.02), (Kind.Q4_0, 0.25)],
)
def test_gguf_types(tmp_path, kind, error):
    tensors = llama_tensors(WIDE)
    path = write_gguf(tmp_path / "m.gguf", tensors, WIDE, stored={"blk.1.ffn_up.weight": kind})
    weight = load_model(path).blocks[1].ffn.up.weight
    expected = tensors["model.layers.1.mlp.up_proj.weight"]
    assert weight.dtype == np.float32 and (weight != expected).any()
    np.testing.assert_allclose(weight, expected, atol=error, rtol=error)


def test_gguf_blocks_of_eight_bits(tmp_path):
    """Q8_0 by hand: 32 signed bytes behind a scale in float16."""
    tensors = llama_tensors(WIDE)
    rng = np.random.default_rng(5)
    scales = rng.normal(0, 0.1, (256, 2, 1)).astype(np.float16)
    levels = rng.integers(-128, 128, (256, 2, 32)).astype(np.int8)
    raw = np.concatenate([scales.view(np.uint8), levels.view(np.uint8)], axis=2).reshape(256, 68)
    stored = {"blk.0.ffn_gate.weight": (Kind.Q8_0, raw)}
    weight = load_model(write_gguf(tmp_path / "m.gguf", tensors, WIDE, stored=stored))
    expected = (scales.astype(np.float32) * levels).reshape(256, 64)
    np.testing.assert_array_equal(weight.blocks[0].ffn.gate.weight, expected)


def test_gguf_blocks_of_four_bits(tmp_path):
    """Q4_K, which the package reads but does not write; llama.cpp's files are mostly of it."""
    tensors = llama_tensors(WIDE)
    raw = np.random.default_rng(5).integers(0, 256, (64, 144)).astype(np.uint8)
    raw[:, 1:4:2] &= 0x3B  # scales in float16: no NaN
    stored = {"blk.0.ffn_down.weight": (Kind.Q4_K, raw)}
    weight = load_model(write_gguf(tmp_path / "m.gguf", tensors, WIDE, stored=stored))
    weight = weight.blocks[0].ffn.down.weight
    assert weight.shape == (64, 256) and len(np.unique(weight[0, :32])) > 8
    low = raw[0, 16:48] & 15  # of the first 64 weights the low halves are the first 32
    scale, least = raw[0, :4].view(np.float16)
    expected = float(scale) * (raw[0, 4] & 63) * low - float(least) * (raw[0, 8] & 63)
    np.testing.assert_allclose(weight[0, :32], expected, rtol=1e-5)


@pytest.mark.parametrize("kind", [Kind.Q8_K, Kind.Q8_1, Kind.I8, Kind.F64])
def test_unsupported_gguf_type(tmp_path, kind):
    block, size = gguf.GGML_QUANT_SIZES[kind]
    raw = np.zeros((64, 256 // block * size), np.uint8)
    stored = {"blk.0.ffn_down.weight": (kind, raw)}
    path = write_gguf(tmp_path / "m.gguf", llama_tensors(WIDE), WIDE, stored=stored)
    refused(path, rf"'blk\.0\.ffn_down\.weight' is stored as {kind.name}, which the package gguf c")


def test_unknown_gguf_type(tmp_path):
    path = write_gguf(tmp_path / "m.gguf", llama_tensors())
    name = b"blk.0.ffn_down.weight"
    raw = bytearray(path.read_bytes())
    at = raw.index(name) + len(name) + 4 + 2 * 8  # its type lies behind the two sides
    assert raw[at : at + 4] == bytes(4)
    raw[at] = 99
    path.write_bytes(raw)
    refused(path, r"m\.gguf: truncated or not GGUF \(.*99.* is not a valid GGMLQuantizationType\)")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embedding_length": None}, r"key 'llama\.embedding_length' is missing"),
        (
            {"attention.key_length": None},
            r"embedding_length 20 must be a multiple of .*count 6, or",
        ),
        ({"attention.head_count": [6, 6]}, r"head_count must be an integer from 1 .* \[6, 6\]"),
        ({"attention.head_count_kv": 4}, r"multiple of that of key and value heads, not 6 of 4"),
        ({"block_count": 3}, r"m\.gguf: tensor 'blk\.2\..*' is missing"),
        ({"block_count": 1}, r"unsupported layer: tensor 'blk\.1\."),
        ({"feed_forward_length": 42}, r"'blk\.0\.ffn_gate\.weight' has shape \(41, 20\)"),
        ({"vocab_size": 26}, r"'token_embd\.weight' has shape \(27, 20\)"),
        ({"attention.layer_norm_rms_epsilon": None}, r"rms_epsilon' is missing"),
        ({"rope.freq_base": 0.5}, r"rope\.freq_base must be finite and more than 1, not 0\.5"),
        ({"rope.scaling.type": "yarn"}, r"rope\.scaling\.type = 'yarn' is not supported: pos"),
        ({"rope.scale_linear": 4.0}, r"rope\.scale_linear = 4\.0 is not supported"),
        ({"rope.dimension_count": 2}, r"dimension_count = 2 is not supported: whole heads .* be 4"),
        ({"attention.value_length": 6}, r"value_length = 6 is not supported"),
        ({"expert_count": 8}, r"expert_count = 8 is not supported: a layer has one feed-forward"),
        ({"attention.sliding_window": 11}, r"sliding_window = 11 is not supported, .*length = 12"),
    ],
)
def test_bad_gguf_keys(tmp_path, changes, message):
    path = tmp_path / "m.gguf"
    refused(write_gguf(path, llama_tensors(), changes=changes), message)


def test_gguf_defaults(tmp_path):
    changes = dict.fromkeys(["rope.freq_base", "rope.dimension_count", "attention.key_length"])
    changes |= {"attention.value_length": None, "attention.head_count_kv": None}
    config = LLAMA | {"hidden_size": 24, "num_key_value_heads": 6}
    path = write_gguf(tmp_path / "m.gguf", llama_tensors(config), config, changes=changes)
    decoder = load_model(path)
    assert decoder.rope.base == 10000.0
    assert (decoder.blocks[0].attention.kv_heads, decoder.blocks[0].attention.head_dim) == (6, 4)
    assert decoder.final_norm.eps == pytest.approx(1e-5)


@pytest.mark.parametrize("size", [0, 3, 30, 300, 2000, -1])
def test_truncated_gguf(tmp_path, size):
    path = write_gguf(tmp_path / "m.gguf", llama_tensors())
    path.write_bytes(path.read_bytes().rstrip(b"\0")[:size])
    refused(path, r"m\.gguf: truncated or not GGUF \(.*\); the file has \d+ bytes; copy it again")


def test_bad_gguf(tmp_path, monkeypatch):
    path, tensors = tmp_path / "m.gguf", llama_tensors()
    refused(
        write_gguf(path, tensors, kind="gpt2"), r"architecture 'gpt2' is not supported: .*qwen2"
    )
    tensors["model.layers.0.mlp.up_proj.weight"][1, 2] = np.nan
    refused(write_gguf(path, tensors), r"blk\.0\.ffn_up\.weight' holds 1 NaN .* at \[1, 2\]")
    del tensors["model.layers.0.mlp.up_proj.weight"]
    refused(write_gguf(path, tensors), r"tensor 'blk\.0\.ffn_up\.weight' is missing")
    refused(write_gguf(path, tensors, endian=gguf.GGUFEndian.BIG), r"m\.gguf: is big-endian")
    monkeypatch.setitem(sys.modules, "gguf", None)
    refused(path, r"m\.gguf: needs the package gguf; run `pip install gguf`")


def test_folders(tmp_path):
    tensors = llama_tensors()
    write_gguf(tmp_path / "one.gguf", tensors)
    assert load_model(tmp_path).name == "one"
    write_gguf(tmp_path / "two.gguf", tensors)
    refused(tmp_path, r"model\.safetensors: file is missing; name one of one\.gguf, two\.gguf")
    (tmp_path / "weights.bin").touch()
    refused(tmp_path / "weights.bin", r"must be a \.safetensors file .*\.onnx, \.gguf, \.npz")


def test_encoders_are_told_apart(tmp_path):
    folder = write(tmp_path / "bert", bert_tensors(), BERT)
    assert load_encoder(folder).family == "bert"
    with pytest.raises(ModelError, match=r"tiny' is a decoder, a language model; this takes enc"):
        load_encoder(saved(tmp_path))


def test_packaged_models():
    named = {model.name: model for model in list_models()}
    for name, size in (("mathformer-div", 1480), ("glassllm", 852_608), ("glassllm-pt", 852_608)):
        assert named[name].path == locate(name) and not named[name].needs
        decoder = load_model(name)
        assert (decoder.name, decoder.parameters) == (name, size)
    assert decoder.blocks[0].ffn.gate.weight.shape == (341, 128)
    assert {"mathformer-add", "mathformer-sub", "mathformer-mul", "PATH"} <= named.keys()
    assert "mathformer" not in sys.modules


def test_packages_missing(monkeypatch):
    monkeypatch.setattr(checkpoint, "find_packaged", lambda model: None)
    refused(
        "mathformer-add", r"'mathformer-add' is not installed; .*install --no-deps mathformer=="
    )
    refused("glassllm", r"'glassllm' is not installed; run `make \.venv/llm\.stamp` or")
    assert {m.name: m for m in list_models()}["glassllm-pt"].needs.endswith("glassllm==0.1.0`")


def test_graph_rules(tmp_path):
    decoder = load_model(saved(tmp_path))
    block = decoder.blocks[0]
    attention, ffn = block.attention, block.ffn
    row = np.ones(3, np.float32)
    odd = Linear(name="odd", weight=np.ones((20, 40), np.float32))
    for change, message in (
        (lambda: RmsNorm(name="n", gamma=row[None], eps=1), r"n: gamma must have shape \(3,\)"),
        (lambda: RmsNorm(name="n", gamma=row, eps=0), "n: eps must be positive, not 0"),
        (lambda: Rope(base=1, layout="half"), "rope: base must be finite and more than 1, not 1"),
        (lambda: Rope(base=float("nan"), layout="half"), "base must be finite"),
        (lambda: Rope(base=2, layout="pairs"), "layout must be 'half' or 'adjacent', not 'pairs'"),
        (lambda: replace(attention, kv_heads=4), "heads must be a multiple of kv_heads, not 6 of"),
        (lambda: replace(attention, kv_heads=0), "heads must be a multiple"),
        (lambda: replace(attention, head_dim=3), "head_dim must be even, not 3"),
        (lambda: replace(attention, head_dim=2), r"q_proj: weight must have shape \(12, 20\)"),
        (lambda: replace(attention, k=attention.q), r"weight must have shape \(8, 20\)"),
        (lambda: replace(attention, o=odd), r"odd: weight must have shape \(20, 24\)"),
        (lambda: replace(ffn, up=ffn.down), r"down_proj: weight must have shape \(41, 20\)"),
        (lambda: replace(ffn, down=odd), r"odd: weight must have shape \(20, 41\)"),
        (lambda: replace(ffn, activation="x"), "activation must be one of .*, not 'x'"),
        (lambda: replace(block, norm1=RmsNorm(name="n", gamma=row, eps=1)), r"n: gamma must have"),
        (lambda: replace(block, ffn=wider(ffn)), "wide: 21 inputs, not 20"),
        (lambda: replace(decoder, blocks=()), "tiny: blocks must not be empty"),
        (lambda: replace(decoder, context=0), "tiny: context must be 1 or more, not 0"),
        (lambda: replace(decoder, tied=True), "tiny: a tied head must have the embedding"),
        (lambda: replace(decoder, head=odd), r"odd: weight must have shape \(27, 20\)"),
        (lambda: replace(decoder, hidden=21), r"tiny: embedding must have shape \(27, 21\)"),
        (lambda: replace(decoder, final_norm=RmsNorm(name="n", gamma=row, eps=1)), "20 wide, not"),
    ):
        with pytest.raises(ValueError, match=message):
            change()
    with pytest.raises(TypeError, match="n: gamma must be float32, not float64"):
        RmsNorm(name="n", gamma=row.astype(float), eps=1)
    with pytest.raises(FrozenInstanceError):
        block.norm1 = block.norm2
    assert isinstance(attention, GroupedAttention)


def wider(ffn: GatedFeedForward) -> GatedFeedForward:
    wide = Linear(name="wide", weight=np.ones((41, 21), np.float32))
    down = Linear(name="down", weight=np.ones((21, 41), np.float32))
    return replace(ffn, gate=wide, up=wide, down=down)


def test_what_is_shared_counts_once(tmp_path):
    decoder = load_model(saved(tmp_path))
    first = decoder.blocks[0]
    twice = replace(decoder, blocks=(first, first))
    assert twice.parameters == replace(decoder, blocks=(first,)).parameters
    assert len(twice.linears) == 15
    copied = Linear(name="head", weight=decoder.embedding.copy())
    tied = replace(decoder, head=copied, tied=True)
    assert tied.parameters == decoder.parameters - decoder.embedding.size


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([1, 27], "input: token id must be 0 to 26, not 27"),
        ([-1], "input: token id must be 0 to 26, not -1"),
        (np.zeros(0, int), "input: there must be 1 to 12 token ids, not 0"),
        ([1] * 13, "input: there must be 1 to 12 token ids, not 13; shorten it"),
        ([1.5], "input: token ids must be integers on one axis, not float64"),
        ([[1]], r"input: token ids must be integers on one axis, not int64 \(1, 1\)"),
    ],
)
def test_bad_ids(tmp_path, ids, message):
    with pytest.raises(ModelError, match=message):
        load_model(saved(tmp_path)).rows(np.array(ids))
