"""A feed-forward half with weights of any format, as a program: what formats gain is measured on.

The weights are random, but of the format: int8 dense weights are what the others compare to.
"""

import numpy as np

from celosia.compiler.layout import Matrix, ceil_div, parameter_bytes
from celosia.compiler.layout_tiles import TiledFormat
from celosia.compiler.program import Program
from celosia.compiler.quantise import dyadic
from celosia.compiler.schedule_parts import pieces
from celosia.compiler.weight_format import CODES, WeightFormat
from celosia.compiler.workloads import INT8_SPREAD, ROW_SPREAD, Workload
from celosia.config import MachineConfig
from celosia.golden.fixed import IntArray
from celosia.isa import Flag, Space

__all__ = ["feed_forward", "random_weights"]


def random_weights(
    rng: np.random.Generator, outputs: int, inputs: int, format: WeightFormat, columns: int
) -> tuple[IntArray, IntArray]:
    """Return random integers of a format and scales of their groups.

    Channels that share a column of `columns` share their pattern, if the format is sparse.
    """
    values = rng.choice(CODES[format.code][1], (outputs, inputs)).astype(np.int64)
    keep, run = format.sparsity
    if run > 1:
        blocks = ceil_div(outputs, 2 * columns)
        order = rng.random((blocks, columns, ceil_div(inputs, run), run)).argsort(axis=3) < keep
        if format.code != "int8":
            order = np.concatenate([order, order], axis=1)
        mask = order.reshape(-1, order.shape[2] * run)
        if len(mask) < outputs:
            mask = np.tile(mask, (2, 1))
        values *= mask[:outputs, :inputs]
    groups = ceil_div(inputs, format.group or inputs)
    return values, rng.integers(128, 256, (outputs, groups))


class FormatWorkload(Workload):
    """A workload whose matrices have one format."""

    def __init__(self, config: MachineConfig, format: WeightFormat) -> None:
        super().__init__(config)
        self.format = format

    def stored(self, name: str, outputs: int, inputs: int, spread: float) -> Matrix:
        """Place random weights; rows of a spread become rows of `ROW_SPREAD`."""
        config, format = self.config, self.format
        tiled = TiledFormat(config, format, inputs)
        values, scale = random_weights(self.rng, outputs, inputs, format, config.columns)
        if format.blocks:
            channels, run = tiled.block
            blocks = self.rng.random((ceil_div(outputs, channels), ceil_div(inputs, run)))
            kept = blocks.argsort(axis=1).argsort(axis=1) >= format.blocks * blocks.shape[1]
            values *= kept.repeat(channels, axis=0).repeat(run, axis=1)[:outputs, :inputs]
        size = float(np.sqrt((values.astype(float) ** 2).sum(axis=1).mean()))
        if format.group:
            size *= 192
        multiplier, shift = dyadic(ROW_SPREAD / (spread * size))
        bias = np.round(self.rng.normal(0, ROW_SPREAD / 3, outputs)).astype(np.int64)
        parameters = parameter_bytes(np.full(outputs, multiplier), np.full(outputs, shift), bias)
        stored = tiled.store(values, scale)
        return Matrix(
            name,
            outputs,
            tiled.k_tiles,
            self.memory.place(f"{name}.weight", np.concatenate(stored.tiles)),
            self.memory.place(f"{name}.parameters", parameters),
            code=int(tiled.code),
            group=tiled.group,
            sparse=tiled.sparse,
            skips=stored.skips,
        )


def feed_forward(
    config: MachineConfig,
    format: WeightFormat,
    *,
    tokens: int,
    hidden: int,
    ffn: int,
    block: int = 0,
) -> Program:
    """Return a feed-forward half with GELU, from memory and back to it.

    Parameters
    ----------
    config : MachineConfig
        The machine; its scratchpad must hold all rows.
    format : WeightFormat
        Format of both matrices.
    tokens, hidden, ffn : int
        Rows, their width outside and inside.
    block : int
        Rows that pass at once; all by default.
    """
    work = FormatWorkload(config, format)
    builder, lanes = work.builder, config.lanes
    up = work.stored("up", ffn, hidden, INT8_SPREAD)
    down = work.stored("down", hidden, ffn, INT8_SPREAD)
    table = work.gelu()
    source = work.tensor("inputs", "x", tokens, hidden)
    target = work.tensor("outputs", "y", tokens, hidden)
    pad, words = builder.pad, builder.words
    x, wide, y = (pad.take(tokens, words(width)) for width in (hidden, ffn, hidden))
    builder.load(x, source, space=Space.ROWS8, pitch=hidden)
    builder.load_table(table)
    for first, rows in pieces(tokens, block or tokens):
        builder.matmul(up, x.part(first, rows), wide.part(first, rows), flags=Flag.ACTIVATE)
        # Results leave in two parts: the last store is short.
        edge = max(2 * lanes, 2 * config.columns)
        for channel, n in ((0, hidden - edge), (hidden - edge, edge)):
            part = y.part(first, rows)
            builder.matmul(
                down, wide.part(first, rows), part, channels=(channel, n), flags=Flag.NARROW
            )
            done = part.columns(channel // lanes, n // lanes)
            address = target + first * hidden + channel
            builder.store(done, address, space=Space.ROWS8, pitch=hidden)
    return work.finish("feed_forward", tokens)
