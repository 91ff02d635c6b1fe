"""Checkpoints in the layout of Hugging Face: model.safetensors beside config.json."""

from functools import partial
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, deserialize

from celosia.compiler.importers.source import Entry, Source, read_json
from celosia.errors import ModelError

__all__ = ["open_safetensors"]

FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}


def open_safetensors(name: str, path: Path) -> Source:
    """Open a safetensors file with config.json beside it."""
    config_path = path.parent / "config.json"
    config = read_json(config_path)
    try:
        tensors = deserialize(path.read_bytes())
    except SafetensorError as error:
        raise ModelError(
            f"{path}: truncated or not safetensors ({error}); the file has "
            f"{path.stat().st_size} bytes; copy it again"
        ) from None
    entries = {
        tensor: Entry(tuple(stored["shape"]), partial(decode, path, tensor, stored))
        for tensor, stored in tensors
    }
    return Source(name, path, entries, config_path, config)


def decode(path: Path, name: str, stored: dict) -> np.ndarray:
    """Turn the bytes of a tensor into floats."""
    dtype, data = stored["dtype"], stored["data"]
    if dtype == "BF16":  # unknown to NumPy: the upper half of a float32
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    if dtype not in FLOATS:
        raise ModelError(
            f"{path}: tensor {name!r} is stored as {dtype}; weights must be F32, F16, BF16 or F64"
        )
    return np.frombuffer(data, FLOATS[dtype])
