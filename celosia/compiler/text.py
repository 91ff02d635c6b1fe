"""Text in and out of language models, with the tokenizer that lies beside a checkpoint."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from celosia.compiler.checkpoint import locate
from celosia.compiler.importers import find_weights
from celosia.compiler.importers.source import read_json
from celosia.compiler.text_merges import (
    GlassCodec,
    SentencePieceCodec,
    gguf_stop_ids,
    gguf_values,
    token,
    unknown_character,
)
from celosia.compiler.tokens import read_tokenizer
from celosia.errors import ModelError

__all__ = ["CharacterCodec", "Codec", "TokenizerCodec", "load_codec"]


class Codec(Protocol):
    """Text to token ids and back.

    Attributes
    ----------
    stop : frozenset of int
        Ids that end a text; `decode` leaves them out.
    """

    stop: frozenset[int]

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, with those that the model wants in front.

        Raises
        ------
        ModelError
            If the vocabulary cannot say the text.
        """
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, without special tokens.

        Raises
        ------
        ModelError
            If an id is not in the vocabulary.
        """
        ...


class TokenizerCodec:
    """A tokenizer.json, read by the package `tokenizers`.

    Parameters
    ----------
    path : Path
        The file.
    stop : frozenset of int
        Ids that end a text.
    """

    def __init__(self, path: Path, stop: frozenset[int]) -> None:
        self.path = path
        self.stop = stop
        self.tokenizer = read_tokenizer(path)
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, with the tokenizer's special tokens."""
        return self.tokenizer.encode(text).ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, without special tokens."""
        vocabulary = self.tokenizer.get_vocab_size()
        for i in ids:
            if self.tokenizer.id_to_token(int(i)) is None:
                raise ModelError(f"{self.path}: token id must be 0 to {vocabulary - 1}, not {i}")
        return self.tokenizer.decode([int(i) for i in ids])


class CharacterCodec:
    """A vocab.json in which every token is one character, but for the special ones.

    Parameters
    ----------
    path : Path
        The file; special_tokens_map.json beside it names the special tokens.
    stop : frozenset of int
        Ids that end a text.
    """

    def __init__(self, path: Path, stop: frozenset[int]) -> None:
        self.path = path
        self.stop = stop
        ids = read_json(path)
        if sorted(ids.values(), key=str) != sorted(range(len(ids)), key=str):
            raise ModelError(f"{path}: the ids must be 0 to {len(ids) - 1}, each once")
        self.vocabulary = sorted(ids, key=ids.__getitem__)
        named = path.parent / "special_tokens_map.json"
        special = read_json(named).values() if named.is_file() else ()
        self.special = {one["content"] if isinstance(one, dict) else str(one) for one in special}
        self.ids = {piece: i for piece, i in ids.items() if piece not in self.special}
        long = [piece for piece in self.ids if len(piece) != 1]
        if long:
            raise ModelError(
                f"{path}: token {long[0]!r} is not a single character; put the model's "
                "tokenizer.json beside the file, or give ids"
            )

    def encode(self, text: str) -> list[int]:
        """Return the token id of each character."""
        for character in text:
            if character not in self.ids:
                raise unknown_character(self.path, character, list(self.ids))
        return [self.ids[character] for character in text]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, without special tokens."""
        pieces = [token(self.path, self.vocabulary, i) for i in ids]
        return "".join(piece for piece in pieces if piece not in self.special)


def load_codec(model: str | Path) -> Codec:
    """Return what turns text into a model's tokens and back.

    Parameters
    ----------
    model : str or Path
        What `celosia.compiler.checkpoint.load_model` takes.

    Raises
    ------
    ModelError
        If the model has no vocabulary that can be read.
    """
    weights = find_weights(locate(model))
    folder = weights.parent
    if weights.suffix == ".npz":
        return GlassCodec(weights.with_suffix(".tokenizer.json"))
    tokenizer, characters = folder / "tokenizer.json", folder / "vocab.json"
    if weights.suffix == ".gguf":
        if not tokenizer.is_file():
            return SentencePieceCodec(weights)
        return TokenizerCodec(tokenizer, gguf_stop_ids(gguf_values(weights)))
    if characters.is_file() and not tokenizer.is_file():
        return CharacterCodec(characters, stop_ids(folder))
    return TokenizerCodec(tokenizer, stop_ids(folder))


def stop_ids(folder: Path) -> frozenset[int]:
    """Return the ids that end a text, by the configurations in a checkpoint's folder."""
    found: set[int] = set()
    for path in (folder / "config.json", folder / "generation_config.json"):
        given = read_json(path).get("eos_token_id") if path.is_file() else None
        ids = given if isinstance(given, list) else [given] if given is not None else []
        if not all(isinstance(i, int) and i >= 0 for i in ids):
            raise ModelError(f"{path}: eos_token_id must be a token id or a list, not {given!r}")
        found.update(ids)
    return frozenset(found)
