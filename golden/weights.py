"""Stationary tiles in memory: number formats, scales of groups and sparse tiles, as integers."""

import numpy as np
from numpy.typing import NDArray

from celosia.config import MachineConfig
from celosia.errors import ProgramError
from celosia.golden.fixed import IntArray
from celosia.golden.memory import MachineState
from celosia.golden.pe import FP4_DOUBLED, chosen_lanes, decode
from celosia.isa import Code, Flag, Instruction
from celosia.tiles import RUNS, TileShape, instruction_tiles

__all__ = ["MAX_WEIGHT", "check_weights", "read_weights"]

#: Largest magnitude of a weight times its group's scale.
MAX_WEIGHT = int(FP4_DOUBLED.max()) * 255


def check_weights(config: MachineConfig, instruction: Instruction) -> None:
    """Refuse number formats and sparsity that the machine cannot take from where they lie."""
    code, group = instruction["code"], instruction["group"]
    sparse = Flag.SPARSE in instruction.flags
    others = code or group or sparse or instruction["skip"]
    if Flag.WEIGHTS_IN_MEMORY not in instruction.flags and others:
        raise ProgramError("code, group, skip and sparse are for weights in memory")
    if code > max(Code):
        raise ProgramError(f"code must be 0 to {max(Code)}, not {code}")
    if code and config.products == 1:
        raise ProgramError(f'weights of 4 bits need pe = "packed", not {config.pe!r}')
    if group > 16:
        raise ProgramError(f"group must be 0 to 16, not {group}")
    if sparse and config.sparsity == 1:
        raise ProgramError("sparse needs a machine whose sparsity is not 1")
    if instruction["skip"]:
        _check_skip(config, instruction)


def _check_skip(config: MachineConfig, instruction: Instruction) -> None:
    skip, n, shape = instruction["skip"], instruction["n"], instruction_tiles(config, instruction)
    runs = -(-instruction["k_tiles"] // shape.run)
    if config.sparsity == 1:
        raise ProgramError("skip needs a machine whose sparsity is not 1")
    if n > shape.channels:
        raise ProgramError(f"with skip, n must be at most {shape.channels}, not {n}")
    if runs > RUNS:
        raise ProgramError(f"with skip, there must be at most {RUNS} runs, not {runs}")
    if skip >> runs != (1 << RUNS - runs) - 1 or skip == (1 << RUNS) - 1:
        raise ProgramError(
            f"skip must leave some of the {runs} runs, and none beyond, not {skip:#010x}"
        )


def read_weights(state: MachineState, instruction: Instruction) -> tuple[IntArray, int]:
    """Return the stationary operand of a MATMUL with weights in memory.

    Returns
    -------
    weights : (n, k) int64
        Times the scales of their groups; 0 where a sparse tile has none.
    lanes : int
        Inputs of one tile.
    """
    config, n, k_tiles = state.config, instruction["n"], instruction["k_tiles"]
    shape = instruction_tiles(config, instruction)
    size = shape.bytes(k_tiles, instruction["skip"])
    n_tiles = -(-n // shape.channels)
    data = state.window.read(instruction["w_address"], n_tiles * size).reshape(n_tiles, size)
    weights = np.zeros((n_tiles, shape.channels, k_tiles, shape.lanes), np.int64)
    scales = np.ones((n_tiles, shape.channels), np.int64)
    place = 0
    for tile in shape.present(k_tiles, instruction["skip"]):
        if shape.scales and tile % shape.run == 0:
            scales = data[:, place : place + shape.channels].astype(np.int64)
            place += shape.scales
        block = data[:, place : place + shape.tile]
        weights[:, :, tile] = _tiles(config, shape, Code(instruction["code"]), block)
        weights[:, :, tile] *= scales[:, :, np.newaxis]
        place += shape.tile
    return weights.reshape(n_tiles * shape.channels, -1)[:n], shape.lanes


def _tiles(
    config: MachineConfig, shape: TileShape, code: Code, data: NDArray[np.uint8]
) -> IntArray:
    """Return the weights (tiles, channels, lanes) of tiles given as bytes."""
    rows, columns = config.rows, config.columns
    words = data[:, : rows * columns].reshape(-1, columns, rows)
    # The modes of an element are the codes; the low halves of its words are the first C channels.
    values = np.moveaxis(decode("packed", words, code), 3, 1).reshape(-1, shape.channels, rows)
    if shape.lanes == rows:
        return values
    # Plane p holds bit p of the indices, one byte for the same row of eight columns.
    planes, blocks = config.index_planes, -(-columns // 8)
    raw = data[:, rows * columns : rows * columns + planes * blocks * rows]
    bits = np.unpackbits(raw.reshape(-1, planes, blocks, 1, rows), axis=3, bitorder="little")
    bits = bits.reshape(len(raw), planes, blocks * 8, rows)[:, :, :columns].astype(np.int64)
    index = sum(bits[:, plane] << plane for plane in range(planes))
    lane = chosen_lanes(np.tile(index, (1, shape.channels // columns, 1)), config.sparsity)
    sparse = np.zeros((*values.shape[:2], shape.lanes), np.int64)
    # Two rows may name the same lane: both products count.
    t, c, _ = np.indices(values.shape)
    np.add.at(sparse, (t, c, lane), values)
    return sparse
