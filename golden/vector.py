"""NORM, MULTIPLY and ARGMAX of the golden machine."""

import numpy as np

from celosia.errors import ProgramError
from celosia.golden.argmax import argmax
from celosia.golden.fixed import IntArray
from celosia.golden.layernorm import MAX_ELEMENTS, layernorm
from celosia.golden.matmul import check_range
from celosia.golden.memory import MachineState
from celosia.golden.multiply_rows import MAX_SHIFT, multiply_rows
from celosia.isa import Flag, Instruction

__all__ = ["execute_argmax", "execute_multiply", "execute_norm"]

#: Lanes of a word that an ARGMAX writes: the element, and two halves of its index.
ARGMAX_LANES = 3


def execute_norm(state: MachineState, instruction: Instruction) -> None:
    """Execute one NORM: LayerNorm, or RMSNorm with `rms`."""
    pad = state.scratchpad
    m, width = _size(state, instruction)
    n = check_range(instruction, "n", 1, min(width, MAX_ELEMENTS))
    epsilon = check_range(instruction, "epsilon", 1, (1 << 32) - 1)
    written = _result_over_first(state, instruction, m, width)
    for name in ("gamma", "beta"):
        pad.check_apart(name, pad.addresses(instruction[name], 0, 1, width), written)

    values = np.zeros((m, width), np.int16)
    values[:, :n] = layernorm(
        pad.read(instruction["x_base"], instruction["x_stride"], m, n),
        pad.read(instruction["gamma"], 0, 1, n)[0],
        pad.read(instruction["beta"], 0, 1, n)[0],
        shift=instruction["shift"],
        epsilon=epsilon,
        rms=Flag.RMS in instruction.flags,
    )
    pad.write(instruction["y_base"], instruction["y_stride"], values, instruction["y_slot"])


def execute_multiply(state: MachineState, instruction: Instruction) -> None:
    """Execute one MULTIPLY."""
    pad, flags = state.scratchpad, instruction.flags
    m, width = _size(state, instruction)
    words = width // state.config.lanes
    shift = check_range(instruction, "shift", 0, MAX_SHIFT)
    written = _result_over_first(state, instruction, m, width)
    period = min(instruction["period"] or words, words)
    w = instruction["w_base"], instruction["w_stride"], m, period * state.config.lanes
    pad.check_apart("w", pad.addresses(*w), written)

    columns = np.arange(width) % w[3]
    values = multiply_rows(
        pad.read(instruction["x_base"], instruction["x_stride"], m, width),
        pad.read(*w)[:, columns],
        shift=shift,
        complex_=Flag.COMPLEX in flags,
        narrow=Flag.NARROW in flags,
    )
    pad.write(
        instruction["y_base"],
        instruction["y_stride"],
        values,
        instruction["y_slot"],
        keep=Flag.KEEP_EXPONENT in flags,
    )


def execute_argmax(state: MachineState, instruction: Instruction) -> None:
    """Execute one ARGMAX."""
    pad, lanes = state.scratchpad, state.config.lanes
    m, width = _size(state, instruction)
    n = check_range(instruction, "n", 1, width)
    x = instruction["x_base"], instruction["x_stride"]
    y = instruction["y_base"], instruction["y_stride"]
    written = pad.addresses(*y, m, lanes)
    pad.check_apart("x", pad.addresses(*x, m, width), written)

    held = None
    if Flag.CONTINUE in instruction.flags:
        _check_distinct(written)
        value, low, high = pad.read(*y, m, ARGMAX_LANES).astype(np.int64).T
        held = value, (low & 0xFFFF) | (high & 0xFFFF) << 16
    value, index = argmax(pad.read(*x, m, n), first=instruction["first"], held=held)
    values = np.zeros((m, lanes), np.int16)
    halves = np.stack([index & 0xFFFF, index >> 16], axis=1).astype(np.uint16)
    values[:, 0] = value
    values[:, 1:ARGMAX_LANES] = halves.view(np.int16)
    pad.write(*y, values, instruction["y_slot"])


def _size(state: MachineState, instruction: Instruction) -> tuple[int, int]:
    """Return the rows and the lanes of each."""
    m = check_range(instruction, "m", 1, 65535)
    return m, check_range(instruction, "words", 1, 65535) * state.config.lanes


def _result_over_first(
    state: MachineState, instruction: Instruction, m: int, width: int
) -> IntArray:
    """Return the words of a result that may lie exactly on the rows x, but not otherwise on them.

    In place is well defined: a word is read for the last time before it is written.
    """
    pad = state.scratchpad
    x = instruction["x_base"], instruction["x_stride"]
    y = instruction["y_base"], instruction["y_stride"]
    written = pad.addresses(*y, m, width)
    if x == y:
        _check_distinct(written)
    else:
        pad.check_apart("x", pad.addresses(*x, m, width), written)
    return written


def _check_distinct(written: IntArray) -> None:
    """Refuse rows of a result that overlap each other while they are read."""
    if np.unique(written).size < written.size:
        raise ProgramError("the rows of a result must not overlap where it lies on its input")
