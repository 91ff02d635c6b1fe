"""From MATMUL and ATTEND to passes and drains, in the order in which the walkers give them."""

from collections.abc import Iterator
from typing import NamedTuple

from celosia.compiler.cycles.reads import Run
from celosia.compiler.cycles.sequencer import fetches_weights
from celosia.config import MachineConfig
from celosia.isa import Flag, Instruction
from celosia.tiles import instruction_tiles

__all__ = [
    "OUTPUT",
    "Drain",
    "Pass",
    "key_blocks",
    "matmul_passes",
    "output_passes",
    "score_passes",
]

#: Accumulator banks of an ATTEND.
SCORES, OUTPUT = 0, 1


class Drain(NamedTuple):
    """What becomes of a group of accumulators.

    `parts` accumulator rows make a row of the result; `scores` go to the softmax, those of the
    `final` block on to reciprocals, for which `output` waits. `residual` is the first word and the
    stride of the rows that are added. `ends` marks the last one of an
    instruction; one without rows does nothing else.
    """

    bank: int
    rows: int
    parts: int = 1
    residual: tuple[int, int] | None = None
    scores: bool = False
    final: bool = False
    output: bool = False
    ends: bool = False


class Pass(NamedTuple):
    """`rows` rows streamed against one tile.

    `columns` of the tile are loaded, from memory or from scratchpad words `tile` + i·`tile_stride`;
    the rows are scratchpad words `row` + i·`row_stride`, or probabilities. With a `period` these
    are so many rows of a group, and the next group lies `row_group` words further. A row takes
    `pace` cycles, and with `both` two words at once. `opens` and `closes` mark the first and the
    last pass of a group of passes, `drain` what follows it, and `more` a second drain of the same.
    A group that `joins` can be summed while the one before drains. Behind a pass that `turns` the
    next MATMUL's sums go to the other bank. `stored` is what a tile takes in memory, in bytes. The
    rows of a `chained` pass are taken as they are loaded.
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
    period: int = 0
    row_group: int = 0
    pace: int = 1
    both: bool = False
    more: Drain | None = None
    stored: int = 0
    joins: bool = False
    turns: bool = False
    chained: bool = False

    def reads(self, first: int, stop: int, time: int, pace: int) -> Iterator[Run]:
        """Yield how the words of rows from `first` up to `stop` are read, from `time` on."""
        period = self.period or self.rows
        while first < stop:
            group, row = divmod(first, period)
            count = min(period - row, stop - first)
            word = self.row + group * self.row_group + row * self.row_stride
            for part in range(1 + self.both):
                yield Run(time, time + (count - 1) * pace, word + part, self.row_stride, pace)
            first += count
            time += count * pace


def row_cycles(ins: Instruction) -> int:
    """Cycles of a row of the scratchpad in the array: one for each of its bytes if it is wide."""
    return 2 if Flag.WIDE in ins.flags else 1


def matmul_passes(ins: Instruction, config: MachineConfig, bank: int) -> Iterator[Pass]:
    """Yield the passes of a MATMUL; `bank` is that of its first group."""
    columns, k_tiles, m, n = config.columns, ins["k_tiles"], ins["m"], ins["n"]
    tiles = instruction_tiles(config, ins)
    parts, twice = config.lanes // config.rows, tiles.lanes // config.rows
    from_memory = fetches_weights(ins)
    x, x_stride, w, w_stride = ins["x_base"], ins["x_stride"], ins["w_base"], ins["w_stride"]
    present = tiles.present(k_tiles, ins["skip"])
    last = present[-1]
    held, goes_on = Flag.HOLD in ins.flags, Flag.CONTINUE in ins.flags
    for channel in range(0, n, tiles.channels):
        loaded = columns if from_memory else min(columns, n - channel)
        drain, *more = (
            Drain(bank, m, residual=_residual(ins, config, first), ends=first + columns >= n)
            for first in range(channel, min(channel + tiles.channels, n), columns)
        )
        ends = channel + tiles.channels >= n
        if held:  # the sums stay
            drain, more = Drain(bank, 0, ends=True) if ends else None, []
        turns = not held and (ends or not goes_on)
        for k in present:
            word = k * twice // parts
            yield Pass(
                m,
                bank,
                k == present[0] and not goes_on and not (held and channel),
                k == last and not held,
                loaded,
                w + channel * w_stride + word,
                w_stride,
                x + word,
                x_stride,
                from_memory,
                drain=drain if k == last else None,
                pace=row_cycles(ins),
                both=tiles.lanes > config.lanes,
                more=more[0] if more and k == last else None,
                stored=tiles.tile + (0 if k % tiles.run else tiles.scales),
                turns=turns and k == last,
                chained=Flag.CHAIN in ins.flags and channel == 0 and k % parts == 0,
            )
        bank ^= turns


def _residual(ins: Instruction, config: MachineConfig, channel: int) -> tuple[int, int] | None:
    if Flag.RESIDUAL not in ins.flags:
        return None
    return ins["r_base"] + channel // config.lanes, ins["r_stride"]


def key_blocks(ins: Instruction, config: MachineConfig) -> int:
    """Blocks of keys of an ATTEND."""
    return -(-ins["t"] // config.lanes)


def score_passes(
    ins: Instruction, config: MachineConfig, block: int, joins: bool
) -> Iterator[Pass]:
    """Yield the passes that form the scores of a block of keys."""
    columns, lanes = config.columns, config.lanes
    parts, k_parts = lanes // columns, lanes // config.rows
    left = ins["t"] - block * lanes
    final = left <= lanes and Flag.HOLD not in ins.flags
    drain = Drain(SCORES, ins["m"], parts, scores=True, final=final)
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
                period=ins["period"],
                row_group=ins["x_group"],
                pace=row_cycles(ins),
                joins=joins,
            )


def output_passes(ins: Instruction, config: MachineConfig, block: int) -> Iterator[Pass]:
    """Yield the passes that add a block's part of the output."""
    columns, k_parts = config.columns, config.lanes // config.rows
    last_block = block == key_blocks(ins, config) - 1
    held = last_block and Flag.HOLD in ins.flags
    first = block == 0 and Flag.CONTINUE not in ins.flags
    for tile in range(ins["v_tiles"]):
        last_tile = tile == ins["v_tiles"] - 1
        for k in range(k_parts):
            last_k = k == k_parts - 1
            drain = None
            if last_k and last_block and not held:
                drain = Drain(OUTPUT, ins["m"], output=True, ends=last_tile)
            elif last_k and last_tile and held:
                drain = Drain(OUTPUT, 0, ends=True)
            yield Pass(
                ins["m"],
                OUTPUT,
                first and tile == 0 and k == 0,
                last_k and last_block and not held,
                columns,
                ins["v_base"] + tile * columns * ins["v_stride"] + block,
                ins["v_stride"],
                from_probabilities=True,
                releases=last_tile and last_k,
                drain=drain,
            )
