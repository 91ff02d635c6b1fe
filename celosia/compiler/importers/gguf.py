"""Decoders in GGUF files, by the package `gguf`.

Weights may be quantised in any way that the package can undo. The converters of these files
reorder the rows of q and k in LLaMA's layers so that rotary positions turn adjacent elements; in
Qwen2's they keep the halves.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from celosia.compiler.decoder import Decoder, Rope
from celosia.compiler.importers.decoder_parts import Sizes, build_decoder
from celosia.compiler.importers.source import Entry, Source, optional
from celosia.errors import ModelError

__all__ = ["import_gguf", "open_gguf", "read_gguf"]

LAYOUTS: dict[str, Literal["half", "adjacent"]] = {"llama": "adjacent", "qwen2": "half"}
"""How each architecture's rotary positions pair the elements of a head."""

BLOCK = "blk.{i}"
NAMES = {
    "embedding": "token_embd.weight",
    "norm1": f"{BLOCK}.attn_norm.weight",
    "q": f"{BLOCK}.attn_q.weight",
    "k": f"{BLOCK}.attn_k.weight",
    "v": f"{BLOCK}.attn_v.weight",
    "o": f"{BLOCK}.attn_output.weight",
    "norm2": f"{BLOCK}.ffn_norm.weight",
    **{part: f"{BLOCK}.ffn_{part}.weight" for part in ("gate", "up", "down")},
    "final_norm": "output_norm.weight",
    "head": "output.weight",
}


def read_gguf(path: Path, wanted: Callable[[str], bool]) -> tuple[Any, dict[str, Any]]:
    """Return the package's reader of a file, and those of its values whose keys are wanted."""
    gguf = optional("gguf", path)
    try:
        reader = gguf.GGUFReader(path)
        values = {key: field.contents() for key, field in reader.fields.items() if wanted(key)}
    except Exception as error:  # the package raises whatever the bytes lead to
        raise ModelError(
            f"{path}: truncated or not GGUF ({error}); the file has {path.stat().st_size} bytes; "
            "copy it again, or convert it with a type that the package gguf knows"
        ) from None
    return reader, values


def open_gguf(name: str, path: Path) -> Source:
    """Open a GGUF file."""
    reader, config = read_gguf(path, lambda key: not key.startswith("tokenizer."))
    if reader.byte_order != "I":
        raise ModelError(f"{path}: is big-endian; convert it to little-endian")
    entries = {
        tensor.name: Entry(
            tuple(int(side) for side in reversed(tensor.shape)), partial(floats, path, tensor)
        )
        for tensor in reader.tensors
    }
    return Source(name, path, entries, path, config)


def floats(path: Path, tensor: Any) -> np.ndarray:
    """Undo the quantisation of a tensor."""
    try:
        return optional("gguf.quants", path).dequantize(tensor.data, tensor.tensor_type)
    except NotImplementedError:
        raise ModelError(
            f"{path}: tensor {tensor.name!r} is stored as {tensor.tensor_type.name}, which the "
            "package gguf cannot turn into floats; convert the file to F16, or to Q8_0"
        ) from None


def import_gguf(source: Source) -> Decoder:
    """Build the graph of a GGUF checkpoint; without a head of its own it is tied."""
    kind = source.value("general.architecture")
    if kind not in LAYOUTS:
        raise ModelError(
            f"{source.weights}: architecture {kind!r} is not supported: no importer reads its "
            f"layers; supported are {', '.join(LAYOUTS)}"
        )
    hidden = source.integer(f"{kind}.embedding_length")
    heads = source.integer(f"{kind}.attention.head_count")
    if hidden % heads and f"{kind}.attention.key_length" not in source.config:
        raise ModelError(
            f"{source.weights}: {kind}.embedding_length {hidden} must be a multiple of "
            f"{kind}.attention.head_count {heads}, or {kind}.attention.key_length must be given"
        )
    head_dim = source.integer(f"{kind}.attention.key_length", max(1, hidden // heads))
    context = source.integer(f"{kind}.context_length")
    refuse_variants(source, kind, head_dim, context)
    vocabulary = source.shape(NAMES["embedding"])[0]
    decoder = build_decoder(
        source,
        NAMES,
        Sizes(
            hidden=hidden,
            layers=source.integer(f"{kind}.block_count"),
            heads=heads,
            kv_heads=source.integer(f"{kind}.attention.head_count_kv", heads),
            head_dim=head_dim,
            intermediate=source.integer(f"{kind}.feed_forward_length"),
            vocabulary=source.integer(f"{kind}.vocab_size", vocabulary),
            context=context,
            eps=source.number(f"{kind}.attention.layer_norm_rms_epsilon"),
            activation="silu",
            rope=rope(source, kind),
            tied=NAMES["head"] not in source,
            biases=biases(source),
        ),
    )
    source.demand_all_used(())
    return decoder


def biases(source: Source) -> frozenset[str]:
    """Return the parts of which the first layer has a bias; the others must have it too."""
    parts = ("q", "k", "v", "o", "gate", "up", "down")
    named = {part: NAMES[part].format(i=0).removesuffix("weight") + "bias" for part in parts}
    return frozenset(part for part, name in named.items() if name in source)


def rope(source: Source, kind: str) -> Rope:
    """Return the rotary positions."""
    key = f"{kind}.rope.freq_base"
    return Rope(base=source.base(key, source.value(key, 10000.0)), layout=LAYOUTS[kind])


def refuse_variants(source: Source, kind: str, head_dim: int, context: int) -> None:
    """Refuse what the architecture's name does not tell: scaled positions, experts, windows."""
    source.demand(f"{kind}.rope.scaling.type", "none", "positions are not scaled")
    source.demand(f"{kind}.rope.scale_linear", 1.0, "positions are not scaled")
    source.demand(f"{kind}.rope.dimension_count", head_dim, "whole heads are turned")
    source.demand(f"{kind}.attention.value_length", head_dim, "keys and values are of one width")
    source.demand(f"{kind}.expert_count", 0, "a layer has one feed-forward part")
    window = source.config.get(f"{kind}.attention.sliding_window")
    if window and window < context:
        raise ModelError(
            f"{source.weights}: {kind}.attention.sliding_window = {window} is not supported, for "
            f"it is less than {kind}.context_length = {context}"
        )
