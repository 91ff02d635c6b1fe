"""Number formats, groups and sparse tiles in the golden machine, against plain arithmetic."""

import numpy as np
import pytest
from test_golden_machine import DATA, NONE, SQUARE, F, agree, machines, product, put

from celosia.compiler.dependencies_effects import effects
from celosia.errors import ConfigError, ProgramError
from celosia.tiles import instruction_tiles

CONFIGS = {
    "packed": SQUARE.replace(pe="packed"),
    "sparse": SQUARE.replace(rows=8, columns=4, pe="packed", sparsity=8),
    "parts": SQUARE.replace(rows=2, columns=16, pe="packed", sparsity=4, attention_rows=8),
    "narrow": SQUARE.replace(pe="packed", sparsity=4, accumulator_width=24),
    "chosen": SQUARE.replace(sparsity=4),
}
MEMORY = F.WEIGHTS_IN_MEMORY


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("sparse", [NONE, F.SPARSE])
@pytest.mark.parametrize("code", [0, 1, 2])
def test_stored_weights(name, sparse, code):
    config = CONFIGS[name]
    if (code and config.products == 1) or (sparse and config.sparsity == 1):
        pytest.skip("not of this machine")
    rng = np.random.default_rng(code)
    for group in [0, 1, 2, 3] if code else [0]:
        for n, k_tiles in [(1, 1), (13, 2), (8, 3), (21, 1)]:
            if k_tiles * config.rows * 2 > 4 * config.lanes:
                k_tiles = 1
            golden, plain, memory = machines(config, rng)
            flags = MEMORY | sparse | (F.WIDE if name != "narrow" and n == 8 else NONE)
            ins = product(config, 3, n, k_tiles, flags, code=code, group=group)
            agree(golden, plain, memory, ins)
            if config.sparsity > 1 and n < 9:
                run = 1 << max(group - 1, 0)
                runs = -(-k_tiles // run)
                skip = ~int(rng.integers(1, 1 << runs)) & 0xFFFFFFFF
                n = min(n, config.columns)
                flags |= F.RESIDUAL
                operands = {"code": code, "group": group, "skip": skip}
                ins = product(config, 3, n, k_tiles, flags, **operands)
                agree(golden, plain, memory, ins)
            # The order of memory's users rests on what is said to be read.
            tiles = instruction_tiles(config, ins)
            end = DATA + -(-n // tiles.channels) * tiles.bytes(k_tiles, ins["skip"])
            last = max(np.max(places) for places in effects(ins, config).reads["memory"])
            assert last == (end - 1) // config.memory_width


def result(config, golden, memory, ins):
    """Run one instruction and return what it writes."""
    put(golden, None, memory, [ins])
    golden.run()
    return golden.state.scratchpad.read(ins["y_base"], ins["y_stride"], ins["m"], ins["n"])


def test_scales_multiply():
    config = CONFIGS["packed"]
    golden, _, memory = machines(config, np.random.default_rng(1))
    golden.state.parameters[:] = [1 << 14, 14, 0]
    golden.state.scratchpad.words[:] >>= 11
    golden.state.scratchpad.exponents[:] = 0
    found = []
    for scale in (0, 1, 3):
        memory[DATA : DATA + config.scale_bytes] = scale
        ins = product(config, 2, 8, 1, MEMORY, code=1, group=1)
        found.append(result(config, golden, memory, ins))
    assert found[1].any() and not found[0].any()
    np.testing.assert_array_equal(found[2], 3 * found[1].astype(int))


@pytest.mark.parametrize(
    ("name", "flags", "operands", "message"),
    [
        ("chosen", MEMORY, {"code": 1}, "weights of 4 bits need pe = \"packed\", not 'multiply'"),
        ("packed", MEMORY, {"code": 3}, "code must be 0 to 2, not 3"),
        ("packed", MEMORY, {"skip": 2}, "skip needs a machine whose sparsity is not 1"),
        ("chosen", MEMORY, {"skip": 2, "n": 5}, "with skip, n must be at most 4, not 5"),
        ("chosen", MEMORY, {"skip": 2, "k_tiles": 33}, "there must be at most 32 runs, not 33"),
        ("chosen", MEMORY, {"skip": 2, "k_tiles": 4}, "leave some of the 4 runs, and none beyond"),
        ("chosen", MEMORY, {"skip": (1 << 32) - 1}, "must leave some of the 1 runs"),
        ("packed", MEMORY, {"code": 1, "group": 17}, "group must be 0 to 16, not 17"),
        ("packed", MEMORY | F.SPARSE, {}, "sparse needs a machine whose sparsity is not 1"),
        ("packed", NONE, {"code": 1}, "code, group, skip and sparse are for weights in memory"),
    ],
)
def test_refused(name, flags, operands, message):
    config = CONFIGS[name]
    golden, _, memory = machines(config, np.random.default_rng(0))
    shape = operands.pop("n", 4), operands.pop("k_tiles", 1)
    with pytest.raises(ProgramError, match=message):
        result(config, golden, memory, product(config, 2, *shape, flags, **operands))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pe": "ternary"}, "pe 'ternary' cannot hold the int8 keys and values of attention"),
        ({"pe": "dsp"}, 'pe \'dsp\' is not known; a machine takes "multiply" or "packed"'),
        ({"sparsity": 2}, r"sparsity must be 1, 4 or 8 and at most twice the rows \(8\), not 2"),
        ({"rows": 2, "sparsity": 8}, r"at most twice the rows \(4\), not 8"),
    ],
)
def test_configurations_that_cannot_be(changes, message):
    with pytest.raises(ConfigError, match=message):
        SQUARE.replace(**changes)
