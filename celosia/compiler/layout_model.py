"""Puts the constants of a quantised model into memory, padded to the tiles of a machine."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from celosia.compiler.layout import (
    PARAMETER_BYTES,
    Matrix,
    MemoryLayout,
    ceil_div,
    parameter_bytes,
    tile_bytes,
)
from celosia.compiler.quantise import QuantisedLinear, QuantisedNorm
from celosia.compiler.quantise_parts import (
    QuantisedAttention,
    QuantisedBlock,
    QuantisedEncoder,
    QuantisedFeedForward,
    QuantisedNorms,
)
from celosia.config import MachineConfig

__all__ = [
    "PlacedAttention",
    "PlacedBlock",
    "PlacedFeedForward",
    "PlacedModel",
    "PlacedNorm",
    "PlacedNorms",
    "Placer",
    "place_model",
]


@dataclass(frozen=True)
class PlacedNorm:
    """A norm; gain and offset are two rows of memory from `address` on."""

    name: str
    address: int
    width: int
    shift: int
    epsilon: int
    rms: bool = False


@dataclass(frozen=True)
class PlacedAttention:
    """The attention of one block, a matrix for each head but for `o`.

    Attributes
    ----------
    d_tiles, qk_words : int
        Tiles of the reduction of a score, and scratchpad words of a row of Q or K.
    v_tiles, v_words : int
        Tiles of rows of Vᵀ of a head, and words of a head in a row of the context.
    """

    q: tuple[Matrix, ...]
    k: tuple[Matrix, ...]
    v: tuple[Matrix, ...]
    o: Matrix
    d_tiles: int
    qk_words: int
    v_tiles: int
    v_words: int
    multiplier: int
    shift: int

    @property
    def heads(self) -> int:
        """Number of heads."""
        return len(self.q)


@dataclass(frozen=True)
class PlacedFeedForward:
    """The feed-forward half of one block; `table` is an address."""

    up: Matrix
    table: int
    down: Matrix


@dataclass(frozen=True)
class PlacedNorms:
    """Norms behind a sum: of what the next product reads, and of the residual stream.

    If `chained`, the first reads the result of the second, else both read the sum.
    """

    source: PlacedNorm | None
    stream: PlacedNorm | None
    chained: bool


@dataclass(frozen=True)
class PlacedBlock:
    """One block."""

    attention: PlacedAttention
    after_attention: PlacedNorms
    ffn: PlacedFeedForward
    after_ffn: PlacedNorms


@dataclass(frozen=True)
class PlacedModel:
    """All constants of a model in memory; `offsets` is the address of the rows added to patches."""

    patch: Matrix | None
    offsets: int
    embedding: PlacedNorms
    blocks: tuple[PlacedBlock, ...]
    final_norm: PlacedNorm | None
    head: Matrix | None


class Placer:
    """Places the parts of a quantised model, section by section.

    Parameters
    ----------
    config : MachineConfig
        The machine.
    memory : MemoryLayout
        Where they go.
    """

    def __init__(self, config: MachineConfig, memory: MemoryLayout) -> None:
        self.config, self.memory = config, memory

    def rows(self, name: str, values: NDArray[np.integer]) -> int:
        """Place rows, each padded to whole scratchpad words."""
        lanes = self.config.lanes
        padded = np.zeros(
            (len(values), ceil_div(values.shape[1], lanes) * lanes),
            values.dtype.newbyteorder("<"),
        )
        padded[:, : values.shape[1]] = values
        return self.memory.place(name, padded)

    def matrix(self, part: QuantisedLinear, weight: NDArray[np.int8] | None = None) -> Matrix:
        """Place a matrix whose tiles are stationary."""
        weight = part.weight if weight is None else weight
        return Matrix(
            part.name,
            len(part.weight),
            ceil_div(weight.shape[1], self.config.rows),
            self.memory.place(f"{part.name}.weight", tile_bytes(weight, self.config)),
            self.memory.place(
                f"{part.name}.parameters", parameter_bytes(part.multiplier, part.shift, part.bias)
            ),
            part.r_shift,
        )

    def by_head(
        self, part: QuantisedLinear, heads: int, outputs: int, *, tiles: bool
    ) -> tuple[Matrix, ...]:
        """Place a matrix head by head, the channels of each padded to `outputs` with zeros."""
        rows, columns, lanes = self.config.rows, self.config.columns, self.config.lanes
        head_dim, inputs = len(part.weight) // heads, part.weight.shape[1]
        whole = ceil_div(outputs, columns) * columns
        weight = np.zeros((heads, whole, inputs), np.int8)
        weight[:, :head_dim] = part.weight.reshape(heads, head_dim, inputs)
        # Each head's parameters start with a whole beat.
        step = max(self.config.memory_width // PARAMETER_BYTES, 1)
        pitch = ceil_div(whole, step) * step
        parameters = np.zeros((3, heads, pitch), np.int64)
        for values, given in zip(parameters, (part.multiplier, part.shift, part.bias), strict=True):
            values[:, :head_dim] = given.reshape(heads, head_dim)

        flat = weight.reshape(-1, inputs)
        name, k_tiles = f"{part.name}.weight", ceil_div(inputs, rows)
        if tiles:
            address = self.memory.place(name, tile_bytes(flat, self.config))
            size = whole * k_tiles * rows
        else:
            address = self.rows(name, flat)
            size = whole * ceil_div(inputs, lanes) * lanes
        first = self.memory.place(f"{part.name}.parameters", parameter_bytes(*parameters))
        return tuple(
            Matrix(
                part.name,
                outputs,
                k_tiles,
                address + head * size,
                first + head * pitch * PARAMETER_BYTES,
            )
            for head in range(heads)
        )

    def norm(self, part: QuantisedNorm, name: str = "") -> PlacedNorm:
        """Place gain and offset of a norm."""
        address = self.rows(name or f"{part.name}.rows", np.stack([part.gamma, part.beta]))
        return PlacedNorm(part.name, address, len(part.gamma), part.shift, part.epsilon)

    def attention(self, part: QuantisedAttention) -> PlacedAttention:
        rows, columns, lanes = self.config.rows, self.config.columns, self.config.lanes
        heads, head_dim = part.heads, part.head_dim
        d_tiles, v_tiles = ceil_div(head_dim, rows), ceil_div(head_dim, columns)
        v_words = ceil_div(v_tiles * columns, lanes)
        # Heads start at whole words of the context; between them the weights are zero.
        o = np.zeros((len(part.o.weight), heads, v_words * lanes), np.int8)
        o[:, :, :head_dim] = part.o.weight.reshape(len(o), heads, head_dim)
        return PlacedAttention(
            self.by_head(part.q, heads, d_tiles * rows, tiles=True),
            self.by_head(part.k, heads, d_tiles * rows, tiles=True),
            self.by_head(part.v, heads, v_tiles * columns, tiles=False),
            self.matrix(part.o, o.reshape(len(o), -1)),
            d_tiles,
            ceil_div(ceil_div(d_tiles * rows, columns) * columns, lanes),
            v_tiles,
            v_words,
            part.multiplier,
            part.shift,
        )

    def feed_forward(self, part: QuantisedFeedForward) -> PlacedFeedForward:
        table = part.table.astype("<i2")
        return PlacedFeedForward(
            self.matrix(part.up),
            self.memory.place(f"{part.up.name}.table", table),
            self.matrix(part.down),
        )

    def norms(self, part: QuantisedNorms, name: str) -> PlacedNorms:
        """Place the norms behind a sum; their sections have the name of what reads them too."""
        source = self.norm(part.source, f"{name}.source") if part.source else None
        stream = self.norm(part.stream) if part.stream else None
        return PlacedNorms(source, stream, part.chained)

    def block(self, part: QuantisedBlock, index: int) -> PlacedBlock:
        return PlacedBlock(
            self.attention(part.attention),
            self.norms(part.after_attention, f"block{index}.ffn"),
            self.feed_forward(part.ffn),
            self.norms(part.after_ffn, f"block{index + 1}.attention"),
        )


def place_model(
    model: QuantisedEncoder, config: MachineConfig, memory: MemoryLayout
) -> PlacedModel:
    """Place every constant of a model; each is a section named after its layer."""
    placer = Placer(config, memory)
    return PlacedModel(
        placer.matrix(model.patch) if model.patch else None,
        0 if model.offsets is None else placer.rows("embedding.offsets", model.offsets),
        placer.norms(model.embedding, "block0.attention"),
        tuple(placer.block(part, index) for index, part in enumerate(model.blocks)),
        placer.norm(model.final_norm) if model.final_norm else None,
        placer.matrix(model.head) if model.head else None,
    )
