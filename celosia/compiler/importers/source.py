"""A checkpoint on disk: safetensors and JSON, read with every doubt spoken out."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, deserialize

from celosia.errors import ModelError

__all__ = ["Source", "read_json"]

FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
LARGEST = 1 << 20  # of any size in a configuration: more is a mistake, not a model


@dataclass(frozen=True)
class Entry:
    """One tensor as it is stored."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object, or say what is wrong with the file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path}: file is missing") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(f"{path}: not readable as JSON: {error}") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path}: must hold a JSON object, not {type(value).__name__}")
    return value


def read_tensors(path: Path) -> dict[str, Entry]:
    """Read the tensors of a safetensors file, as bytes."""
    try:
        tensors = deserialize(path.read_bytes())
    except SafetensorError as error:
        raise ModelError(
            f"{path}: truncated or not safetensors ({error}); the file has "
            f"{path.stat().st_size} bytes; copy it again"
        ) from None
    return {
        name: Entry(tensor["dtype"], tuple(tensor["shape"]), tensor["data"])
        for name, tensor in tensors
    }


def find_weights(path: Path) -> Path:
    """Return the safetensors file meant by a directory or a file."""
    if path.is_file():
        if path.suffix != ".safetensors":
            raise ModelError(f"{path}: must be a .safetensors file or a directory that has one")
        return path
    weights = path / "model.safetensors"
    if weights.is_file():
        return weights
    hint = ""
    if (path / "model.safetensors.index.json").is_file():
        hint = "; it is split into shards: save it as one file"
    elif (path / "pytorch_model.bin").is_file():
        hint = "; convert pytorch_model.bin to safetensors"
    raise ModelError(f"{weights}: file is missing{hint}")


class Source:
    """A checkpoint: its configuration and its tensors, each checked as it is asked for.

    Parameters
    ----------
    name : str
        What the user calls the model.
    path : Path
        A directory with model.safetensors and config.json, or a safetensors file with
        config.json beside it.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.weights = find_weights(path)
        self.directory = self.weights.parent
        self.config_path = self.directory / "config.json"
        self.config = read_json(self.config_path)
        self.entries = read_tensors(self.weights)
        self.asked: set[str] = set()

    def __contains__(self, name: str) -> bool:
        """Tell whether the file has a tensor of that name."""
        return name in self.entries

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape; it must be there."""
        if name not in self.entries:
            raise ModelError(
                f"{self.weights}: tensor {name!r} is missing; the file has {len(self.entries)} "
                f"others, and {self.config_path.name} asks for it"
            )
        return self.entries[name].shape

    def tensor(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Read a tensor as float32, which must have that shape and be finite."""
        if self.shape(name) != shape:
            raise ModelError(
                f"{self.weights}: tensor {name!r} has shape {self.shape(name)}, but "
                f"{self.config_path.name} makes it {shape}"
            )
        self.asked.add(name)
        values = self.read(name)
        wrong = ~np.isfinite(values)
        if wrong.any():
            first = [int(n) for n in np.argwhere(wrong)[0]]
            raise ModelError(
                f"{self.weights}: tensor {name!r} holds {wrong.sum()} NaN or infinite values, "
                f"the first at {first}; weights must be finite in float32"
            )
        return values

    def read(self, name: str) -> np.ndarray:
        """Read a tensor as float32, whatever it holds."""
        entry = self.entries[name]
        if entry.dtype != "BF16" and entry.dtype not in FLOATS:
            raise ModelError(
                f"{self.weights}: tensor {name!r} is stored as {entry.dtype}; weights must be "
                "F32, F16, BF16 or F64"
            )
        if entry.dtype == "BF16":  # unknown to NumPy: the upper half of a float32
            values = (np.frombuffer(entry.data, "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            with np.errstate(over="ignore"):  # becomes infinite, which is refused above
                values = np.frombuffer(entry.data, FLOATS[entry.dtype]).astype(np.float32)
        return values.reshape(entry.shape)

    def demand_all_used(self, ignored: tuple[str, ...]) -> None:
        """Refuse tensors nobody asked for, unless their names start like one of `ignored`."""
        left = sorted(
            name for name in self.entries if name not in self.asked and not name.startswith(ignored)
        )
        if left:
            raise ModelError(
                f"{self.weights}: unsupported layer: tensor {left[0]!r} ({len(left)} in all) "
                f"belongs to nothing that {self.config_path.name} describes or this importer knows"
            )

    def value(self, key: str, default: Any = None) -> Any:
        """Return a value of the configuration, which must be there or have a default."""
        value = self.config.get(key, default)
        if value is None:
            raise ModelError(f"{self.config_path}: key {key!r} is missing")
        return value

    def integer(self, key: str, default: int | None = None) -> int:
        """Return a size from the configuration, 1 or more."""
        return self.positive_integer(key, self.value(key, default))

    def positive_integer(self, key: str, value: object) -> int:
        """Check that `value`, given by `key`, is a sensible size."""
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST:
            raise ModelError(
                f"{self.config_path}: {key} must be an integer from 1 to {LARGEST}, not {value!r}"
            )
        return value

    def number(self, key: str) -> float:
        """Return a positive number from the configuration."""
        value = self.value(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
            raise ModelError(f"{self.config_path}: {key} must be between 0 and 1, not {value!r}")
        return float(value)

    def demand(self, key: str, wanted: object, why: str) -> None:
        """Refuse a configuration whose `key` is there and is not `wanted`."""
        given = self.config.get(key, wanted)
        if given != wanted:
            raise ModelError(
                f"{self.config_path}: {key} = {given!r} is not supported: {why}; "
                f"it must be {wanted!r}"
            )
