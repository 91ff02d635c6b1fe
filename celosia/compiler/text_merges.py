"""Tokenizers that merge pairs of pieces, in plain Python: glassllm's, and GGUF's of LLaMA.

Both begin with single characters and merge the best pair of neighbours until none is left that
may be merged; what they differ in is how they cut the text up first and what makes a pair good.
Spaces are written as U+2581 inside of tokens.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from celosia.compiler.importers.gguf import read_gguf
from celosia.compiler.importers.source import read_json
from celosia.errors import ModelError

__all__ = [
    "GlassCodec",
    "SentencePieceCodec",
    "gguf_stop_ids",
    "gguf_values",
    "merge",
    "token",
    "unknown_character",
]

SPACE = "\u2581"
CHUNK = re.compile(f"\n|{SPACE}*[^{SPACE}\n]+|{SPACE}+")
GLASS_SPECIALS = ("<pad>", "<unk>", "<bos>", "<eos>")
NORMAL, USER_DEFINED, BYTE = 1, 4, 6  # types of a GGUF vocabulary's tokens that make text


def merge(pieces: Sequence[str], rank: Callable[[str, str], float | None]) -> list[str]:
    """Merge neighbours, the pair of the lowest rank first and of equal ones the left one.

    Parameters
    ----------
    pieces : sequence of str
        What to begin with.
    rank : callable
        Rank of a pair, or None if it must not be merged.
    """
    merged = list(pieces)
    while True:
        ranks = [rank(a, b) for a, b in pairwise(merged)]
        known = [(value, i) for i, value in enumerate(ranks) if value is not None]
        if not known:
            return merged
        _, i = min(known)
        merged[i : i + 2] = [merged[i] + merged[i + 1]]


def unknown_character(path: Path, character: str, known: Sequence[str]) -> ModelError:
    """Return the error for a character that no token has."""
    return ModelError(
        f"{path}: character {character!r} is not in the vocabulary; it has "
        f"{''.join(known).replace(SPACE, ' ')!r}"
    )


def token(path: Path, vocabulary: Sequence[str], index: int) -> str:
    """Return a token by its id, which must be there."""
    if not 0 <= index < len(vocabulary):
        raise ModelError(f"{path}: token id must be 0 to {len(vocabulary) - 1}, not {index}")
    return vocabulary[index]


class GlassCodec:
    """The tokenizer of a glassllm checkpoint: an alphabet, and pairs in the order to merge.

    Pairs are merged within a word and the spaces in front of it; a line break is a token.

    Parameters
    ----------
    path : Path
        Its tokenizer.json.

    Attributes
    ----------
    stop : frozenset of int
        Ids that end a text.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        content = read_json(path)
        alphabet, merges = content.get("alphabet"), content.get("merges")
        if not isinstance(alphabet, list) or not isinstance(merges, list):
            raise ModelError(f"{path}: must have the lists 'alphabet' and 'merges' of glassllm")
        if not all(isinstance(pair, list) and len(pair) == 2 for pair in merges):
            raise ModelError(f"{path}: 'merges' must hold pairs of strings")
        self.alphabet = [str(character) for character in alphabet]
        self.ranks = {(str(a), str(b)): rank for rank, (a, b) in enumerate(merges)}
        self.vocabulary = [*GLASS_SPECIALS, *self.alphabet, *(a + b for a, b in self.ranks)]
        self.ids = {piece: i for i, piece in enumerate(self.vocabulary)}
        self.stop = frozenset({self.ids["<eos>"]})

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text."""
        text = unicodedata.normalize("NFC", text).replace(" ", SPACE)
        for character in text:
            if character not in self.alphabet:
                raise unknown_character(self.path, character, self.alphabet)
        words = CHUNK.findall(text)
        return [
            self.ids[piece]
            for word in words
            for piece in merge(word, lambda a, b: self.ranks.get((a, b)))
        ]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, without special tokens."""
        pieces = [token(self.path, self.vocabulary, i) for i in ids]
        return "".join(p for p in pieces if p not in GLASS_SPECIALS).replace(SPACE, " ")


def gguf_values(path: Path) -> dict[str, Any]:
    """Return what a GGUF file says of its vocabulary."""
    prefix = "tokenizer.ggml."
    _, found = read_gguf(path, lambda key: key.startswith(prefix))
    return {key.removeprefix(prefix): value for key, value in found.items()}


def gguf_stop_ids(values: dict[str, Any]) -> frozenset[int]:
    """Return the ids that end a text."""
    ends = (values.get(f"{kind}_token_id") for kind in ("eos", "eot", "eom"))
    return frozenset(end for end in ends if end is not None)


class SentencePieceCodec:
    """The vocabulary of LLaMA's kind inside a GGUF file: the best token of a pair is merged first.

    Characters without a token become bytes, if the vocabulary has these.

    Parameters
    ----------
    path : Path
        The GGUF file.

    Attributes
    ----------
    stop : frozenset of int
        Ids that end a text.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        values = gguf_values(path)
        if values.get("model") != "llama":
            raise ModelError(
                f"{path}: vocabulary {values.get('model')!r} is not supported; put the model's "
                "tokenizer.json beside the file, or give ids"
            )
        lists = [values.get(key, []) for key in ("tokens", "scores", "token_type")]
        if not lists[0] or len({len(one) for one in lists}) != 1:
            raise ModelError(f"{path}: tokens, scores and token_type must be lists of one length")
        self.vocabulary, scores, self.types = lists
        self.ids = {
            piece: i
            for i, piece in enumerate(self.vocabulary)
            if self.types[i] in (NORMAL, USER_DEFINED)
        }
        self.bytes = {piece: i for i, piece in enumerate(self.vocabulary) if self.types[i] == BYTE}
        self.ranks = {piece: -scores[i] for piece, i in self.ids.items()}
        self.leading_space = values.get("add_space_prefix", True)
        begin = values.get("bos_token_id") if values.get("add_bos_token", True) else None
        self.begin = [] if begin is None else [begin]
        self.stop = gguf_stop_ids(values)

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, with the one that begins it."""
        if self.leading_space and text:
            text = f" {text}"
        ids = list(self.begin)
        for piece in merge(text.replace(" ", SPACE), lambda a, b: self.ranks.get(a + b)):
            ids += [self.ids[piece]] if piece in self.ids else self.spelled(piece)
        return ids

    def spelled(self, character: str) -> list[int]:
        """Return a character as the tokens of its bytes."""
        names = [f"<0x{byte:02X}>" for byte in character.encode()]
        if any(name not in self.bytes for name in names):
            raise unknown_character(self.path, character, sorted(p for p in self.ids if len(p) < 2))
        return [self.bytes[name] for name in names]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, without special tokens."""
        text = b""
        for i in ids:
            piece = token(self.path, self.vocabulary, i)
            if self.types[i] == BYTE:
                text += bytes([int(piece[3:5], 16)])
            elif piece in self.ids:
                text += piece.replace(SPACE, " ").encode()
        decoded = text.decode(errors="replace")
        return decoded.removeprefix(" ") if self.leading_space else decoded
