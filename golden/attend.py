"""ATTEND of the golden machine: softmax(Q·Kᵀ)·V over a run of keys, in blocks."""

import numpy as np
from numpy.typing import NDArray

from celosia.errors import ProgramError
from celosia.golden.fixed import IntArray
from celosia.golden.matmul import (
    accumulate_products,
    check_range,
    check_released,
    quantised_rows,
    streamed_rows,
)
from celosia.golden.memory import HeldAttention, MachineState
from celosia.golden.requant import requantise
from celosia.golden.softmax import SoftmaxState, accumulate, normalise, softmax_block
from celosia.isa import Flag, Instruction

__all__ = ["attend", "visible_keys"]


def attend(state: MachineState, instruction: Instruction) -> int:
    """Execute one ATTEND.

    Returns
    -------
    int
        Rows streamed into the array.
    """
    config, lanes, flags = state.config, state.config.lanes, instruction.flags
    m = check_range(instruction, "m", 1, config.attention_rows)
    t = check_range(instruction, "t", 1, 65535)
    d_tiles = check_range(instruction, "d_tiles", 1, 255)
    v_tiles = check_range(instruction, "v_tiles", 1, config.accumulator_rows // m)
    y_shift = check_range(instruction, "y_shift", 0, 15)
    if instruction["period"] and m % instruction["period"]:
        raise ProgramError(f"period must divide m, {m}, not {instruction['period']}")
    width, blocks = v_tiles * config.columns, -(-t // lanes)
    v, e_v = quantised_rows(
        state,
        instruction["v_base"],
        instruction["v_stride"],
        instruction["v_slot"],
        width,
        blocks * lanes,
    )
    held = _continued(state, instruction, e_v)
    if Flag.HOLD not in flags:
        _check_overlaps(state, instruction, width, blocks * lanes)

    held = HeldAttention(*_blocks(state, instruction, v, held), e_v)
    if Flag.HOLD in flags:
        state.held = held
    else:
        state.held = None
        state.scratchpad.write(
            instruction["y_base"],
            instruction["y_stride"],
            normalise(config, held.accumulators, held.softmax.denominator, e_v + y_shift),
            instruction["y_slot"],
            keep=Flag.KEEP_EXPONENT in flags,
            period=instruction["period"],
            group=instruction["y_group"],
        )
    # The high and the low byte of wide queries go through the array one after the other.
    scores = d_tiles * (lanes // config.columns) * (2 if Flag.WIDE in flags else 1)
    passes = scores + v_tiles * (lanes // config.rows)
    return m * blocks * passes


def visible_keys(instruction: Instruction, keys: int) -> NDArray[np.bool_]:
    """Say which of the first `keys` keys of the run, those after the last too, a query sees.

    Returns
    -------
    (m, keys) bool
    """
    m = instruction["m"]
    query = np.arange(m)[:, np.newaxis] % (instruction["period"] or m)
    key = np.arange(keys)
    visible = np.broadcast_to(key < instruction["t"], (m, keys))
    if Flag.CAUSAL in instruction.flags:
        visible = visible & (key <= query + instruction["diagonal"])
    if Flag.WINDOW in instruction.flags:
        visible = visible & (key >= query + instruction["window"])
    return visible


def _continued(
    state: MachineState, instruction: Instruction, exponents: IntArray
) -> HeldAttention | None:
    """Return what the ATTEND before has left; None at the start of a chain."""
    if Flag.CONTINUE not in instruction.flags:
        check_released(state)
        return None
    held = state.held
    if not isinstance(held, HeldAttention):
        raise ProgramError("an ATTEND with continue must follow one with hold")
    rows, width = held.accumulators.shape
    for name, expected in (("m", rows), ("v_tiles", width // state.config.columns)):
        if instruction[name] != expected:
            raise ProgramError(
                f"{name} must be {expected}, as in the ATTEND that it continues, "
                f"not {instruction[name]}"
            )
    if not np.array_equal(exponents, held.exponents):
        raise ProgramError("the exponents of v must be those of the ATTEND that it continues")
    return held


def _logits(state: MachineState, instruction: Instruction) -> IntArray:
    """Return base-2 logits (m, t), int16 with 6 fraction bits."""
    config = state.config
    depth = instruction["d_tiles"] * config.rows
    multiplier = check_range(instruction, "multiplier", 0, 32767)
    shift = check_range(instruction, "shift", 0, 63)
    q, e_q, bits = streamed_rows(
        state,
        instruction,
        instruction["m"],
        depth,
        period=instruction["period"],
        group=instruction["x_group"],
    )
    k, e_k = quantised_rows(
        state,
        instruction["w_base"],
        instruction["w_stride"],
        instruction["w_slot"],
        instruction["t"],
        depth,
    )
    acc = accumulate_products(q, k, config.rows, config.accumulator_width, bits=bits)
    return requantise(acc, multiplier, shift - e_q[:, np.newaxis] - e_k, 0)[0]


def _blocks(
    state: MachineState, instruction: Instruction, v: IntArray, held: HeldAttention | None
) -> tuple[SoftmaxState, IntArray]:
    """Take the run's blocks into softmax and accumulators; v is (width, keys of all blocks)."""
    config, lanes = state.config, state.config.lanes
    logits = _logits(state, instruction)
    logits = np.pad(logits, ((0, 0), (0, v.shape[1] - logits.shape[1])))
    visible = visible_keys(instruction, v.shape[1])
    softmax, o = (None, None) if held is None else (held.softmax, held.accumulators)
    for start in range(0, v.shape[1], lanes):
        block = slice(start, start + lanes)
        p, a, b, softmax = softmax_block(config, logits[:, block], visible[:, block], softmax)
        for k in range(0, lanes, config.rows):
            keys = slice(start + k, start + k + config.rows)
            s = accumulate_products(
                p[:, k : k + config.rows], v[:, keys], config.rows, config.accumulator_width
            )
            o = accumulate(config, o, s, a, b, first_tile=k == 0)
    assert o is not None and softmax is not None, "t is at least 1"
    return softmax, o


def _check_overlaps(state: MachineState, instruction: Instruction, width: int, keys: int) -> None:
    """Refuse a result over K or Vᵀ; over Q is fine, which has been read by then."""
    pad, m, period = state.scratchpad, instruction["m"], instruction["period"]
    depth = instruction["d_tiles"] * state.config.rows
    place = instruction["y_base"], instruction["y_stride"]
    y = pad.addresses(*place, m, width, period=period, group=instruction["y_group"])
    if np.unique(y).size < y.size:
        raise ProgramError("the results of two queries must not overlap")
    y_slots = range(instruction["y_slot"], instruction["y_slot"] + (period or m))
    for name, rows, extent in (("w", instruction["t"], depth), ("v", width, keys)):
        base, stride = instruction[f"{name}_base"], instruction[f"{name}_stride"]
        pad.check_apart(name, pad.addresses(base, stride, rows, extent), y)
        slot = instruction[f"{name}_slot"]
        if slot < y_slots.stop and y_slots.start < slot + rows:
            raise ProgramError(f"the exponents of the result must not overlap those of {name}")
