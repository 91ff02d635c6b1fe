"""One module per family of models or format of files; each turns a source into a graph."""

from collections.abc import Callable
from pathlib import Path

from celosia.compiler.decoder import Decoder
from celosia.compiler.graph import Encoder
from celosia.compiler.importers import bert, gguf, glass, llama, vit
from celosia.compiler.importers.gguf import open_gguf
from celosia.compiler.importers.glass import open_npz
from celosia.compiler.importers.onnx import open_onnx
from celosia.compiler.importers.safetensors import open_safetensors
from celosia.compiler.importers.source import Source
from celosia.errors import ModelError

__all__ = ["FORMATS", "IMPORTERS", "import_model"]

IMPORTERS: dict[str, tuple[tuple[str, ...], Callable[[Source], Encoder | Decoder]]] = {
    "bert": (bert.ARCHITECTURES, bert.import_bert),
    "vit": (vit.ARCHITECTURES, vit.import_vit),
    "llama": (llama.ARCHITECTURES, llama.import_llama),
}
"""Architectures and importer of each `model_type` of a config.json."""


def import_architecture(source: Source) -> Encoder | Decoder:
    """Build the graph of a checkpoint whose config.json names its architecture."""
    architectures = source.value("architectures")
    if not (
        isinstance(architectures, list) and architectures and isinstance(architectures[0], str)
    ):
        raise ModelError(
            f"{source.config_path}: architectures must be a list of names, not {architectures!r}"
        )
    for known, importer in IMPORTERS.values():
        if architectures[0] in known:
            return importer(source)
    supported = ", ".join(name for known, _ in IMPORTERS.values() for name in known)
    raise ModelError(
        f"{source.config_path}: architecture {architectures[0]!r} is not supported: "
        f"no importer reads its layers; supported are {supported}"
    )


FORMATS: dict[str, tuple[Callable[[str, Path], Source], Callable[[Source], Encoder | Decoder]]] = {
    ".safetensors": (open_safetensors, import_architecture),
    ".onnx": (open_onnx, import_architecture),
    ".gguf": (open_gguf, gguf.import_gguf),
    ".npz": (open_npz, glass.import_glass),
}
"""How a file with each suffix is opened and imported."""


def import_model(name: str, path: Path) -> Encoder | Decoder:
    """Build the graph of a checkpoint, or say why it cannot be built.

    Parameters
    ----------
    name : str
        What the user calls it; that of the file, or of the folder it lies in, if empty.
    path : Path
        A file, or a folder that has one.
    """
    weights = find_weights(path)
    if not name:
        folder = weights.resolve().parent
        name = weights.stem if weights.suffix in (".gguf", ".npz") else folder.name
    opened, imported = FORMATS[weights.suffix]
    return imported(opened(name, weights))


def find_weights(path: Path) -> Path:
    """Return the file of weights meant by a folder or a file."""
    if path.is_file():
        if path.suffix not in FORMATS:
            raise ModelError(
                f"{path}: must be a .safetensors file or a directory that has one, or a file of "
                f"{', '.join(suffix for suffix in FORMATS if suffix != '.safetensors')}"
            )
        return path
    usual = path / "model.safetensors"
    for weights in (usual, path / "model.onnx"):
        if weights.is_file():
            return weights
    others = sorted(path.glob("*.gguf"))
    if len(others) == 1:
        return others[0]
    hint = ""
    if others:
        hint = f"; name one of {', '.join(file.name for file in others)}"
    elif (path / "model.safetensors.index.json").is_file():
        hint = "; it is split into shards: save it as one file"
    elif (path / "pytorch_model.bin").is_file():
        hint = "; convert pytorch_model.bin to safetensors"
    raise ModelError(f"{usual}: file is missing{hint}")
