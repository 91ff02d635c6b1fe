"""MATMUL of the golden machine: products of quantised rows, and what becomes of the sums."""

import numpy as np
from numpy.typing import NDArray

from celosia.config import MachineConfig
from celosia.errors import ProgramError
from celosia.golden.activation import apply_table
from celosia.golden.fixed import IntArray, saturate
from celosia.golden.memory import HeldSums, MachineState
from celosia.golden.quantise import quantise
from celosia.golden.requant import requantise
from celosia.golden.weights import MAX_WEIGHT, check_weights, read_weights
from celosia.isa import CHAINED_ROWS, Code, Flag, Instruction, Opcode, Space
from celosia.tiles import instruction_tiles

__all__ = [
    "accumulate_products",
    "check_chaining",
    "check_range",
    "check_released",
    "matmul",
    "quantised_rows",
    "streamed_rows",
]


def check_range(instruction: Instruction, name: str, low: int, high: int) -> int:
    """Return an operand of the instruction, which must be from `low` to `high`."""
    value = instruction[name]
    if not low <= value <= high:
        raise ProgramError(f"{name} must be {low} to {high}, not {value}")
    return value


def check_chaining(config: MachineConfig, instruction: Instruction) -> bool:
    """Return whether a LOAD or MATMUL is chained; refuse what the machine cannot chain or hold."""
    flags, is_load = instruction.flags, instruction.opcode is Opcode.LOAD
    for flag in flags & (Flag.CHAIN | Flag.HOLD | Flag.CONTINUE):
        if not config.chaining:
            raise ProgramError(f"{str(flag.name).lower()} needs a machine with chaining")
    if Flag.CHAIN not in flags:
        return False
    if is_load and instruction["space"] != Space.ROWS8:
        raise ProgramError("chain is for rows8, whose exponents are 0 from the first word on")
    dense = Flag.WEIGHTS_IN_MEMORY in flags and Flag.SPARSE not in flags
    if not is_load and (not dense or instruction["skip"]):
        raise ProgramError("chain is for dense weights in memory")
    return True


def check_released(state: MachineState) -> None:
    """Refuse what does not continue while an ATTEND or a MATMUL is held."""
    if state.held is not None:
        name = "a MATMUL" if isinstance(state.held, HeldSums) else "an ATTEND"
        raise ProgramError(f"{name} with hold must be followed by one with continue")


def quantised_rows(
    state: MachineState,
    base: int,
    stride: int,
    slot: int,
    rows: int,
    width: int,
    *,
    period: int = 0,
    group: int = 0,
) -> tuple[IntArray, IntArray]:
    """Return rows of the scratchpad as the array takes them; groups as in `addresses`.

    Returns
    -------
    q : (rows, width) int64
        int8 values.
    exponents : (rows,) int64
        0 to 8.
    """
    pad = state.scratchpad
    exponents = pad.exponents[pad.slots(slot, period or rows)]
    exponents = np.tile(exponents, rows // (period or rows))
    x = pad.read(base, stride, rows, width, period=period, group=group)
    return quantise(x, exponents), exponents


def accumulate_products(
    x: NDArray[np.integer],
    w: NDArray[np.integer],
    tile: int,
    width: int,
    *,
    bits: int = 8,
    start: IntArray | None = None,
) -> IntArray:
    """Sum products over tiles of the reduction, saturating after each tile.

    Parameters
    ----------
    x : (m, k) int
        Streamed rows: int8, probabilities of 8 bits, or int16.
    w : (n, k) int
        Stationary rows: int8, or weights times the scales of their groups.
    tile : int
        Products that the array sums exactly, R; divides k.
    width : int
        Bits of an accumulator.
    bits : int
        No element of x is beyond 2^bits.
    start : (m, n) int64, optional
        Sums to add to.

    Returns
    -------
    (m, n) int64
    """
    limit = 1 << (width - 1)
    # No partial sum can pass the sum of magnitudes, so in practice one product does it all.
    acc = np.zeros((len(x), len(w)), np.int64) if start is None else start
    limit -= int(np.abs(acc).max())
    bound = x.shape[1] * MAX_WEIGHT << bits
    if bound < limit or _product(*(np.abs(a, dtype=np.int64) for a in (x, w))).max() < limit:
        return acc + _product(x, w)
    for k in range(0, x.shape[1], tile):
        acc = saturate(acc + _product(x[:, k : k + tile], w[:, k : k + tile]), width)
    return acc


def _product(x: NDArray[np.integer], w: NDArray[np.integer]) -> IntArray:
    # float64 holds every sum of fewer than 2^31 such products exactly, and BLAS is fast.
    return (x.astype(np.float64) @ w.astype(np.float64).T).astype(np.int64)


def matmul(state: MachineState, instruction: Instruction) -> tuple[int, int]:
    """Execute one MATMUL.

    Returns
    -------
    mac_rows : int
        Rows streamed into the array.
    saturations : int
        Elements that the clip to 16 (or 8) bits changed.
    """
    config, flags = state.config, instruction.flags
    m = check_range(instruction, "m", 1, config.accumulator_rows)
    n = check_range(instruction, "n", 1, 65535)
    k_tiles = check_range(instruction, "k_tiles", 1, 65535)
    n_tiles = -(-n // config.columns)
    check_weights(config, instruction)
    chained = check_chaining(config, instruction)
    start = _held_sums(state, instruction, n_tiles)
    if chained:
        check_range(instruction, "m", CHAINED_ROWS, config.accumulator_rows)
        _check_loaded(state, instruction, k_tiles * config.rows)

    w, e_w, lanes = _stationary(state, instruction, n, k_tiles)
    x, e_x, bits = streamed_rows(state, instruction, m, k_tiles * lanes)
    acc = accumulate_products(x, w, lanes, config.accumulator_width, bits=bits, start=start)
    # The high and the low byte of a wide row go through the array one after the other.
    rows = 2 * m if Flag.WIDE in flags else m
    shape = instruction_tiles(config, instruction)
    present = len(shape.present(k_tiles, instruction["skip"]))
    mac_rows = rows * -(-n // shape.channels) * present
    if Flag.HOLD in flags:
        state.held = HeldSums(acc)
        return mac_rows, 0

    state.held = None
    _check_overlaps(state, instruction, n_tiles * config.columns)
    y, clipped = _epilogue(state, instruction, acc, e_x[:, np.newaxis] + e_w)
    padded = np.zeros((m, n_tiles * config.columns), np.int16)
    padded[:, :n] = y
    state.scratchpad.write(
        instruction["y_base"],
        instruction["y_stride"],
        padded,
        instruction["y_slot"],
        keep=Flag.KEEP_EXPONENT in flags,
    )
    return mac_rows, int(clipped.sum())


def _held_sums(state: MachineState, instruction: Instruction, n_tiles: int) -> IntArray | None:
    """Return the sums that the MATMUL before has left; None if this one begins anew."""
    flags, m, limit = instruction.flags, instruction["m"], state.config.accumulator_rows
    if flags & (Flag.HOLD | Flag.CONTINUE):
        if instruction["code"] != Code.INT8:
            raise ProgramError("hold and continue are for weights of 8 bits")
        if m * n_tiles > limit:
            raise ProgramError(
                f"with hold, m times the tiles of n must be at most {limit}, not {m * n_tiles}"
            )
    if Flag.CONTINUE not in flags:
        check_released(state)
        return None
    if not isinstance(state.held, HeldSums):
        raise ProgramError("a MATMUL with continue must follow one with hold")
    for name, expected in zip("mn", state.held.sums.shape, strict=True):
        if instruction[name] != expected:
            raise ProgramError(
                f"{name} must be {expected}, as in the MATMUL that it continues, "
                f"not {instruction[name]}"
            )
    return state.held.sums


def _check_loaded(state: MachineState, instruction: Instruction, width: int) -> None:
    """Refuse a chained MATMUL unless its words are the next ones that chained LOADs have written.

    The array takes them word by word, each of all rows.
    """
    base, stride = instruction["x_base"], instruction["x_stride"]
    words = state.scratchpad.addresses(base, stride, instruction["m"], width).T.ravel().tolist()
    loaded = [state.chained.popleft() for _ in words if state.chained]
    if loaded != words:
        raise ProgramError("a chained MATMUL must stream what chained LOADs have written, in order")


def streamed_rows(
    state: MachineState,
    instruction: Instruction,
    m: int,
    depth: int,
    *,
    period: int = 0,
    group: int = 0,
) -> tuple[NDArray[np.integer], IntArray, int]:
    """Return the streamed operand (m, k), its exponents (m,), and the bits of a magnitude.

    With a `period` rows come in groups, `group` words from one to the next. With `wide` they keep
    16 bits and have no exponents.
    """
    base, stride = instruction["x_base"], instruction["x_stride"]
    if Flag.WIDE not in instruction.flags:
        slot = instruction["x_slot"]
        rows = quantised_rows(state, base, stride, slot, m, depth, period=period, group=group)
        return *rows, 8
    if state.config.accumulator_width != 32:
        raise ProgramError(
            f"wide needs accumulators of 32 bits, not {state.config.accumulator_width}"
        )
    x = state.scratchpad.read(base, stride, m, depth, period=period, group=group)
    return x, np.zeros(m, np.int64), 15


def _stationary(
    state: MachineState, instruction: Instruction, n: int, k_tiles: int
) -> tuple[NDArray[np.integer], IntArray | int, int]:
    """Return the stationary operand (n, k), its exponents (n,) or 0 for all, and a tile's lanes."""
    if Flag.WEIGHTS_IN_MEMORY in instruction.flags:
        weights, lanes = read_weights(state, instruction)
        return weights, 0, lanes
    place = instruction["w_base"], instruction["w_stride"], instruction["w_slot"]
    lanes = state.config.rows
    return *quantised_rows(state, *place, n, k_tiles * lanes), lanes


def _epilogue(
    state: MachineState, instruction: Instruction, acc: IntArray, exponents: IntArray
) -> tuple[IntArray, NDArray[np.bool_]]:
    """Scale accumulators (m, n); return the result and where it was clipped."""
    m, n = acc.shape
    flags, first = instruction.flags, instruction["p_base"]
    by_row = Flag.ROW_PARAMETERS in flags
    last = first + (m if by_row else n)
    if last > len(state.parameters):
        raise ProgramError(
            f"parameter entry {last - 1} does not exist; there are {len(state.parameters)}"
        )
    multiplier, shift, bias = state.parameters[first:last].T
    if by_row:
        multiplier, shift, bias = multiplier[:, np.newaxis], shift[:, np.newaxis], bias[:, None]

    residual = None
    if Flag.RESIDUAL in flags:
        check_range(instruction, "r_shift", 0, 31)
        residual = state.scratchpad.read(instruction["r_base"], instruction["r_stride"], m, n)
    y, clipped = requantise(
        acc,
        multiplier,
        shift - exponents,
        bias,
        residual=residual,
        r_shift=instruction["r_shift"],
        narrow=Flag.NARROW in flags,
    )
    if Flag.ACTIVATE in flags:
        y = apply_table(y, *state.table.T)
    return y, clipped


def _check_overlaps(state: MachineState, instruction: Instruction, width: int) -> None:
    """Refuse a result that lies over an operand: hardware still reads it for later tiles."""
    pad, m, n = state.scratchpad, instruction["m"], instruction["n"]
    reduction = instruction["k_tiles"] * instruction_tiles(state.config, instruction).lanes
    y = pad.addresses(instruction["y_base"], instruction["y_stride"], m, width)
    y_slots = range(instruction["y_slot"], instruction["y_slot"] + m)

    operands = [("x", m)]
    if Flag.WEIGHTS_IN_MEMORY not in instruction.flags:
        operands.append(("w", n))
    for name, rows in operands:
        base, stride = instruction[f"{name}_base"], instruction[f"{name}_stride"]
        pad.check_apart(name, pad.addresses(base, stride, rows, reduction), y)
        if name == "x" and Flag.WIDE in instruction.flags:
            continue  # its exponents are not read
        slot = instruction[f"{name}_slot"]
        if slot < y_slots.stop and y_slots.start < slot + rows:
            raise ProgramError(f"the exponents of the result must not overlap those of {name}")
    if Flag.RESIDUAL in instruction.flags:
        place = instruction["r_base"], instruction["r_stride"]
        # In place is well defined: each element is read before it is written.
        if place != (instruction["y_base"], instruction["y_stride"]):
            pad.check_apart("r", pad.addresses(*place, m, n), y)
