"""The graph of an encoder, as every importer gives it and the compiler takes it.

It says what is computed, in float32 and without a word on the machine: families of models, not
files. Every size is free (width, heads, head width, feed-forward width, tokens); what a class
demands is only that its parts fit together, and it raises ValueError if they do not.
"""

from dataclasses import dataclass
from typing import Literal

from celosia.compiler.graph_embedding import BertEmbedding, PatchEmbedding
from celosia.compiler.graph_parts import (
    ACTIVATIONS,
    Attention,
    Block,
    FeedForward,
    Linear,
    Norm,
)

__all__ = [
    "ACTIVATIONS",
    "POOLINGS",
    "Attention",
    "BertEmbedding",
    "Block",
    "Encoder",
    "FeedForward",
    "Linear",
    "Norm",
    "PatchEmbedding",
]

POOLINGS = ("mean", "cls", "none")
"""How the final rows become one: their mean, row 0, or not at all."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoder:
    """A trained encoder.

    Parameters
    ----------
    name : str
        What the user calls it.
    family : {"bert", "vit"}
        Where its embedding comes from: token ids or an image.
    hidden : int
        Width of the rows.
    embedding : BertEmbedding or PatchEmbedding
        The host's part, `embedding.rows(input)`.
    embedding_norm : Norm, optional
        Norm of the embedded rows, in front of the blocks (BERT).
    blocks : tuple of Block
        Layers, in order.
    final_norm : Norm, optional
        Norm behind the blocks (pre-norm models).
    pooling : str
        One of `POOLINGS`.
    head : Linear, optional
        Classifier on the pooled row.
    labels : tuple of str
        Names of the head's outputs, if any.
    """

    name: str
    family: Literal["bert", "vit"]
    hidden: int
    embedding: BertEmbedding | PatchEmbedding
    embedding_norm: Norm | None = None
    blocks: tuple[Block, ...]
    final_norm: Norm | None = None
    pooling: str
    head: Linear | None = None
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.blocks:
            raise ValueError(f"{self.name}: blocks must not be empty")
        if self.pooling not in POOLINGS:
            raise ValueError(f"{self.name}: pooling must be one of {POOLINGS}")
        if self.head is not None and self.pooling == "none":
            raise ValueError(f"{self.name}: a head needs a pooling")
        widths = [self.embedding.hidden, *(block.attention.q.inputs for block in self.blocks)]
        widths += [norm.width for norm in (self.embedding_norm, self.final_norm) if norm]
        widths += [self.head.inputs] if self.head else []
        if set(widths) != {self.hidden}:
            raise ValueError(f"{self.name}: every part must be {self.hidden} wide, not {widths}")

    @property
    def max_tokens(self) -> int:
        """Most rows an input may have; for images, the number every image has."""
        return self.embedding.max_tokens

    @property
    def linears(self) -> tuple[Linear, ...]:
        """Every weight matrix, in the order of use."""
        patch = getattr(self.embedding, "projection", None)
        found = [patch] if patch else []
        for block in self.blocks:
            attention, ffn = block.attention, block.ffn
            found += [attention.q, attention.k, attention.v, attention.o, ffn.up, ffn.down]
        return tuple(found + ([self.head] if self.head else []))

    @property
    def parameters(self) -> int:
        """Trained numbers in the blocks, the embedding, the norms and the head."""
        embedding = self.embedding
        tables = [getattr(embedding, n, None) for n in ("words", "positions", "types", "cls")]
        arrays = [table for table in tables if table is not None]
        for linear in self.linears:
            arrays += [linear.weight] if linear.bias is None else [linear.weight, linear.bias]
        norms = [self.embedding_norm, self.final_norm]
        norms += [norm for block in self.blocks for norm in (block.norm1, block.norm2)]
        return sum(a.size for a in arrays) + sum(2 * norm.width for norm in norms if norm)
