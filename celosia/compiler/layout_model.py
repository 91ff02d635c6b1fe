"""Puts the constants of a quantised model into memory, padded to the tiles of a machine."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from celosia.compiler.layout import (
    PARAMETER_BYTES,
    Matrix,
    MemoryLayout,
    ceil_div,
    parameter_bytes,
)
from celosia.compiler.layout_tiles import StoredWeights, TiledFormat
from celosia.compiler.quantise import QuantisedLinear, QuantisedNorm
from celosia.compiler.quantise_parts import (
    QuantisedAttention,
    QuantisedBlock,
    QuantisedEncoder,
    QuantisedFeedForward,
    QuantisedNorms,
)
from celosia.config import MachineConfig
from celosia.errors import ModelError

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

    def matrix(self, part: QuantisedLinear) -> Matrix:
        """Place a matrix whose tiles are stationary."""
        tiled = TiledFormat(self.config, part.format, part.weight.shape[1])
        stored = self.store(tiled, part)
        return Matrix(
            part.name,
            len(part.weight),
            tiled.k_tiles,
            self.memory.place(f"{part.name}.weight", np.concatenate(stored.tiles)),
            self.memory.place(
                f"{part.name}.parameters", parameter_bytes(part.multiplier, part.shift, part.bias)
            ),
            part.r_shift,
            int(tiled.code),
            tiled.group,
            tiled.sparse,
            stored.skips,
        )

    def store(self, tiled: TiledFormat, part: QuantisedLinear) -> StoredWeights:
        """Return the tiles of a matrix.

        Raises
        ------
        ModelError
            If channels that the padding of heads has made share a column have other patterns.
        """
        try:
            return tiled.store(part.weight, part.group_scale)
        except ValueError as error:
            raise ModelError(
                f"{part.name}: its heads cannot be padded to whole tiles where sparse weights of 4 "
                f"bits share a pattern ({error}); give it dense or int8 weights"
            ) from error

    def spread(self, part: QuantisedLinear, heads: int, width: int) -> QuantisedLinear:
        """Return a matrix with the inputs of each head padded with zeros to `width`.

        Raises
        ------
        ModelError
            If that would cut the groups or the patterns of its format.
        """
        outputs, inputs = part.weight.shape
        if inputs == heads * width:
            return part
        if part.format.group or part.format.sparsity != (1, 1):
            raise ModelError(
                f"{part.name}: heads of {inputs // heads} are padded to {width}, which groups and "
                "sparse patterns cannot be; give it weights without either"
            )
        weight = np.zeros((outputs, heads, width), np.int64)
        weight[:, :, : inputs // heads] = part.weight.reshape(outputs, heads, -1)
        return replace(part, weight=weight.reshape(outputs, -1))

    def by_head(
        self, part: QuantisedLinear, heads: int, outputs: int, *, tiles: bool
    ) -> tuple[Matrix, ...]:
        """Place a matrix head by head, the channels of each padded to `outputs` with zeros."""
        config = self.config
        head_dim, inputs = len(part.weight) // heads, part.weight.shape[1]
        tiled = TiledFormat(config, part.format, inputs)
        shape = tiled.shape
        whole = ceil_div(outputs, shape.channels if tiles else config.columns)
        whole *= shape.channels if tiles else config.columns

        def padded(values: NDArray, rows: int = whole) -> NDArray:
            found = np.zeros((heads, rows, *values.shape[1:]), values.dtype)
            found[:, :head_dim] = values.reshape(heads, head_dim, *values.shape[1:])
            return found.reshape(-1, *values.shape[1:])

        # Each head's parameters start with a whole beat.
        step = max(config.memory_width // PARAMETER_BYTES, 1)
        pitch = ceil_div(whole, step) * step
        parameters = [padded(x, pitch) for x in (part.multiplier, part.shift, part.bias)]
        weight = padded(part.weight)
        name, each = f"{part.name}.weight", whole // shape.channels
        skips: tuple[int, ...] = ()
        if tiles:
            spread = replace(part, weight=weight, group_scale=padded(part.group_scale))
            stored = self.store(tiled, spread)
            address = self.memory.place(name, np.concatenate(stored.tiles))
            sizes, skips = [len(one) for one in stored.tiles], stored.skips
            places = [sum(sizes[: head * each]) for head in range(heads)]
        else:
            address = self.rows(name, weight.astype(np.int8))
            size = whole * ceil_div(inputs, config.lanes) * config.lanes
            places = [head * size for head in range(heads)]
        first = self.memory.place(f"{part.name}.parameters", parameter_bytes(*parameters))
        return tuple(
            Matrix(
                part.name,
                outputs,
                tiled.k_tiles,
                address + places[head],
                first + head * pitch * PARAMETER_BYTES,
                code=int(tiled.code),
                group=tiled.group,
                sparse=tiled.sparse,
                skips=skips[head * each : (head + 1) * each],
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
        o = self.spread(part.o, heads, v_words * lanes)
        return PlacedAttention(
            self.by_head(part.q, heads, d_tiles * rows, tiles=True),
            self.by_head(part.k, heads, d_tiles * rows, tiles=True),
            self.by_head(part.v, heads, v_tiles * columns, tiles=False),
            self.matrix(o),
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
