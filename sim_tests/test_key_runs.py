"""Patterns against boolean masks; chains of ATTENDs against softmax in float64."""

import numpy as np
import pytest

from celosia.compiler.key_patterns import (
    band,
    block_row,
    block_sparse,
    causal,
    causally,
    full,
    packed,
    shared_prefix,
)
from celosia.compiler.key_runs import KeyRun, chain, cut, steps, visible_keys
from celosia.compiler.layout_scratchpad import Region
from celosia.config import PRESETS
from celosia.errors import ProgramError
from celosia.golden.machine import GoldenMachine
from celosia.isa import Flag, Instruction, Opcode

LANES = 4
#: Position of the first query, queries of the block, keys: odd sizes, one key, one query.
BLOCKS = [(0, 1, 1), (0, 5, 5), (3, 7, 23), (8, 4, 31), (17, 6, 23), (40, 3, 43), (5, 8, 13)]


def grid(query, queries, keys):
    return query + np.arange(queries)[:, np.newaxis], np.arange(keys)


def patterns(query, queries, keys, lanes=LANES):
    """Runs of each pattern, keys of its sources, and the boolean mask it stands for."""
    p, k = grid(query, queries, keys)
    yield "full", full(keys), [keys], np.ones((queries, keys), bool)
    yield "causal", causal(query, queries), [keys], k <= p
    for before, after, sinks in [
        (0, 0, 0),
        (2, 0, 0),
        (9, 0, 3),
        (3, 4, 6),
        (5, 2, 17),
        (99, 1, 2),
    ]:
        runs = band(query, queries, keys, lanes, before=before, after=after, sinks=sinks)
        seen = (p - before <= k) & (k <= p + after) | ((k < sinks) & (k < p - before))
        yield f"band {before} {after} {sinks}", runs, [keys], seen
    size = 2 * lanes
    blocks = -(-keys // size)
    rng = np.random.default_rng(keys)
    own = min(query // size, blocks - 1)
    for name, row in {
        "random": rng.random(blocks) < 0.5,
        "diagonals": block_row(own, blocks, offsets=(0, -2, 1)),
        "stripes": block_row(own, blocks, stripes=(0, blocks - 1)),
    }.items():
        runs = block_sparse(row, size, keys, lanes)
        seen = np.broadcast_to(row[k // size], (queries, keys))
        yield name, runs, [keys], seen
        yield f"causal {name}", causally(runs, query, queries), [keys], seen & (k <= p)
    prefix = 11
    runs = shared_prefix(prefix, causal(query, queries))
    yield "prefix", runs, [prefix, keys], np.hstack([np.ones((queries, prefix), bool), k <= p])


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_runs_are_the_pattern(block):
    queries = block[1]
    for name, runs, keys, seen in patterns(*block):
        for most in (1 << 15, 2 * LANES, LANES):
            parts = cut(runs, queries, most)
            assert all(run.first % LANES == 0 and 0 < run.keys <= most for run in parts)
            np.testing.assert_array_equal(visible_keys(parts, queries, keys), seen, name)
            # No part without a visible key, no mask without a hidden one.
            for run in parts:
                assert run.visible(queries).any(), (name, run)
                masked = run.diagonal is not None or run.window is not None
                assert not masked or not run.visible(queries).all(), (name, run)


def test_packed_sequences():
    lengths, seen = [5, 1, 9], np.zeros((15, 15), bool)
    for first, queries, runs in packed(lengths, 4):
        seen[first : first + queries] = visible_keys(runs, queries, lengths)
    sequence = np.repeat([0, 1, 2], lengths)
    np.testing.assert_array_equal(seen, sequence[:, np.newaxis] == sequence)


def test_blocks_of_no_run_cost_nothing():
    # A window of 8 and 4 sinks, far along a long sequence: 4 + 2 blocks of the 250.
    runs = band(1000, 4, 1004, LANES, before=7, sinks=4)
    assert [(run.first, run.keys) for run in runs] == [(0, 4), (992, 12)]
    assert block_sparse([0, 1, 1, 0, 0, 1], LANES, 23, LANES) == [KeyRun(4, 8), KeyRun(20, 3)]


def test_what_cannot_be_said():
    with pytest.raises(ProgramError, match="multiples of 4 keys, not 6"):
        block_sparse([1], 6, 6, 4)
    with pytest.raises(ProgramError, match="9 keys are 3 blocks of 4, not 2"):
        block_sparse([1, 1], 4, 9, 4)
    with pytest.raises(ProgramError, match="query 0 of the block sees key 2 in two runs"):
        visible_keys([KeyRun(0, 4), KeyRun(0, 4, window=2)], 2, [4])
    with pytest.raises(ProgramError, match="must see a key"):
        list(steps([]))


CONFIGS = {
    "square": PRESETS["tiny"].replace(on_chip_bytes=1 << 14),
    "tall": PRESETS["tiny"].replace(on_chip_bytes=1 << 14, rows=8, columns=4),
    "wide": PRESETS["tiny"].replace(on_chip_bytes=1 << 14, rows=2, columns=4),
}
MULTIPLIER, SHIFT = 20000, 19


def attention(logits, v, seen):
    """Base-2 softmax in float64; 0 for a query that sees nothing."""
    largest = np.where(seen, logits, -1e9).max(axis=1, keepdims=True)
    powers = np.where(seen, np.exp2(logits - largest), 0)
    return powers @ v / np.maximum(powers.sum(axis=1, keepdims=True), 1e-30)


def place(pad, base, slot, rows):
    """Write int8 rows, one after the other, and return where they are."""
    words = -(-rows.shape[1] // pad.words.shape[1])
    pad.write(base, words, rows, slot)
    return Region(base, words, slot, len(rows), words)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_chain_is_attention(name, block):
    config, queries = CONFIGS[name], block[1]
    rng = np.random.default_rng(block[2])
    width, depth = 2 * config.columns, 2 * config.rows
    for pattern, runs, keys, seen in patterns(*block, config.lanes):
        if not runs:
            continue
        golden = GoldenMachine(config, bytearray(config.on_chip_bytes))
        pad = golden.state.scratchpad
        q, k, v = (
            rng.integers(-128, 128, (rows, columns))
            for rows, columns in ((queries, depth), (sum(keys), depth), (sum(keys), width))
        )
        ends = np.cumsum(keys)[:-1]
        sources = [
            (place(pad, 100 + 900 * i, 20 + 60 * i, part), place(pad, 600 + 900 * i, 200, own.T))
            for i, (part, own) in enumerate(zip(np.split(k, ends), np.split(v, ends), strict=True))
        ]
        program = chain(
            runs,
            sources,
            config.lanes,
            m=queries,
            d_tiles=2,
            v_tiles=2,
            multiplier=MULTIPLIER,
            shift=SHIFT,
            **place(pad, 0, 0, q).operand("x"),
            **Region(1950, 2, 240, queries, 2).operand("y"),
        )
        code = b"".join(ins.encode() for ins in [*program, Instruction(Opcode.HALT)])
        golden.state.window.bytes[: len(code)] = np.frombuffer(code, np.uint8)
        golden.run()
        y = pad.read(1950, 2, queries, width)
        expected = attention(q @ k.T * MULTIPLIER / 2**SHIFT / 64, v, seen)
        assert np.abs(y - expected).max() < 3, pattern
        assert not y[~seen.any(axis=1)].any(), pattern


def test_run_flags():
    runs = [KeyRun(0, 3), KeyRun(4, 8, diagonal=-2), KeyRun(12, 4, window=1)]
    assert [(flags, operands) for _, flags, operands in steps(runs)] == [
        (Flag.HOLD, {"t": 3}),
        (Flag.HOLD | Flag.CONTINUE | Flag.CAUSAL, {"t": 8, "diagonal": -2}),
        (Flag.CONTINUE | Flag.WINDOW, {"t": 4, "window": 1}),
    ]
