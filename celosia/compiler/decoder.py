"""The graph of a decoder, as every importer gives it and the compiler takes it.

The family of LLaMA: RMSNorm before each half of a layer, rotary positions, grouped queries, a
gated feed-forward part. Every size is free; what a class demands is only that its parts fit
together, and it raises ValueError if they do not.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from celosia.compiler.decoder_parts import (
    DecoderBlock,
    GatedFeedForward,
    GroupedAttention,
    RmsNorm,
    Rope,
)
from celosia.compiler.graph_parts import Linear, check
from celosia.errors import ModelError

__all__ = [
    "Decoder",
    "DecoderBlock",
    "GatedFeedForward",
    "GroupedAttention",
    "RmsNorm",
    "Rope",
]


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoder:
    """A trained language model.

    Parameters
    ----------
    name : str
        What the user calls it.
    family : {"llama"}
        What kind of layers it has.
    hidden : int
        Width of the rows.
    embedding : ndarray of float32, shape (vocabulary, hidden)
        One row per token id, looked up by the host.
    blocks : tuple of DecoderBlock
        Layers, in order; one object may stand in several places.
    final_norm : RmsNorm
        Norm behind the blocks.
    head : Linear
        hidden → vocabulary, the logits of the next token.
    tied : bool
        The head's weight is the embedding.
    rope : Rope
        Positions, of every layer.
    context : int
        Most positions that a sequence may have.
    """

    name: str
    family: Literal["llama"] = "llama"
    hidden: int
    embedding: np.ndarray
    blocks: tuple[DecoderBlock, ...]
    final_norm: RmsNorm
    head: Linear
    tied: bool
    rope: Rope
    context: int

    def __post_init__(self) -> None:
        if not self.blocks:
            raise ValueError(f"{self.name}: blocks must not be empty")
        if self.context < 1:
            raise ValueError(f"{self.name}: context must be 1 or more, not {self.context}")
        check(self.name, "embedding", self.embedding, (len(self.embedding), self.hidden))
        check(self.head.name, "weight", self.head.weight, self.embedding.shape)
        if self.tied and not np.array_equal(self.head.weight, self.embedding):
            raise ValueError(f"{self.name}: a tied head must have the embedding as its weight")
        widths = [self.final_norm.width, *(block.attention.q.inputs for block in self.blocks)]
        if set(widths) != {self.hidden}:
            raise ValueError(f"{self.name}: every part must be {self.hidden} wide, not {widths}")

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return len(self.embedding)

    @property
    def linears(self) -> tuple[Linear, ...]:
        """Every weight matrix, in the order of use; the head is the last."""
        return (*(linear for block in self.blocks for linear in block.linears), self.head)

    @property
    def parameters(self) -> int:
        """Trained numbers; what is shared counts once."""
        arrays = [self.embedding, self.final_norm.gamma]
        arrays += [norm.gamma for block in self.blocks for norm in (block.norm1, block.norm2)]
        for linear in self.linears:
            weights = [] if self.tied and linear is self.head else [linear.weight]
            arrays += weights if linear.bias is None else [*weights, linear.bias]
        return sum(array.size for array in {id(array): array for array in arrays}.values())

    def rows(self, tokens: np.ndarray) -> np.ndarray:
        """Look token ids up.

        Parameters
        ----------
        tokens : ndarray of int, shape (tokens,)
            Token ids, from 1 to `context` of them.

        Returns
        -------
        ndarray of float32, shape (tokens, hidden)
            Their rows of the embedding.

        Raises
        ------
        ModelError
            If an id is not in the vocabulary, or there are too many or none.
        """
        tokens = np.asarray(tokens)
        if tokens.ndim != 1 or not np.issubdtype(tokens.dtype, np.integer):
            raise ModelError(
                f"input: token ids must be integers on one axis, not {tokens.dtype} {tokens.shape}"
            )
        if not 1 <= len(tokens) <= self.context:
            raise ModelError(
                f"input: there must be 1 to {self.context} token ids, not {len(tokens)}; shorten it"
            )
        if tokens.min() < 0 or tokens.max() >= self.vocabulary:
            worst = tokens.min() if tokens.min() < 0 else tokens.max()
            raise ModelError(f"input: token id must be 0 to {self.vocabulary - 1}, not {worst}")
        return self.embedding[tokens]
