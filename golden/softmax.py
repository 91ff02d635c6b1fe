"""Twin of `celosia.cores.softmax`: one-pass base-2 softmax over blocks of keys."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from celosia.config import MachineConfig
from celosia.golden.divide import reciprocal
from celosia.golden.fixed import IntArray, checked, rnd, saturate

__all__ = [
    "DENOMINATOR_FRACTION",
    "EXP2_TABLE",
    "FRACTION_BITS",
    "SoftmaxState",
    "accumulate",
    "attend",
    "attention_float",
    "normalise",
    "reciprocal",
    "softmax_block",
]

FloatArray = NDArray[np.float64]

#: Fraction bits of a base-2 logit.
FRACTION_BITS = 6
#: `255·256·2^(-f/64)`, rounded: a probability of fraction f of an octave, 8 bits too long.
EXP2_TABLE: IntArray = np.round(255 * 256 * 2 ** (-np.arange(64) / 64)).astype(np.int64)
#: Fraction bits of a denominator. It has as many digits as an accumulator: values add 7 bits.
DENOMINATOR_FRACTION = 14
#: A denominator that is not below this is halved, so that the accumulators cannot overflow.
DENOMINATOR_LIMIT = 1 << 15 + DENOMINATOR_FRACTION
#: Largest shift that changes anything: more act as this one.
MAX_SHIFT = 31


@dataclass(frozen=True)
class SoftmaxState:
    """What a softmax remembers of the blocks seen so far, for each row.

    Attributes
    ----------
    exponent : (rows,) int
        M, to which the denominator is relative; -512 to 575.
    denominator : (rows,) int
        l, with 14 fraction bits; below `1.5 · 2^29`, and 0 only as long as the row has seen no
        key.
    """

    exponent: IntArray
    denominator: IntArray


def softmax_block(
    config: MachineConfig, t: IntArray, valid: NDArray[np.bool_], state: SoftmaxState | None
) -> tuple[IntArray, IntArray, IntArray, SoftmaxState]:
    """Take one block of keys into the softmax of every row.

    Parameters
    ----------
    config : MachineConfig
        Lanes.
    t : (rows, lanes) int
        Base-2 logits with 6 fraction bits; int16 values.
    valid : (rows, lanes) or (lanes,) bool
        Keys that each row sees; the others get probability 0. A row may see none.
    state : SoftmaxState or None
        State after the block before; None for the first block.

    Returns
    -------
    p : (rows, lanes) int
        Probabilities relative to the block's own exponent, 0 to 255.
    a : (rows,) int
        Right shift that what has been accumulated needs, 0 to 31.
    b : (rows,) int
        Right shift that what this block adds needs, 0 to 31.
    state : SoftmaxState
        State with this block.

    Raises
    ------
    ValueError
        If a shape or a value is wrong.
    """
    t, valid = _checked_block(config, t, valid)
    # A row that sees no key has the least exponent: it moves no other block's.
    block_exponent = -(-np.where(valid, t, -(1 << 15)).max(axis=1) >> FRACTION_BITS)
    delta = (block_exponent[:, np.newaxis] << FRACTION_BITS) - t
    octaves = np.clip(delta >> FRACTION_BITS, 0, MAX_SHIFT)
    p = np.where(valid, rnd(EXP2_TABLE[delta & (len(EXP2_TABLE) - 1)], 8 + octaves), 0)
    added = p.sum(axis=1) << DENOMINATOR_FRACTION

    if state is None:
        none = np.zeros_like(block_exponent)
        return p, none, none, SoftmaxState(block_exponent, added)

    exponent = np.maximum(state.exponent, block_exponent)
    old = state.denominator >> np.minimum(exponent - state.exponent, MAX_SHIFT)
    exponent += old >= DENOMINATOR_LIMIT
    a = np.minimum(exponent - state.exponent, MAX_SHIFT)
    b = np.minimum(exponent - block_exponent, MAX_SHIFT)
    denominator = (state.denominator >> a) + (added >> b)
    return p, a, b, SoftmaxState(exponent, denominator)


def accumulate(
    config: MachineConfig,
    o: IntArray | None,
    s: IntArray,
    a: IntArray,
    b: IntArray,
    *,
    first_tile: bool,
) -> IntArray:
    """Add the product of probabilities and values to the output accumulators.

    Parameters
    ----------
    config : MachineConfig
        Accumulator width.
    o : (rows, columns) int or None
        Accumulators so far; None before the first tile of the first block.
    s : (rows, columns) int
        Sums of `p·v` over the keys of one tile.
    a, b : (rows,) int
        Shifts of the block, from `softmax_block`.
    first_tile : bool
        The tile is the first of its block: what has been accumulated is shifted by `a`.

    Returns
    -------
    (rows, columns) int
        Accumulators with this tile, saturated.
    """
    added = (np.asarray(s, dtype=np.int64) << config.guard_bits) >> b[:, np.newaxis]
    if o is None:
        return saturate(added, config.accumulator_width)
    kept = o >> a[:, np.newaxis] if first_tile else o
    return saturate(kept + added, config.accumulator_width)


def normalise(
    config: MachineConfig, o: IntArray, denominator: IntArray, exponents: IntArray | int = 0
) -> IntArray:
    """Divide the output accumulators by the denominators.

    Parameters
    ----------
    config : MachineConfig
        Accumulator width.
    o : (rows, columns) int
        Output accumulators after the last block.
    denominator : (rows,) int
        Denominators after the last block.
    exponents : (columns,) int or int
        Row exponent of each row of Vᵀ.

    Returns
    -------
    (rows, columns) int
        Attention's output as int16, in the scale that V has as int16; 0 in rows without any key.
    """
    # Where the denominator is 0 so are the accumulators, whatever they are multiplied by.
    rcp, shift = reciprocal(np.maximum(denominator, 1))
    shift += config.guard_bits - DENOMINATOR_FRACTION
    shift = np.clip(shift[:, np.newaxis] - exponents, 0, 47)
    return saturate(rnd(o * rcp[:, np.newaxis], shift), 16)


def attend(
    config: MachineConfig, t: IntArray, v: IntArray, exponents: IntArray | int = 0
) -> IntArray:
    """Attention from logits on, over whole rows, in the machine's blocks and tiles.

    Parameters
    ----------
    config : MachineConfig
        Lanes, rows (keys of one tile) and accumulator width.
    t : (rows, keys) int
        Base-2 logits with 6 fraction bits; int16 values.
    v : (keys, width) int
        Values; int8.
    exponents : (width,) int or int
        Row exponent of each row of Vᵀ.

    Returns
    -------
    (rows, width) int
        Output as int16: in the scale of `v·2^exponents`.
    """
    t = np.asarray(t, dtype=np.int64)
    v = checked("v", v, -128, 127)
    lanes, keys = config.lanes, t.shape[1]
    blocks = -(-keys // lanes)
    t = np.pad(t, ((0, 0), (0, blocks * lanes - keys)))
    v = np.pad(v, ((0, blocks * lanes - keys), (0, 0)))

    o, state = None, None
    for start in range(0, blocks * lanes, lanes):
        valid = np.arange(start, start + lanes) < keys
        p, a, b, state = softmax_block(config, t[:, start : start + lanes], valid, state)
        for tile in range(0, lanes, config.rows):
            at = start + tile
            s = p[:, tile : tile + config.rows] @ v[at : at + config.rows]
            o = accumulate(config, o, s, a, b, first_tile=tile == 0)
    if o is None or state is None:
        raise ValueError("attention needs at least one key")
    return normalise(config, o, state.denominator, exponents)


def attention_float(q: FloatArray, k: FloatArray, v: FloatArray) -> FloatArray:
    """Attention in float64, `softmax(q·kᵀ/√d)·v`: the reference of accuracy.

    Parameters
    ----------
    q : (queries, d) float
        Queries.
    k : (keys, d) float
        Keys.
    v : (keys, width) float
        Values.

    Returns
    -------
    (queries, width) float
        Output.
    """
    logits = np.asarray(q, dtype=np.float64) @ np.asarray(k, dtype=np.float64).T
    logits /= np.sqrt(np.shape(q)[1])
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers @ np.asarray(v, dtype=np.float64) / powers.sum(axis=1, keepdims=True)


def _checked_block(
    config: MachineConfig, t: IntArray, valid: NDArray[np.bool_]
) -> tuple[IntArray, NDArray[np.bool_]]:
    t = checked("t", t, -(1 << 15), (1 << 15) - 1)
    valid = np.asarray(valid, dtype=bool)
    if t.shape != (len(t), config.lanes):
        raise ValueError(f"t must have the shape {(len(t), config.lanes)}, not {t.shape}")
    if valid.shape not in (t.shape, t.shape[1:]):
        raise ValueError(f"valid must have the shape {t.shape} or {t.shape[1:]}, not {valid.shape}")
    return t, valid
