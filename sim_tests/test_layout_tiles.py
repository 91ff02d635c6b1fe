"""Weights as tiles in memory: what the compiler writes is what the golden machine reads."""

import numpy as np
import pytest

from celosia.compiler.layout_tiles import TiledFormat
from celosia.compiler.weight_format import CODES, WeightFormat
from celosia.config import PRESETS
from celosia.golden.memory import MachineState
from celosia.golden.weights import read_weights
from celosia.isa import Flag, Instruction, Opcode

SQUARE = PRESETS["tiny"].replace(pe="packed")
MACHINES = {
    "square": SQUARE.replace(sparsity=4),
    "tall": SQUARE.replace(rows=8, columns=4, sparsity=8),
    "wide": SQUARE.replace(rows=4, columns=16, sparsity=4, attention_rows=8),
    "beats": SQUARE.replace(rows=4, columns=4, sparsity=4, memory_width=8),
}


def pattern(rng, shape, sparsity, pair):
    """A mask that keeps N of M, the same for both channels of a pair."""
    keep, run = sparsity
    order = np.argsort(rng.random((*shape[:1], -(-shape[1] // run), run)), axis=2)
    mask = (order < keep).reshape(shape[0], -1)[:, : shape[1]]
    if pair:
        for c in range(shape[0]):
            if c // pair % 2:
                mask[c] = mask[c - pair]
    return mask


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("sparsity", [(1, 1), (2, 4), (1, 4), (1, 8)])
@pytest.mark.parametrize("size", [(1, 3), (13, 37), (32, 64)])
def test_round_trip(name, code, sparsity, size):
    config = MACHINES[name]
    if sparsity[1] > config.sparsity:
        pytest.skip("beyond the machine")
    rng = np.random.default_rng(size[0])
    pair = 0 if code == "int8" else config.columns
    values = rng.choice(CODES[code][1], size)
    if sparsity != (1, 1):
        values = np.where(pattern(rng, size, sparsity, pair), values, 0)
    for tiles in [0] if code == "int8" else [0, 1, 4]:
        lanes = config.rows * (1 if sparsity == (1, 1) else 2)
        format = WeightFormat(code, tiles * lanes, sparsity)
        groups = -(-size[1] // (tiles * lanes)) if tiles else 1
        scale = rng.integers(1, 256, (size[0], groups))
        check(config, format, values, scale)


def check(config, format, values, scale):
    """The golden machine must read what was stored, tile by tile of channels."""
    tiled = TiledFormat(config, format, values.shape[1])
    stored, shape = tiled.store(values, scale), tiled.shape
    assert stored.bytes == sum(len(one) for one in stored.tiles)
    whole = np.zeros((len(stored.tiles) * shape.channels, tiled.k_tiles * shape.lanes), int)
    for index, data in enumerate(stored.tiles):
        skip = stored.skips[index] if stored.skips else 0
        assert len(data) == shape.bytes(tiled.k_tiles, skip)
        operands = {"n": shape.channels, "k_tiles": tiled.k_tiles, "code": int(tiled.code)}
        operands |= {"group": tiled.group, "skip": skip}
        flags = Flag.WEIGHTS_IN_MEMORY | (Flag.SPARSE if tiled.sparse else Flag(0))
        state = MachineState.blank(config, data.copy())
        found, _ = read_weights(state, Instruction(Opcode.MATMUL, operands, flags))
        whole[index * shape.channels : (index + 1) * shape.channels] = found
    outputs, inputs = values.shape
    steps = np.repeat(scale, format.group or inputs, axis=1)[:, :inputs] if format.group else 1
    np.testing.assert_array_equal(whole[:outputs, :inputs], values * steps)
    assert not whole[outputs:].any() and not whole[:, inputs:].any()
    return stored


@pytest.mark.parametrize(
    "format",
    [
        WeightFormat("int8", blocks=0.5),
        WeightFormat("int8", 0, (2, 4), 0.5),
        WeightFormat("int4", 16, blocks=0.5),
        WeightFormat("fp4", 16, (1, 4), 0.5),
    ],
)
def test_blocks_are_left_out(format):
    config = MACHINES["square"]
    rng = np.random.default_rng(3)
    size = (21, 260)
    values = rng.choice(CODES[format.code][1], size)
    pair = 0 if format.code == "int8" else config.columns
    if format.sparsity != (1, 1):
        values = np.where(pattern(rng, size, format.sparsity, pair), values, 0)
    tiled = TiledFormat(config, format, size[1])
    channels, inputs = tiled.block
    kept = rng.random((-(-size[0] // channels), -(-size[1] // inputs))) < 0.5
    kept[0] = False  # all of them: one stays nevertheless
    values *= kept.repeat(channels, axis=0).repeat(inputs, axis=1)[: size[0], : size[1]]
    scale = rng.integers(1, 256, (size[0], -(-size[1] // (format.group or size[1]))))
    stored = check(config, format, values, scale)
    assert len(stored.skips) == len(kept) and ~stored.skips[0] & 0xFFFFFFFF == 1
    full = TiledFormat(config, WeightFormat(format.code, format.group, format.sparsity), size[1])
    assert stored.bytes < 0.7 * full.store(values, scale).bytes


def test_too_many_weights_are_refused():
    config = MACHINES["square"]
    values = np.zeros((8, 8), int)
    values[0, :2] = values[4, 1:3] = 1  # channels 0 and 4 share their pattern
    format = WeightFormat("int4", 0, (2, 4))
    tiled = TiledFormat(config, format, 8)
    with pytest.raises(ValueError, match="more than 2 of 4 weights are not zero"):
        tiled.store(values, np.ones((8, 1), int))
    values[4, 2] = 0
    tiled.store(values, np.ones((8, 1), int))
