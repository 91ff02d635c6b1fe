"""Weights as tiles in memory: number formats, scales of groups and sparse tiles."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from celosia.compiler.layout import ceil_div
from celosia.compiler.weight_format import CODES, WeightFormat
from celosia.config import MachineConfig
from celosia.golden.fixed import IntArray
from celosia.isa import Code
from celosia.tiles import RUNS, tile_shape

__all__ = ["StoredWeights", "TiledFormat"]

#: How the machine stores a format; ternary weights are a special case of int4.
STORED = {"int8": Code.INT8, "int4": Code.INT4, "fp4": Code.FP4, "ternary": Code.INT4}


@dataclass(frozen=True)
class StoredWeights:
    """Weights as memory holds them.

    Attributes
    ----------
    tiles : list of (bytes,) uint8
        For the channels of each tile, all tiles along the reduction that are there.
    skips : tuple of int
        For each of these, the operand `skip`; empty if nothing is left out.
    """

    tiles: list[NDArray[np.uint8]]
    skips: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Bytes of all."""
        return sum(len(one) for one in self.tiles)


class TiledFormat:
    """A format of weights on a machine, for matrices of so many inputs.

    Attributes
    ----------
    code, group, sparse : int, int, bool
        Operands of a MATMUL, and whether it is SPARSE.
    shape : TileShape
        Its tiles.
    k_tiles : int
        Tiles along the reduction.
    """

    def __init__(self, config: MachineConfig, format: WeightFormat, inputs: int) -> None:
        self.config, self.format = config, format
        self.code = STORED[format.code]
        self.sparse = format.sparsity != (1, 1)
        lanes = config.rows * (2 if self.sparse else 1)
        self.k_tiles = ceil_div(inputs, lanes)
        run = format.group // lanes
        if format.blocks and not run:
            run = 1
            while ceil_div(self.k_tiles, run) > RUNS:
                run *= 2
        self.group = run.bit_length()
        self.shape = tile_shape(config, self.code, self.group, sparse=self.sparse)

    @property
    def block(self) -> tuple[int, int]:
        """Channels and inputs of a block that can be left out."""
        return self.shape.channels, self.shape.run * self.shape.lanes

    def store(self, values: IntArray, group_scale: IntArray) -> StoredWeights:
        """Arrange weights (out, in) as the array takes them, as docs/architecture.md says.

        Both sizes are padded with zeros to whole tiles.

        Parameters
        ----------
        values : (out, in) int
            Integers of the format.
        group_scale : (out, groups) int
            Scales of the groups; without groups of no use.

        Raises
        ------
        ValueError
            If more weights are not zero than the pattern, which two channels may share, has room
            for.
        """
        shape, config, k_tiles = self.shape, self.config, self.k_tiles
        rows, columns = config.rows, config.columns
        n_tiles = ceil_div(values.shape[0], shape.channels)
        padded = np.zeros((n_tiles * shape.channels, k_tiles * shape.lanes), np.int64)
        padded[: values.shape[0], : values.shape[1]] = values
        # (tile of channels, tile of inputs, half, column, lane)
        tiles = padded.reshape(n_tiles, -1, columns, k_tiles, shape.lanes).transpose(0, 3, 1, 2, 4)
        there = np.ones((n_tiles, k_tiles), bool)
        skips: tuple[int, ...] = ()
        if self.format.blocks:
            used = np.any(tiles, axis=(2, 3, 4))
            skips = tuple(self._skip(used[tile]) for tile in range(n_tiles))
            for index, skip in enumerate(skips):
                there[index] = [not skip >> k // shape.run & 1 for k in range(k_tiles)]
        index = None
        if self.sparse:
            tiles, index = _compressed(tiles, config)
        words = _words(self.code, tiles).reshape(n_tiles, k_tiles, columns * rows)
        if index is not None:
            words = np.concatenate([words, _planes(index, config)], axis=2)
        blocks = np.zeros((n_tiles, ceil_div(k_tiles, shape.run), shape.scales), np.uint8)
        if shape.scales:
            # Before the first tile of each group lie its scales.
            scales = np.zeros((n_tiles * shape.channels, blocks.shape[1]), np.uint8)
            scales[: group_scale.shape[0], : group_scale.shape[1]] = group_scale
            scales = scales.reshape(n_tiles, shape.channels, -1).swapaxes(1, 2)
            blocks[:, :, : shape.channels] = scales
        found = []
        for tile in range(n_tiles):
            parts = []
            for k in np.flatnonzero(there[tile]):
                if k % shape.run == 0:
                    parts.append(blocks[tile, k // shape.run])
                parts.append(words[tile, k])
            found.append(np.concatenate(parts))
        return StoredWeights(found, skips)

    def _skip(self, tiles: NDArray[np.bool_]) -> int:
        """Return the runs that are left out; the first one stays where all are 0."""
        run = self.shape.run
        kept = {int(k) // run for k in np.flatnonzero(tiles)} or {0}
        return sum(1 << bit for bit in range(RUNS) if bit not in kept)


def _words(code: Code, tiles: IntArray) -> NDArray[np.uint8]:
    """Return bytes: of one int8, or of two channels that share a column."""
    if code is Code.INT8:
        return tiles[:, :, 0].astype(np.int8).view(np.uint8)
    if code is Code.INT4:
        nibbles = tiles & 15
    else:
        sizes = np.full(13, -1)
        values = np.array(CODES["fp4"][1])
        sizes[values[values >= 0]] = np.arange(8)
        nibbles = sizes[np.abs(tiles)] + 8 * (tiles < 0)
    return (nibbles[:, :, 0] | nibbles[:, :, 1] << 4).astype(np.uint8)


def _compressed(tiles: IntArray, config: MachineConfig) -> tuple[IntArray, IntArray]:
    """Keep half of each M lanes; return weights and the indices (tile, tile, column, row)."""
    m, keep = config.sparsity, config.sparsity // 2
    groups = tiles.reshape(*tiles.shape[:-1], -1, m)
    used = (groups != 0).any(axis=2)
    if (used.sum(axis=-1) > keep).any():
        raise ValueError(f"more than {keep} of {m} weights are not zero")
    order = np.argsort(~used, axis=-1, kind="stable")[..., :keep]
    order.sort(axis=-1)
    chosen = np.broadcast_to(order[:, :, None], (*groups.shape[:-1], keep))
    kept = np.take_along_axis(groups, chosen, axis=-1)
    return kept.reshape(*tiles.shape[:-1], -1), order.reshape(*order.shape[:-2], -1)


def _planes(index: IntArray, config: MachineConfig) -> NDArray[np.uint8]:
    """Return the bit planes of indices (tile, tile, column, row), a byte for eight columns."""
    blocks = ceil_div(config.columns, 8)
    bits = np.zeros((*index.shape[:2], blocks * 8, config.rows), np.uint8)
    planes = []
    for plane in range(config.index_planes):
        bits[:, :, : config.columns] = index >> plane & 1
        split = bits.reshape(*index.shape[:2], blocks, 8, config.rows)
        planes.append(np.packbits(split, axis=3, bitorder="little"))
    data = np.concatenate(planes, axis=2).reshape(*index.shape[:2], -1)
    padding = config.index_bytes - data.shape[2]
    return np.pad(data, ((0, 0), (0, 0), (0, padding)))
