"""From MATMUL and ATTEND to passes and drains, in the order in which the walkers give them."""

from collections.abc import Iterator
from typing import NamedTuple

from celosia.compiler.cycles.sequencer import fetches_weights
from celosia.config import MachineConfig
from celosia.isa import Flag, Instruction, Opcode

__all__ = ["Drain", "Pass", "passes"]

#: Accumulator banks of an ATTEND.
SCORES, OUTPUT = 0, 1


class Drain(NamedTuple):
    """What becomes of a group of accumulators.

    `parts` accumulator rows make a row of the result; `scores` go to the softmax, and `output`
    waits for its reciprocals. `ends` marks the last one of an instruction.
    """

    bank: int
    rows: int
    parts: int = 1
    residual: bool = False
    scores: bool = False
    last_scores: bool = False
    output: bool = False
    ends: bool = False


class Pass(NamedTuple):
    """`rows` rows streamed against one tile.

    `columns` of the tile are loaded, from memory or from scratchpad words `tile` + i·`tile_stride`;
    the rows are scratchpad words `row` + i·`row_stride`, or probabilities. `opens` and `closes`
    mark the first and the last pass of a group, `drain` what follows it.
    """

    rows: int
    bank: int
    opens: bool
    closes: bool
    columns: int
    tile: int = 0
    tile_stride: int = 0
    row: int = 0
    row_stride: int = 0
    from_memory: bool = False
    from_probabilities: bool = False
    releases: bool = False
    drain: Drain | None = None


def passes(instruction: Instruction, config: MachineConfig, bank: int) -> Iterator[Pass]:
    """Yield the passes of an instruction; `bank` is the first accumulator bank of a MATMUL."""
    if instruction.opcode is Opcode.ATTEND:
        return _attend(instruction, config)
    return _matmul(instruction, config, bank)


def _matmul(ins: Instruction, config: MachineConfig, bank: int) -> Iterator[Pass]:
    columns, k_tiles, m, n = config.columns, ins["k_tiles"], ins["m"], ins["n"]
    parts = config.lanes // config.rows
    from_memory = fetches_weights(ins)
    x, x_stride, w, w_stride = ins["x_base"], ins["x_stride"], ins["w_base"], ins["w_stride"]
    residual = Flag.RESIDUAL in ins.flags
    last = k_tiles - 1
    for channel in range(0, n, columns):
        loaded = columns if from_memory else min(columns, n - channel)
        drain = Drain(bank, m, residual=residual, ends=channel + columns >= n)
        for k in range(k_tiles):
            word = k // parts
            yield Pass(
                m,
                bank,
                k == 0,
                k == last,
                loaded,
                w + channel * w_stride + word,
                w_stride,
                x + word,
                x_stride,
                from_memory,
                drain=drain if k == last else None,
            )
        bank ^= 1


def _attend(ins: Instruction, config: MachineConfig) -> Iterator[Pass]:
    """Scores of the next block of keys come before the output of the last one."""
    blocks = -(-ins["t"] // config.lanes)
    yield from _scores(ins, config, 0)
    for block in range(blocks):
        if block + 1 < blocks:
            yield from _scores(ins, config, block + 1)
        yield from _output(ins, config, block, blocks)


def _scores(ins: Instruction, config: MachineConfig, block: int) -> Iterator[Pass]:
    columns, lanes = config.columns, config.lanes
    parts, k_parts = lanes // columns, lanes // config.rows
    left = ins["t"] - block * lanes
    drain = Drain(SCORES, ins["m"], parts, scores=True, last_scores=left <= lanes)
    for part in range(parts):
        for k in range(ins["d_tiles"]):
            closes = part == parts - 1 and k == ins["d_tiles"] - 1
            yield Pass(
                ins["m"],
                SCORES,
                part == 0 and k == 0,
                closes,
                max(0, min(columns, left - part * columns)),
                ins["w_base"] + (block * lanes + part * columns) * ins["w_stride"] + k // k_parts,
                ins["w_stride"],
                ins["x_base"] + k // k_parts,
                ins["x_stride"],
                drain=drain if closes else None,
            )


def _output(ins: Instruction, config: MachineConfig, block: int, blocks: int) -> Iterator[Pass]:
    columns = config.columns
    k_parts = config.lanes // config.rows
    final = block == blocks - 1
    for tile in range(ins["v_tiles"]):
        last_tile = tile == ins["v_tiles"] - 1
        for k in range(k_parts):
            closes = final and k == k_parts - 1
            yield Pass(
                ins["m"],
                OUTPUT,
                block == 0 and tile == 0 and k == 0,
                closes,
                columns,
                ins["v_base"] + tile * columns * ins["v_stride"] + block,
                ins["v_stride"],
                from_probabilities=True,
                releases=last_tile and k == k_parts - 1,
                drain=Drain(OUTPUT, ins["m"], output=True, ends=last_tile) if closes else None,
            )
