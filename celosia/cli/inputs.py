"""What a program runs on: digits, texts, files; and what the model says, beside the float model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from celosia.compiler.graph import Encoder
from celosia.compiler.program import Program
from celosia.errors import CelosiaError, ModelError

__all__ = ["DatasetOption", "InputOption", "LimitOption", "Sample", "choose_samples", "reference"]

InputOption = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="TEXT|FILE.npy",
        help="A text, or a NumPy file with an image or token ids; may be given several times.",
    ),
]
DatasetOption = Annotated[
    str | None,
    typer.Option("--dataset", metavar="NAME", help="Run on a data set: digits, the held-out ones."),
]
LimitOption = Annotated[
    int | None, typer.Option("--limit", metavar="N", min=1, help="Only the first N inputs.")
]

#: Digits of a program that is given no input.
DEFAULT_DIGITS = 4


@dataclass(frozen=True)
class Sample:
    """One input.

    Attributes
    ----------
    name : str
        For people.
    values : ndarray
        Token ids, or an image.
    label : str or None
        What a classifier should say, if it is known.
    """

    name: str
    values: NDArray[np.generic]
    label: str | None = None


def choose_samples(
    program: Program, inputs: Sequence[str] | None, dataset: str | None, limit: int | None
) -> list[Sample]:
    """Return what the options ask for; without any, a few digits or a text of the right length.

    Raises
    ------
    CelosiaError
        If the data set is unknown, a file cannot be read, or an input does not fit.
    """
    if inputs and dataset:
        raise CelosiaError("--input and --dataset exclude each other; give one of them")
    if inputs:
        samples = [_sample(program, text) for text in inputs]
    elif dataset == "digits" or (dataset is None and _takes_digits(program)):
        samples = _digits(program)[: limit or (None if dataset else DEFAULT_DIGITS)]
    elif dataset is not None:
        raise CelosiaError(f"data set {dataset!r} is not known; known: digits")
    elif program.extra.get("family") == "bert":
        samples = [_any_tokens(program)]
    else:
        raise CelosiaError(f"{program.model}: give an --input, a NumPy file with an image")
    return samples[:limit]


def _takes_digits(program: Program) -> bool:
    patches = program.extra.get("patches", {})
    return patches.get("image_size") == [8, 8] and patches.get("channels") == 1


def _digits(program: Program) -> list[Sample]:
    from celosia.compiler.datasets import digits_heldout

    if not _takes_digits(program):
        raise CelosiaError(
            f"{program.model}: does not take the digits, images of 8x8 pixels; give an --input"
        )
    images, labels = digits_heldout()
    return [
        Sample(f"digit {index}", image, str(label))
        for index, (image, label) in enumerate(zip(images, labels, strict=True))
    ]


def _any_tokens(program: Program) -> Sample:
    """Token ids that the model knows, as many as the program takes."""
    words = len(program.host["words"])
    ids = np.random.default_rng(0).integers(0, words, program.tokens)
    return Sample(f"{program.tokens} random tokens", ids)


def _sample(program: Program, text: str) -> Sample:
    if text.endswith(".npy"):
        return Sample(text, _load(Path(text)))
    if program.extra.get("family") != "bert":
        raise CelosiaError(
            f"{program.model}: takes images; --input must be a .npy file, not {text!r}"
        )
    from celosia.compiler.tokens import load_tokenizer

    ids = load_tokenizer(_source(program)).encode(text)
    if len(ids) != program.tokens:
        raise ModelError(
            f"input: {text!r} has {len(ids)} tokens, the program takes {program.tokens}; "
            f"compile it with --tokens {len(ids)}"
        )
    return Sample(text, ids)


def _load(path: Path) -> NDArray[np.generic]:
    try:
        values = np.load(path, allow_pickle=False)
    except OSError as error:
        raise CelosiaError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise CelosiaError(f"{path}: not a NumPy array: {error}") from error
    if not isinstance(values, np.ndarray):
        raise CelosiaError(f"{path}: must hold one array (.npy), not several")
    return values


def _source(program: Program) -> str:
    return str(program.extra.get("source", program.model))


def reference(program: Program) -> Encoder | None:
    """Return the float model that a program was compiled from, or None if it is not there."""
    from celosia.compiler.checkpoint import load_encoder

    try:
        return load_encoder(_source(program))
    except ModelError:
        return None
