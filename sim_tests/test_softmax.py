# amaranth: UnusedElaboratable=no
"""The streaming softmax against its twin, and the twin against softmax in floating point."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from harness import simulate

from celosia.config import PRESETS, MachineConfig
from celosia.cores.softmax import StreamingSoftmax
from celosia.golden.softmax import (
    EXP2_TABLE,
    SoftmaxState,
    accumulate,
    attend,
    attention_float,
    normalise,
    softmax_block,
)


def sized(rows: int, columns: int, **changes: int) -> MachineConfig:
    name = f"{rows}x{columns}"
    return PRESETS["tiny"].replace(name=name, rows=rows, columns=columns, **changes)


@pytest.mark.parametrize(
    ("config", "latency", "reciprocal_latency", "turnaround"),
    [
        (sized(4, 4, attention_rows=8, accumulator_width=24), 8, 27, 7),
        (sized(8, 4, attention_rows=4, accumulator_width=24), 10, 30, 8),
        (sized(16, 8, attention_rows=8), 11, 32, 9),
        (sized(4, 8, attention_rows=16, accumulator_width=27), 9, 29, 8),
        (sized(16, 4, attention_rows=4, accumulator_width=31), 12, 32, 8),
    ],
    ids=["4x4", "8x4", "16x8", "4x8", "16x4"],
)
def test_matches_golden(config, latency, reciprocal_latency, turnaround, tmp_path):
    dut = StreamingSoftmax(config)
    assert dut.latency == latency
    assert dut.reciprocal_latency == reciprocal_latency
    # One row alone comes back after two passes of as many cycles as there are columns.
    assert dut.turnaround == turnaround <= 2 * config.columns
    environment = {
        "CONFIG": json.dumps(config.to_dict()),
        "LATENCY": latency,
        "RECIPROCAL_LATENCY": reciprocal_latency,
        "TURNAROUND": turnaround,
    }
    simulate(dut, "tb_softmax", tmp_path, **environment)


@pytest.mark.parametrize("columns", [4, 8, 16, 32, 64])
@pytest.mark.parametrize("rows", [2, 4, 16, 64])
def test_row_comes_back_in_time(rows, columns):
    config = sized(rows, columns, attention_rows=4, accumulator_rows=512)
    assert StreamingSoftmax(config).turnaround <= 2 * columns


def test_table_is_the_power():
    assert EXP2_TABLE[0] == 255 * 256 and EXP2_TABLE.max() < 1 << 16
    exact = 255 * 256 * np.exp2(-np.arange(64) / 64)
    assert np.abs(EXP2_TABLE - exact).max() <= 0.5


def test_block_by_hand():
    config = sized(4, 4)
    t = np.array([[0, -64, -1, 64]])
    p, a, b, state = softmax_block(config, t, np.array([True, True, True, False]), None)
    # Exponent 0; 255, 127.5 rounded up, 255·2^(-1/64) = 252.25; the last key is masked.
    np.testing.assert_array_equal(p, [[255, 128, 252, 0]])
    assert (a, b, state.exponent) == (0, 0, 0) and state.denominator == (255 + 128 + 252) << 14
    # An exponent of 3: what was there is shifted by 3.
    _, a, b, state = softmax_block(config, np.array([[129, -400, 0, 0]]), t[0] < 0, state)
    assert (a, b, state.exponent) == (0, 0, 0)
    _, a, b, state = softmax_block(config, np.array([[129, 0, 0, 0]]), t[0] >= 0, state)
    assert (a, b, state.exponent) == (3, 0, 3)


def test_bump_keeps_the_denominator_below_its_width():
    config = sized(4, 4)
    limit = 1 << 29
    every = np.ones(4, bool)
    state = SoftmaxState(np.array([5]), np.array([limit]))
    _, a, b, state = softmax_block(config, np.full((1, 4), 64 * 5), every, state)
    assert (a, b, state.exponent) == (1, 1, 6)
    assert state.denominator == limit // 2 + (4 * 255 << 14 >> 1)
    # A block whose exponent rises shifts anyway.
    state = SoftmaxState(np.array([5]), np.array([limit + 100]))
    _, a, b, state = softmax_block(config, np.full((1, 4), 64 * 6), every, state)
    assert (a, b, state.exponent) == (1, 0, 6)


def test_eight_octaves_down_is_the_last_probability():
    config = sized(4, 4)
    t = -64 * np.array([[0, 7, 8, 9], [0, 8, 9, 512]]) - [0, 63, 63, 0]
    p = softmax_block(config, t, np.ones(4, bool), None)[0]
    # 255·2^(-8 + 1/64) = 1.007, 255·2^(-9 + 1/64) = 0.504, then 0.498.
    np.testing.assert_array_equal(p, [[255, 1, 1, 0], [255, 1, 0, 0]])


def test_denominator_bounds():
    config = sized(16, 16, accumulator_rows=128)
    rng = np.random.default_rng(0)
    least, most, state = 128 << 14, 3 << 28, None
    for _ in range(400):
        spread = rng.choice([1, 60, 4000])
        t = np.clip(rng.normal(0, spread, (32, 16)), -32768, 32767).astype(np.int64)
        t[:8] = 64 * rng.integers(-512, 512, (8, 1)) + 1  # the least that a block can add
        state = softmax_block(config, t, rng.permutation(16) <= rng.integers(16), state)[3]
        assert state.denominator.min() >= least and state.denominator.max() < most


@pytest.mark.parametrize("keys", [1, 15, 16, 17, 100, 1024])
@pytest.mark.parametrize("spread", [0.1, 1.0, 4.0])
def test_attention_is_near_the_float_one(keys, spread):
    config = sized(8, 16, attention_rows=16, accumulator_rows=64)
    rng = np.random.default_rng(keys)
    q, k = spread * rng.normal(size=(8, 32)), rng.normal(size=(keys, 32))
    v = rng.integers(-127, 128, (keys, 8))
    t = np.round(q @ k.T / np.sqrt(32) * np.log2(np.e) * 64).astype(np.int64)
    exact = attention_float(q, k, v)
    error = np.abs(attend(config, t, v, exponents=8) / 256 - exact).max()
    # Rounding takes 1 in 256 of a probability, and 1 in 185 with its logit.
    assert error <= 0.015 * np.abs(v).max()


@pytest.mark.parametrize("width", [24, 25, 28, 32])
@pytest.mark.parametrize("blocks", [3, 511])
def test_accumulators_hold_any_number_of_keys(blocks, width):
    config = sized(64, 64, attention_rows=8, accumulator_width=width)
    # The most that a block can add. The third makes the denominator as large as it can be, the
    # others halve it many times.
    keys = 64 * blocks
    t, v = np.full((1, keys), 64), np.tile([-128, 127], (keys, 1))
    np.testing.assert_array_equal(attend(config, t, v), [[-128, 127]])


def test_accuracy_script_writes_records(tmp_path):
    script = Path(__file__).parents[1] / "scripts" / "accuracy_attention.py"
    path = tmp_path / "records.json"
    only = ["accuracy.attention.normal.k1024", "accuracy.attention.worst"]
    command = [sys.executable, script, "--json", path, "--only", *only]
    subprocess.run(command, check=True, capture_output=True)
    records = json.loads(path.read_text())
    assert [record["name"] for record in records] == only
    keys = {"name", "value", "unit", "target", "limit", "config", "how"}
    assert all(set(record) == keys for record in records)
    # Probabilities of 8 bits cannot be exact.
    assert 0 < records[0]["value"] <= records[1]["value"] <= records[1]["target"]


def test_rows_that_see_no_key():
    config = sized(4, 4)
    t, every = np.full((2, 4), 640), np.ones(4, bool)
    some = np.array([[False] * 4, [True] * 4])
    p, a, b, state = softmax_block(config, t, some, None)
    np.testing.assert_array_equal(p, np.where(some, EXP2_TABLE[0] >> 8, 0))
    np.testing.assert_array_equal(state.exponent, [-512, 10])
    assert state.denominator[0] == 0 < state.denominator[1]
    # Row 0 begins only now: as in a first block, but for a shift of nothing.
    p, a, b, late = softmax_block(config, t, every, state)
    np.testing.assert_array_equal(late.exponent, [10, 10])
    assert late.denominator[0] == state.denominator[1]
    assert (a[0], b[0]) == (31, 0)
    # A block that shows nothing changes nothing.
    p, a, b, after = softmax_block(config, t, ~every, late)
    assert not p.any() and not a.any() and (b == 31).all()
    np.testing.assert_array_equal(after.exponent, late.exponent)
    np.testing.assert_array_equal(after.denominator, late.denominator)
    # Of nothing the output is nothing, whatever the exponents of the values.
    for exponent in (0, 8):
        y = normalise(config, np.array([[0, 0], [5, -5]]), state.denominator, exponent)
        np.testing.assert_array_equal(y[0], 0)


def test_exponents_are_those_of_each_column():
    config = sized(4, 4)
    o, denominator = np.full((1, 3), 1000 << 8), np.array([1 << 14])
    y = normalise(config, o, denominator, np.array([0, 3, 8]))
    np.testing.assert_array_equal(y, [[1000, 8000, 32767]])
    s = np.array([[5, -5]])
    o = accumulate(config, None, s, np.array([0]), np.array([9]), first_tile=True)
    np.testing.assert_array_equal(o, [[2, -3]])
    o = accumulate(config, o, s, np.array([1]), np.array([8]), first_tile=True)
    np.testing.assert_array_equal(o, [[6, -7]])
    o = accumulate(config, o, s, np.array([1]), np.array([8]), first_tile=False)
    np.testing.assert_array_equal(o, [[11, -12]])


def test_twin_rejects_wrong_blocks():
    config = sized(4, 4)
    t, valid = np.zeros((2, 4), int), np.ones(4, bool)
    with pytest.raises(ValueError, match=r"^t must have the shape \(2, 4\), not \(2, 3\)$"):
        softmax_block(config, t[:, :3], valid, None)
    with pytest.raises(ValueError, match=r"^t must be between -32768 and 32767, not 0 to 32768$"):
        softmax_block(config, t + 32768 * np.eye(2, 4, dtype=int), valid, None)
    with pytest.raises(ValueError, match=r"^valid must .* shape \(2, 4\) or \(4,\), not \(3,\)$"):
        softmax_block(config, t, valid[:3], None)
    with pytest.raises(ValueError, match=r"^attention needs at least one key$"):
        attend(config, t[:, :0], t[:0])
