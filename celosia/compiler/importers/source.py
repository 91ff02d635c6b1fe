"""A checkpoint on disk, whatever its format: read with every doubt spoken out."""

import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from celosia.errors import ModelError

__all__ = ["Entry", "Source", "optional", "read_json"]

LARGEST = 1 << 20  # of any size in a configuration: more is a mistake, not a model


@dataclass(frozen=True)
class Entry:
    """One tensor as it is stored: its shape, and how to read it as floats of any width."""

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


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


def optional(package: str, path: Path) -> Any:
    """Import a package that only some files need, such as `path`."""
    try:
        return importlib.import_module(package)
    except ImportError:
        raise ModelError(
            f"{path}: needs the package {package}; run `pip install {package}`"
        ) from None


class Source:
    """A checkpoint: its configuration and its tensors, each checked as it is asked for.

    Parameters
    ----------
    name : str
        What the user calls the model.
    weights : Path
        The file that has the tensors.
    entries : mapping of str to Entry
        The tensors by name.
    config_path : Path
        The file that has the configuration; it may be `weights`.
    config : dict
        The configuration.
    """

    def __init__(
        self,
        name: str,
        weights: Path,
        entries: Mapping[str, Entry],
        config_path: Path,
        config: dict[str, Any],
    ) -> None:
        self.name = name
        self.weights = weights
        self.directory = config_path.parent
        self.entries = entries
        self.config_path = config_path
        self.config = config
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
        with np.errstate(over="ignore"):  # becomes infinite, which is refused
            values = self.entries[name].read().astype(np.float32, order="C").reshape(shape)
        wrong = ~np.isfinite(values)
        if wrong.any():
            first = [int(n) for n in np.argwhere(wrong)[0]]
            raise ModelError(
                f"{self.weights}: tensor {name!r} holds {wrong.sum()} NaN or infinite values, "
                f"the first at {first}; weights must be finite in float32"
            )
        return values

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

    def number(self, key: str, default: float | None = None) -> float:
        """Return a positive number from the configuration, less than 1."""
        value = self.value(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
            raise ModelError(f"{self.config_path}: {key} must be between 0 and 1, not {value!r}")
        return float(value)

    def base(self, key: str, value: object) -> float:
        """Check that `value`, given by `key`, is a base: finite and more than 1."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not 1 < value < 1e300:
            raise ModelError(
                f"{self.config_path}: {key} must be finite and more than 1, not {value!r}"
            )
        return float(value)

    def demand(self, key: str, wanted: object, why: str) -> None:
        """Refuse a configuration whose `key` is there and is not `wanted`."""
        given = self.config.get(key, wanted)
        if given != wanted:
            raise ModelError(
                f"{self.config_path}: {key} = {given!r} is not supported: {why}; "
                f"it must be {wanted!r}"
            )
