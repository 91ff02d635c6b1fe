"""A compiled program on disk: a directory with a manifest, the memory image and host arrays.

`manifest.json` says what the rest is, `image.bin` is what the program finds in memory (at the start
of the window, or in a flash from `flash_offset` on), and `host.safetensors` holds the arrays that
the host itself needs, such as embeddings.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from celosia import isa
from celosia.atomic import atomic_directory
from celosia.config import MachineConfig
from celosia.errors import ConfigError, ProgramError

__all__ = ["FORMAT", "Program", "Section", "Tensor"]

#: Version of the directory's layout.
FORMAT = 1
MANIFEST, IMAGE, HOST = "manifest.json", "image.bin", "host.safetensors"

T = TypeVar("T")


@dataclass(frozen=True)
class Section:
    """A named run of bytes in the window; it may lie beyond the image, where memory is free."""

    name: str
    address: int
    bytes: int


@dataclass(frozen=True)
class Tensor:
    """Rows in the window that the host writes before a run or reads after it.

    Parameters
    ----------
    name : str
        What it is.
    address, pitch : int
        Byte offset of the first row, and bytes from one row to the next.
    rows, columns : int
        Shape.
    scale : float or tuple of float
        Real value of one step; several are one for each column.
    dtype : str
        "int8" or "int16".
    """

    name: str
    address: int
    pitch: int
    rows: int
    columns: int
    scale: float | tuple[float, ...]
    dtype: str = "int16"

    def __post_init__(self) -> None:
        if self.dtype not in ("int8", "int16"):
            raise ProgramError(f'tensor {self.name}: dtype must be "int8" or "int16"')
        if isinstance(self.scale, list):
            object.__setattr__(self, "scale", tuple(self.scale))
        if isinstance(self.scale, tuple) and len(self.scale) != self.columns:
            raise ProgramError(
                f"tensor {self.name}: scale must be one number or {self.columns}, "
                f"not {len(self.scale)}"
            )

    @property
    def end(self) -> int:
        """Byte offset after the last row."""
        row = self.columns * np.dtype(self.dtype).itemsize
        return self.address + (self.rows - 1) * self.pitch + row


@dataclass(frozen=True, kw_only=True)
class Program:
    """Everything that a device needs to run a model.

    Parameters
    ----------
    config : MachineConfig
        The machine it was made for.
    model : str
        Name of the model.
    image : bytes
        Memory from `base` on: instructions, weights, parameters.
    sections : tuple of Section
        What lies where; none overlap.
    inputs, outputs : tuple of Tensor
        What the host writes and reads; each lies in one section.
    tokens : int
        Tokens (rows of the sequence) per run.
    entry : int
        Byte offset of the first instruction.
    host : mapping of str to array
        Arrays for the host.
    extra : mapping
        Anything else that JSON can hold.

    Raises
    ------
    ProgramError
        If sections overlap, or something lies outside all of them.
    """

    config: MachineConfig
    model: str
    image: bytes
    sections: tuple[Section, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    tokens: int
    entry: int = 0
    host: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ordered = sorted(self.sections, key=lambda section: section.address)
        for before, after in pairwise(ordered):
            if before.address + before.bytes > after.address:
                raise ProgramError(f"section {after.name} overlaps section {before.name}")
        for tensor in (*self.inputs, *self.outputs):
            if not any(
                section.address <= tensor.address and tensor.end <= section.address + section.bytes
                for section in self.sections
            ):
                raise ProgramError(f"tensor {tensor.name} does not lie in one section")
        if not 0 <= self.entry - self.base <= len(self.image) - isa.INSTRUCTION_BYTES:
            raise ProgramError(f"entry {self.entry:#x} lies outside the image")

    @property
    def base(self) -> int:
        """Address of the image."""
        return self.config.flash_base

    @property
    def code(self) -> bytes:
        """The image from the first instruction on."""
        return self.image[self.entry - self.base :]

    @property
    def window_bytes(self) -> int:
        """Bytes of memory that a run needs, the image included."""
        ends = [section.address + section.bytes for section in self.sections]
        return max([self.base + len(self.image), *ends])

    def memory(self, size: int | None = None) -> NDArray[np.uint8]:
        """Return the window as a run finds it, the image and zeros: `size` bytes, or all needed."""
        found = np.zeros(self.window_bytes if size is None else size, np.uint8)
        found[self.base : self.base + len(self.image)] = np.frombuffer(self.image, np.uint8)
        return found

    def section(self, name: str) -> Section:
        """Return the section called `name`.

        Raises
        ------
        ProgramError
            If there is none.
        """
        for section in self.sections:
            if section.name == name:
                return section
        names = ", ".join(section.name for section in self.sections)
        raise ProgramError(f"{self.model}: no section {name!r}; there are {names or 'none'}")

    def check_config(self, config: MachineConfig) -> None:
        """Check that `config` is the machine the program was made for; names do not matter.

        Raises
        ------
        ProgramError
            If a parameter differs.
        """
        given = config.to_dict()
        for name, expected in self.config.to_dict().items():
            if name != "name" and given[name] != expected:
                raise ProgramError(
                    f"{self.model}: made for a machine with {name} = {expected!r}, not "
                    f"{given[name]!r}; compile it for configuration {config.name!r}"
                )

    def save(self, path: Path | str) -> None:
        """Write the directory `path`, as a whole or not at all.

        Raises
        ------
        CelosiaError
            If it cannot be written, or holds files of another origin.
        """
        files = {
            IMAGE: self.image,
            HOST: safetensors.save({k: np.ascontiguousarray(v) for k, v in self.host.items()}),
        }
        manifest = {
            "format": FORMAT,
            "isa": isa.VERSION,
            "model": self.model,
            "config": self.config.to_dict(),
            "digest": self.config.digest().hex(),
            "tokens": self.tokens,
            "entry": self.entry,
            "sections": [asdict(section) for section in self.sections],
            "inputs": [asdict(tensor) for tensor in self.inputs],
            "outputs": [asdict(tensor) for tensor in self.outputs],
            "sha256": {name: sha256(data).hexdigest() for name, data in files.items()},
            "extra": dict(self.extra),
        }
        text = json.dumps(manifest, indent=2, allow_nan=False) + "\n"
        with atomic_directory(path) as folder:
            for name, data in files.items():
                (folder / name).write_bytes(data)
            (folder / MANIFEST).write_text(text)

    @classmethod
    def load(cls, path: Path | str) -> "Program":
        """Read the directory `path`.

        Raises
        ------
        ProgramError
            If a file is missing, corrupt, or of another version.
        """
        path = Path(path)
        manifest = _manifest(path / MANIFEST)
        checksums = _entry(path, manifest, "sha256", dict)
        image, host = (_checked(path / name, checksums.get(name)) for name in (IMAGE, HOST))
        try:
            arrays = safetensors.load(host)
        except SafetensorError as error:
            raise ProgramError(f"{path / HOST}: cannot be read: {error}") from error
        parts: dict[str, Any] = {
            "config": _config(path, manifest),
            "sections": _records(path, manifest, "sections", Section),
            "inputs": _records(path, manifest, "inputs", Tensor),
            "outputs": _records(path, manifest, "outputs", Tensor),
        }
        for key, kind in (("model", str), ("tokens", int), ("entry", int), ("extra", dict)):
            parts[key] = _entry(path, manifest, key, kind)
        try:
            return cls(image=image, host=arrays, **parts)
        except ProgramError as error:
            raise ProgramError(f"{path / MANIFEST}: {error}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ProgramError(
            f"{path}: missing; a program is a directory that `celosia compile` wrote"
        ) from error
    except OSError as error:
        raise ProgramError(f"{path}: cannot be read: {error.strerror}") from error


def _checked(path: Path, checksum: object) -> bytes:
    data = _read(path)
    if sha256(data).hexdigest() != checksum:
        raise ProgramError(f"{path}: corrupt, its checksum is not the manifest's; compile it again")
    return data


def _manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(_read(path))
    except ValueError as error:
        raise ProgramError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(manifest, dict):
        raise ProgramError(f"{path}: must hold an object, not a {type(manifest).__name__}")
    for key, known, what in (
        ("format", FORMAT, "program format"),
        ("isa", isa.VERSION, "instruction set"),
    ):
        if manifest.get(key) != known:
            raise ProgramError(
                f"{path}: {what} version must be {known}, not {manifest.get(key)!r}; "
                "compile the model again"
            )
    return manifest


def _entry(path: Path, manifest: dict[str, Any], key: str, kind: Callable[..., T]) -> T:
    if type(manifest.get(key)) is not kind:
        raise ProgramError(f"{path / MANIFEST}: {key} is missing or of the wrong kind")
    return manifest[key]


def _records(
    path: Path, manifest: dict[str, Any], key: str, record: Callable[..., T]
) -> tuple[T, ...]:
    entries = _entry(path, manifest, key, list)
    try:
        return tuple(record(**values) for values in entries)
    except (TypeError, ProgramError) as error:
        raise ProgramError(f"{path / MANIFEST}: {key}: {error}") from error


def _config(path: Path, manifest: dict[str, Any]) -> MachineConfig:
    values = _entry(path, manifest, "config", dict)
    try:
        config = MachineConfig(**values)
    except (TypeError, ConfigError) as error:
        raise ProgramError(f"{path / MANIFEST}: config: {error}") from error
    if config.digest().hex() != manifest.get("digest"):
        raise ProgramError(
            f"{path / MANIFEST}: digest must be {config.digest().hex()}, that of "
            f"config, not {manifest.get('digest')!r}"
        )
    return config
