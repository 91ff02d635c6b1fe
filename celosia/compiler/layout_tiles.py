"""Weights as tiles in memory: number formats, scales of groups and sparse tiles."""

import numpy as np
from numpy.typing import NDArray

from celosia.compiler.layout import ceil_div
from celosia.compiler.weight_format import CODES, WeightFormat
from celosia.config import MachineConfig
from celosia.golden.fixed import IntArray
from celosia.isa import Code
from celosia.tiles import TileShape, tile_shape

__all__ = ["format_operands", "format_tiles", "stored_bytes", "weight_tiles"]

#: How the machine stores a format; ternary weights are a special case of int4.
STORED = {"int8": Code.INT8, "int4": Code.INT4, "fp4": Code.FP4, "ternary": Code.INT4}


def format_operands(config: MachineConfig, format: WeightFormat) -> tuple[Code, int, bool]:
    """Return the operands `code` and `group` of a MATMUL, and whether it is sparse."""
    sparse = format.sparsity != (1, 1)
    lanes = config.rows * (2 if sparse else 1)
    group = (format.group // lanes).bit_length() if format.group else 0
    return STORED[format.code], group, sparse


def format_tiles(config: MachineConfig, format: WeightFormat) -> TileShape:
    """Return the shape of the tiles of weights of a format."""
    code, group, sparse = format_operands(config, format)
    return tile_shape(config, code, group, sparse=sparse)


def stored_bytes(shape: tuple[int, ...], format: WeightFormat, config: MachineConfig) -> int:
    """Return the bytes of a matrix (out, in) in memory, padding included."""
    tiles = format_tiles(config, format)
    return ceil_div(shape[0], tiles.channels) * tiles.bytes(ceil_div(shape[1], tiles.lanes))


def weight_tiles(
    values: IntArray, group_scale: IntArray, format: WeightFormat, config: MachineConfig
) -> NDArray[np.uint8]:
    """Arrange weights (out, in) as the array takes them, as docs/architecture.md says.

    Both sizes are padded with zeros to whole tiles.

    Parameters
    ----------
    values : (out, in) int
        Integers of the format.
    group_scale : (out, groups) int
        Scales of the groups; without groups of no use.
    format : WeightFormat
        The format.
    config : MachineConfig
        The machine.

    Returns
    -------
    (tiles of channels, bytes) uint8

    Raises
    ------
    ValueError
        If more weights are not zero than the pattern, which two channels may share, has room for.
    """
    code, _, sparse = format_operands(config, format)
    shape = format_tiles(config, format)
    rows, columns = config.rows, config.columns
    n_tiles = ceil_div(values.shape[0], shape.channels)
    k_tiles = ceil_div(values.shape[1], shape.lanes)
    padded = np.zeros((n_tiles * shape.channels, k_tiles * shape.lanes), np.int64)
    padded[: values.shape[0], : values.shape[1]] = values
    halves = shape.channels // columns
    # (tile of channels, tile of inputs, half, column, lane)
    tiles = padded.reshape(n_tiles, halves, columns, k_tiles, shape.lanes)
    tiles = tiles.transpose(0, 3, 1, 2, 4)
    index = None
    if sparse:
        tiles, index = _compressed(tiles, config)
    words = _words(code, tiles).reshape(n_tiles, k_tiles, columns * rows)
    if index is not None:
        words = np.concatenate([words, _planes(index, config)], axis=2)
    if not shape.scales:
        return words.reshape(n_tiles, -1)
    # Before the first tile of each group lie its scales.
    groups = ceil_div(k_tiles, shape.run)
    scales = np.zeros((n_tiles * shape.channels, groups), np.uint8)
    scales[: group_scale.shape[0], : group_scale.shape[1]] = group_scale
    scales = scales.reshape(n_tiles, shape.channels, groups)
    parts = []
    for group in range(groups):
        block = np.zeros((n_tiles, shape.scales), np.uint8)
        block[:, : shape.channels] = scales[:, :, group]
        run = words[:, group * shape.run : (group + 1) * shape.run]
        parts += [block, run.reshape(n_tiles, -1)]
    return np.concatenate(parts, axis=1)


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
