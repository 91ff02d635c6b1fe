"""Small random decoders in the layouts of Hugging Face, glassllm and llama.cpp."""

import json
from pathlib import Path

import gguf
import numpy as np

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "intermediate_size": 41,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "rope_theta": 500.0,
    "vocab_size": 27,
    "max_position_embeddings": 12,
    "tie_word_embeddings": False,
}
QWEN = LLAMA | {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}
MISTRAL = LLAMA | {"architectures": ["MistralForCausalLM"], "sliding_window": None}
GLASS = {
    "vocab_size": 27,
    "d_model": 24,
    "n_layers": 2,
    "n_heads": 4,
    "n_kv_heads": 2,
    "max_len": 12,
    "rope_base": 500.0,
    "eps": 1e-6,
    "init_std": 0.02,
}
TO_GGUF = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def llama_tensors(config: dict = LLAMA, *, biases: str = "", seed: int = 0) -> dict:
    """Draw the tensors of a checkpoint; `biases` names the parts that have one, "q k v"."""
    rng = np.random.default_rng(seed)
    d, wide, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    heads, kv = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    tensors = {}

    def add(name: str, *shape: int, mean: float = 0.0) -> None:
        tensors[name] = rng.normal(mean, 0.3, shape).astype(np.float32)

    add("model.embed_tokens.weight", config["vocab_size"], d)
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}"
        add(f"{layer}.input_layernorm.weight", d, mean=1)
        add(f"{layer}.post_attention_layernorm.weight", d, mean=1)
        for part, outputs, inputs in (
            ("self_attn.q", heads, d),
            ("self_attn.k", kv, d),
            ("self_attn.v", kv, d),
            ("self_attn.o", d, heads),
            ("mlp.gate", wide, d),
            ("mlp.up", wide, d),
            ("mlp.down", d, wide),
        ):
            add(f"{layer}.{part}_proj.weight", outputs, inputs)
            if part.split(".")[1] in biases.split():
                add(f"{layer}.{part}_proj.bias", outputs)
    add("model.norm.weight", d, mean=1)
    if not config.get("tie_word_embeddings"):
        add("lm_head.weight", config["vocab_size"], d)
    return tensors


def glass_tensors(config: dict = GLASS, *, wide: int = 41, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    d = config["d_model"]
    kv = d // config["n_heads"] * config["n_kv_heads"]
    shapes = {"E": (config["vocab_size"], d), "norm_f.gamma": (d,)}
    for i in range(config["n_layers"]):
        block = f"blocks.{i}"
        shapes |= {f"{block}.norm1.gamma": (d,), f"{block}.norm2.gamma": (d,)}
        shapes |= {f"{block}.attn.W_Q": (d, d), f"{block}.attn.W_O": (d, d)}
        shapes |= {f"{block}.attn.W_K": (d, kv), f"{block}.attn.W_V": (d, kv)}
        shapes |= {f"{block}.ffn.W1": (d, wide), f"{block}.ffn.W3": (d, wide)}
        shapes |= {f"{block}.ffn.W2": (wide, d)}
    return {
        name: rng.normal(len(shape) == 1, 0.3, shape).astype(np.float16)
        for name, shape in shapes.items()
    }


def write_glass(path: Path, tensors: dict, config: object = GLASS) -> Path:
    np.savez_compressed(path, __config__=np.array(json.dumps(config)), **tensors)
    return path


def adjacent(weight: np.ndarray, heads: int) -> np.ndarray:
    """Reorder the rows of each head as converters to GGUF do: 0, n/2, 1, n/2 + 1, …"""
    order = np.arange(len(weight)).reshape(heads, 2, -1).transpose(0, 2, 1).ravel()
    return weight[order]


def to_gguf(name: str) -> str:
    parts = name.split(".")
    kind = parts.pop()
    layer = f"blk.{parts[2]}." if parts[1:2] == ["layers"] else ""
    return f"{layer}{TO_GGUF['.'.join(parts[3:] if layer else parts)]}.{kind}"


def write_gguf(
    path: Path,
    tensors: dict,
    config: dict = LLAMA,
    *,
    kind: str = "llama",
    changes: dict | None = None,
    stored: dict | None = None,
    vocabulary: dict | None = None,
    endian: gguf.GGUFEndian = gguf.GGUFEndian.LITTLE,
) -> Path:
    """Write tensors in Hugging Face's names and order.

    `changes` has values of further keys (None takes a key away), `stored` the type of tensors by
    their GGUF name, and `vocabulary` the values behind `tokenizer.ggml.`.
    """
    values = {
        "context_length": config["max_position_embeddings"],
        "embedding_length": config["hidden_size"],
        "block_count": config["num_hidden_layers"],
        "feed_forward_length": config["intermediate_size"],
        "attention.head_count": config["num_attention_heads"],
        "attention.head_count_kv": config["num_key_value_heads"],
        "attention.key_length": config["head_dim"],
        "attention.value_length": config["head_dim"],
        "attention.layer_norm_rms_epsilon": float(config["rms_norm_eps"]),
        "rope.dimension_count": config["head_dim"],
        "rope.freq_base": float(config["rope_theta"]),
        **(changes or {}),
    }
    writer = gguf.GGUFWriter(path, kind, endianess=endian)
    add = {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
    add |= {bool: writer.add_bool, list: writer.add_array}
    for key, value in values.items():
        if value is not None:
            add[type(value)](f"{kind}.{key}", value)
    for key, value in (vocabulary or {}).items():
        add[type(value)](f"tokenizer.ggml.{key}", value)
    for name, tensor in tensors.items():
        if kind == "llama" and ".q_proj" in name:
            tensor = adjacent(tensor, config["num_attention_heads"])
        if kind == "llama" and ".k_proj" in name:
            tensor = adjacent(tensor, config["num_key_value_heads"])
        target = to_gguf(name)
        form = (stored or {}).get(target, gguf.GGMLQuantizationType.F32)
        if isinstance(form, tuple):  # raw bytes of a type that the package cannot write
            form, raw = form
            writer.add_tensor(target, raw, raw_dtype=form)
        elif form == gguf.GGMLQuantizationType.F32:
            writer.add_tensor(target, tensor)
        else:
            writer.add_tensor(target, gguf.quants.quantize(tensor, form), raw_dtype=form)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
