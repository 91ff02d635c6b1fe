"""Weights as tiles in memory: what the compiler writes is what the golden machine reads."""

import numpy as np
import pytest

from celosia.compiler.layout_tiles import format_operands, format_tiles, weight_tiles
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
        data = weight_tiles(values, scale, format, config)
        shape = format_tiles(config, format)
        k_tiles = -(-size[1] // shape.lanes)
        assert data.shape == (-(-size[0] // shape.channels), shape.bytes(k_tiles))

        memory = np.zeros(data.size, np.uint8)
        memory[:] = data.reshape(-1)
        state = MachineState.blank(config, memory)
        number, group, sparse = format_operands(config, format)
        operands = {"n": size[0], "k_tiles": k_tiles, "code": int(number), "group": group}
        flags = Flag.WEIGHTS_IN_MEMORY | (Flag.SPARSE if sparse else Flag(0))
        found, _ = read_weights(state, Instruction(Opcode.MATMUL, operands, flags))
        steps = np.repeat(scale, tiles * lanes or size[1], axis=1)[:, : size[1]] if tiles else 1
        np.testing.assert_array_equal(found[:, : size[1]], values * steps)
        assert not found[:, size[1] :].any()


def test_too_many_weights_are_refused():
    config = MACHINES["square"]
    values = np.zeros((8, 8), int)
    values[0, :2] = values[4, 1:3] = 1  # channels 0 and 4 share their pattern
    format = WeightFormat("int4", 0, (2, 4))
    with pytest.raises(ValueError, match="more than 2 of 4 weights are not zero"):
        weight_tiles(values, np.ones((8, 1), int), format, config)
    values[4, 2] = 0
    weight_tiles(values, np.ones((8, 1), int), format, config)
