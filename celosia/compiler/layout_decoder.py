"""Puts the constants of a quantised decoder into memory, and says how heads lie in rows."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from celosia.compiler.decoder import GroupedAttention
from celosia.compiler.layout import Matrix, MemoryLayout, ceil_div, parameter_bytes
from celosia.compiler.layout_model import PlacedNorm, Placer
from celosia.compiler.quantise import QuantisedLinear, QuantisedNorm, dyadic
from celosia.compiler.quantise_decoder import (
    QuantisedDecoder,
    QuantisedDecoderBlock,
    QuantisedProduct,
    rope_rows,
)
from celosia.config import MachineConfig

__all__ = [
    "HeadShape",
    "PlacedDecoder",
    "PlacedDecoderBlock",
    "PlacedProduct",
    "place_decoder",
]


@dataclass(frozen=True)
class HeadShape:
    """How the heads of one attention lie in rows of words.

    Attributes
    ----------
    heads, kv_heads, head_dim : int
        As in the model.
    d_tiles, words : int
        Tiles of a score's reduction, and words of a head in a row of Q or K.
    v_tiles, v_rows, v_words : int
        Tiles and rows of a head's Vᵀ, and words of a head in a row of V or of the context.
    v_k_tiles : int
        Tiles of the reduction over a head of V.
    """

    heads: int
    kv_heads: int
    head_dim: int
    d_tiles: int
    words: int
    v_tiles: int
    v_rows: int
    v_words: int
    v_k_tiles: int

    @classmethod
    def of(cls, part: GroupedAttention, config: MachineConfig) -> "HeadShape":
        """Return the shape of an attention on a machine; heads are whole words and beats."""
        unit = max(config.lanes, config.memory_width)
        d_tiles, v_tiles = (ceil_div(part.head_dim, n) for n in (config.rows, config.columns))
        words, v_words = (
            ceil_div(elements, unit) * unit // config.lanes
            for elements in (
                d_tiles * config.rows,
                max(v_tiles * config.columns, d_tiles * config.rows),
            )
        )
        return cls(
            part.heads,
            part.kv_heads,
            part.head_dim,
            d_tiles,
            words,
            v_tiles,
            v_tiles * config.columns,
            v_words,
            d_tiles,
        )

    @property
    def group(self) -> int:
        """Heads of Q that share a head of K."""
        return self.heads // self.kv_heads


@dataclass(frozen=True)
class PlacedProduct:
    """A matrix, and what its weights lack of more bits, if they need them.

    Or, with `mask`, the address of a row that is 0 for outliers and 1 for other inputs, a matrix
    for these and one for the outliers, which keep 16 bits.
    """

    main: Matrix
    rest: Matrix | None
    wide: bool
    mask: int | None = None


@dataclass(frozen=True)
class PlacedDecoderBlock:
    """One layer; `table` is an address."""

    shape: HeadShape
    norm1: PlacedNorm
    q: PlacedProduct
    k: PlacedProduct
    v: PlacedProduct
    wide_scores: bool
    logits: tuple[tuple[int, int], ...]
    o: PlacedProduct
    norm2: PlacedNorm
    gate: PlacedProduct
    table: int
    up: PlacedProduct
    product_shift: int
    down: PlacedProduct


@dataclass(frozen=True)
class PlacedDecoder:
    """All constants of a decoder.

    `turns` is the address of cosines and sines, a row a position; `unit` is a matrix with the rows
    of V's head, which turns V into Vᵀ.
    """

    blocks: tuple[PlacedDecoderBlock, ...]
    turns: int
    unit: Matrix
    final_norm: PlacedNorm
    head: PlacedProduct


class _DecoderPlacer(Placer):
    def product(self, part: QuantisedProduct) -> PlacedProduct:
        rest = None
        if part.rest is not None:
            rest = self.matrix(replace(part.rest, name=f"{part.rest.name}.rest"))
        mask = None
        if part.outliers is not None:
            row = (~part.outliers[np.newaxis]).astype(np.int16)
            mask = self.rows(f"{part.main.name}.mask", row)
        return PlacedProduct(self.matrix(part.main), rest, part.wide, mask)

    def heads(self, part: QuantisedProduct, heads: int, width: int) -> PlacedProduct:
        """Place Q or K, the channels of each head padded with zeros to `width`."""
        rest = None if part.rest is None else padded_heads(part.rest, heads, width)
        main = padded_heads(part.main, heads, width)
        return self.product(QuantisedProduct(main, rest, part.wide, part.outliers))

    def unit(self, shape: HeadShape) -> Matrix:
        """Place the unit matrix of a head, as rows that stream; products by it are exact."""
        rows = np.eye(shape.v_rows, shape.v_words * self.config.lanes, dtype=np.int8)
        multiplier, shift = dyadic(np.ones(shape.v_rows))
        entries = parameter_bytes(multiplier, shift, np.zeros(shape.v_rows))
        return Matrix(
            "unit",
            shape.v_rows,
            shape.v_k_tiles,
            self.rows("unit.weight", rows),
            self.memory.place("unit.parameters", entries),
        )

    def out(self, part: QuantisedProduct, shape: HeadShape) -> PlacedProduct:
        """Place O; heads start at whole words of the context."""
        width = shape.v_words * self.config.lanes
        rest = None if part.rest is None else self.spread(part.rest, shape.heads, width)
        main = self.spread(part.main, shape.heads, width)
        outliers = part.outliers
        if outliers is not None:
            whole = np.zeros((shape.heads, width), bool)
            whole[:, : shape.head_dim] = outliers.reshape(shape.heads, shape.head_dim)
            outliers = whole.ravel()
        return self.product(QuantisedProduct(main, rest, part.wide, outliers))

    def rms(self, part: QuantisedNorm) -> PlacedNorm:
        return replace(self.norm(part), rms=True)

    def layer(self, part: QuantisedDecoderBlock, attention: GroupedAttention) -> PlacedDecoderBlock:
        shape = HeadShape.of(attention, self.config)
        width = shape.words * self.config.lanes
        return PlacedDecoderBlock(
            shape,
            self.rms(part.norm1),
            self.heads(part.q, shape.heads, width),
            self.heads(part.k, shape.kv_heads, width),
            self.heads(part.v, shape.kv_heads, shape.v_words * self.config.lanes),
            part.wide_scores,
            part.logits,
            self.out(part.o, shape),
            self.rms(part.norm2),
            self.product(part.gate),
            self.memory.place(f"{part.gate.main.name}.table", part.table.astype("<i2")),
            self.product(part.up),
            part.product_shift,
            self.product(part.down),
        )


def padded_heads(part: QuantisedLinear, heads: int, width: int) -> QuantisedLinear:
    """Return a matrix with the channels of each head padded with zeros to `width`."""

    def pad(values: NDArray) -> NDArray:
        shaped = values.reshape(heads, -1, *values.shape[1:])
        padded = np.zeros((heads, width, *values.shape[1:]), values.dtype)
        padded[:, : shaped.shape[1]] = shaped
        return padded.reshape(heads * width, *values.shape[1:])

    return replace(
        part,
        weight=pad(part.weight),
        group_scale=pad(part.group_scale),
        multiplier=pad(part.multiplier),
        shift=pad(part.shift),
        bias=pad(part.bias),
    )


def place_decoder(
    model: QuantisedDecoder, config: MachineConfig, memory: MemoryLayout
) -> PlacedDecoder:
    """Place every constant of a decoder; each is a section named after its layer."""
    placer = _DecoderPlacer(config, memory)
    decoder = model.decoder
    attention = decoder.blocks[0].attention
    shape = HeadShape.of(attention, config)
    width = shape.words * config.lanes
    turns = np.zeros((decoder.context, width), np.int16)
    turns[:, : attention.head_dim] = rope_rows(decoder, attention.head_dim)
    return PlacedDecoder(
        tuple(
            placer.layer(part, block.attention)
            for part, block in zip(model.blocks, decoder.blocks, strict=True)
        ),
        placer.rows("rope", turns),
        placer.unit(shape),
        placer.rms(model.final_norm),
        placer.product(model.head),
    )
