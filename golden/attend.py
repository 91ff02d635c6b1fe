"""ATTEND of the golden machine: softmax(Q·Kᵀ)·V over blocks of keys."""

import numpy as np

from celosia.errors import ProgramError
from celosia.golden.fixed import IntArray
from celosia.golden.matmul import accumulate_products, check_range, quantised_rows
from celosia.golden.memory import MachineState
from celosia.golden.requant import requantise
from celosia.golden.softmax import SoftmaxState, accumulate, normalise, softmax_block
from celosia.isa import Flag, Instruction

__all__ = ["attend"]


def attend(state: MachineState, instruction: Instruction) -> int:
    """Execute one ATTEND.

    Returns
    -------
    int
        Rows streamed into the array.
    """
    config, lanes = state.config, state.config.lanes
    m = check_range(instruction, "m", 1, config.attention_rows)
    t = check_range(instruction, "t", 1, 65535)
    d_tiles = check_range(instruction, "d_tiles", 1, 65535)
    v_tiles = check_range(instruction, "v_tiles", 1, config.accumulator_rows // m)
    width, blocks = v_tiles * config.columns, -(-t // lanes)
    _check_overlaps(state, instruction, width, blocks * lanes)

    v, e_v = quantised_rows(
        state,
        instruction["v_base"],
        instruction["v_stride"],
        instruction["v_slot"],
        width,
        blocks * lanes,
    )
    y = _blocks(state, _logits(state, instruction), v, e_v)
    state.scratchpad.write(
        instruction["y_base"],
        instruction["y_stride"],
        y,
        instruction["y_slot"],
        keep=Flag.KEEP_EXPONENT in instruction.flags,
    )
    passes = d_tiles * (lanes // config.columns) + v_tiles * (lanes // config.rows)
    return m * blocks * passes


def _logits(state: MachineState, instruction: Instruction) -> IntArray:
    """Return base-2 logits (m, t), int16 with 6 fraction bits."""
    config = state.config
    depth = instruction["d_tiles"] * config.rows
    multiplier = check_range(instruction, "multiplier", 0, 32767)
    shift = check_range(instruction, "shift", 0, 63)
    (q, e_q), (k, e_k) = (
        quantised_rows(
            state,
            instruction[f"{name}_base"],
            instruction[f"{name}_stride"],
            instruction[f"{name}_slot"],
            instruction[rows],
            depth,
        )
        for name, rows in (("x", "m"), ("w", "t"))
    )
    acc = accumulate_products(q, k, config.rows, config.accumulator_width)
    return requantise(acc, multiplier, shift - e_q[:, np.newaxis] - e_k, 0)[0]


def _blocks(state: MachineState, logits: IntArray, v: IntArray, e_v: IntArray) -> IntArray:
    """Return the output (m, width) from logits (m, t) and values (width, keys of all blocks)."""
    config, lanes = state.config, state.config.lanes
    t = logits.shape[1]
    logits = np.pad(logits, ((0, 0), (0, v.shape[1] - t)))
    softmax: SoftmaxState | None = None
    o: IntArray | None = None
    for start in range(0, t, lanes):
        valid = np.arange(start, start + lanes) < t
        p, a, b, softmax = softmax_block(config, logits[:, start : start + lanes], valid, softmax)
        for k in range(0, lanes, config.rows):
            keys = slice(start + k, start + k + config.rows)
            s = accumulate_products(
                p[:, k : k + config.rows], v[:, keys], config.rows, config.accumulator_width
            )
            o = accumulate(config, o, s, a, b, first_tile=k == 0)
    assert o is not None and softmax is not None, "t is at least 1"
    return normalise(o, softmax.denominator, e_v)


def _check_overlaps(state: MachineState, instruction: Instruction, width: int, keys: int) -> None:
    """Refuse a result over K or Vᵀ; over Q is fine, which has been read by then."""
    pad, m = state.scratchpad, instruction["m"]
    depth = instruction["d_tiles"] * state.config.rows
    y = pad.addresses(instruction["y_base"], instruction["y_stride"], m, width)
    y_slots = range(instruction["y_slot"], instruction["y_slot"] + m)
    for name, rows, extent in (("w", instruction["t"], depth), ("v", width, keys)):
        base, stride = instruction[f"{name}_base"], instruction[f"{name}_stride"]
        pad.check_apart(name, pad.addresses(base, stride, rows, extent), y)
        slot = instruction[f"{name}_slot"]
        if slot < y_slots.stop and y_slots.start < slot + rows:
            raise ProgramError(f"the exponents of the result must not overlap those of {name}")
