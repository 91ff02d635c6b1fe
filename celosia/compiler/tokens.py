"""Text to token ids, with the tokenizer that lies beside a BERT checkpoint."""

from pathlib import Path
from typing import Any

import numpy as np

from celosia.compiler.checkpoint import locate
from celosia.errors import ModelError

__all__ = ["Tokenizer", "load_tokenizer"]


class Tokenizer:
    """A checkpoint's own tokenizer; it neither pads nor cuts.

    Parameters
    ----------
    path : Path
        tokenizer.json of the checkpoint.
    max_tokens : int, optional
        Most tokens that the model or the machine takes; None for no limit.
    """

    def __init__(self, path: Path, *, max_tokens: int | None = None) -> None:
        self.path = path
        self.max_tokens = max_tokens
        self.tokenizer = read_tokenizer(path)
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()

    def encode(self, text: str) -> np.ndarray:
        """Return the token ids of a text, int64 of shape (tokens,), with its special tokens.

        Raises
        ------
        ModelError
            If the text holds no token or too many.
        """
        ids = np.array(self.tokenizer.encode(text).ids, dtype=np.int64)
        special = len(self.tokenizer.encode("").ids)
        if len(ids) <= special:
            raise ModelError(f"input text is empty: {text!r} holds no token; give some words")
        if self.max_tokens is not None and len(ids) > self.max_tokens:
            raise ModelError(
                f"input text is too long: {len(ids)} tokens with {special} special ones, the "
                f"limit is {self.max_tokens}; shorten it"
            )
        return ids

    def tokens(self, ids: np.ndarray) -> list[str]:
        """Return the tokens that the ids stand for, for people to read."""
        return [self.tokenizer.id_to_token(int(i)) for i in ids]


def read_tokenizer(path: Path) -> Any:
    """Read a tokenizer.json with the optional package `tokenizers`."""
    try:
        import tokenizers  # pyright: ignore[reportMissingImports] - optional
    except ImportError:
        raise ModelError(
            "text input needs the package tokenizers; run `pip install tokenizers`, or give ids"
        ) from None
    if not path.is_file():
        raise ModelError(f"{path}: file is missing; text input needs it, token ids do not")
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the package raises nothing narrower
        raise ModelError(f"{path}: not readable as a tokenizer: {error}") from None


def load_tokenizer(model: str | Path, *, max_tokens: int | None = None) -> Tokenizer:
    """Return the tokenizer of a model, by the name or path that `load_model` takes."""
    path = locate(model)
    folder = path if path.is_dir() else path.parent
    return Tokenizer(folder / "tokenizer.json", max_tokens=max_tokens)
