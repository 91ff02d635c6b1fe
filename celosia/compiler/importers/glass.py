"""Decoders of the package glassllm: an npz with its configuration inside.

Matrices are stored (in, out), the head is the embedding, and rotary positions turn adjacent
elements. The width of the feed-forward part is that of its tensors.
"""

import json
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np

from celosia.compiler.decoder import Decoder, Rope
from celosia.compiler.importers.decoder_parts import Sizes, build_decoder
from celosia.compiler.importers.source import Entry, Source
from celosia.errors import ModelError

__all__ = ["import_glass", "open_npz"]

CONFIG = "__config__"
BLOCK = "blocks.{i}"
NAMES = {
    "embedding": "E",
    "norm1": f"{BLOCK}.norm1.gamma",
    **{part: f"{BLOCK}.attn.W_{part.upper()}" for part in ("q", "k", "v", "o")},
    "norm2": f"{BLOCK}.norm2.gamma",
    "gate": f"{BLOCK}.ffn.W1",
    "up": f"{BLOCK}.ffn.W3",
    "down": f"{BLOCK}.ffn.W2",
    "final_norm": "norm_f.gamma",
}


def open_npz(name: str, path: Path) -> Source:
    """Open an npz, all of it at once: it is compressed."""
    try:
        with np.load(BytesIO(path.read_bytes()), allow_pickle=False) as data:
            arrays = {key: data[key] for key in data.files}
    except Exception as error:  # NumPy, zipfile and zlib each have their own
        raise ModelError(
            f"{path}: truncated or not an npz ({error}); the file has {path.stat().st_size} "
            "bytes; copy it again"
        ) from None
    if CONFIG not in arrays:
        raise ModelError(
            f"{path}: {CONFIG} is missing; of npz files only those of glassllm are supported"
        )
    try:
        config = json.loads(str(arrays.pop(CONFIG)))
    except json.JSONDecodeError as error:
        raise ModelError(f"{path}: {CONFIG} is not readable as JSON: {error}") from None
    if not isinstance(config, dict):
        raise ModelError(f"{path}: {CONFIG} must hold a JSON object, not {type(config).__name__}")
    entries = {
        key: Entry(array.shape, partial(floats, path, key, array)) for key, array in arrays.items()
    }
    return Source(name, path, entries, path, config)


def floats(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    """Return an array, which must be of floats."""
    if array.dtype.kind != "f":
        raise ModelError(
            f"{path}: tensor {name!r} is stored as {array.dtype}; weights must be floats"
        )
    return array


def import_glass(source: Source) -> Decoder:
    """Build the graph of a glassllm checkpoint."""
    hidden, heads = source.integer("d_model"), source.integer("n_heads")
    if hidden % heads:
        raise ModelError(
            f"{source.config_path}: d_model {hidden} must be a multiple of n_heads {heads}"
        )
    gate = source.shape(NAMES["gate"].format(i=0))
    decoder = build_decoder(
        source,
        NAMES,
        Sizes(
            hidden=hidden,
            layers=source.integer("n_layers"),
            heads=heads,
            kv_heads=source.integer("n_kv_heads"),
            head_dim=hidden // heads,
            intermediate=gate[-1] if gate else 0,
            vocabulary=source.integer("vocab_size"),
            context=source.integer("max_len"),
            eps=source.number("eps"),
            activation="silu",
            rope=Rope(base=source.base("rope_base", source.value("rope_base")), layout="adjacent"),
            tied=True,
            transposed=True,
        ),
    )
    source.demand_all_used(())
    return decoder
