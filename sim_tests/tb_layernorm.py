"""Bench of RowFunctions with norms: rows of all kinds, stalls at every end, and their cycles."""

import json
import os

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from norms import CLIPPED_EPSILON, CLIPPED_ROWS, norm_columns, norm_rows
from pipelines import packed
from streams import Sink, Source

from celosia.config import MachineConfig
from celosia.cores.row_functions import RowFunction, RowFunctions, RowParameters
from celosia.golden.layernorm import layernorm

CONFIG = MachineConfig(**json.loads(os.environ["CONFIG"]))
LANES = CONFIG.lanes

rng = np.random.default_rng(0)


class Batch:
    """Rows with what is sent for them, and what comes of them."""

    def __init__(
        self,
        m: int,
        n: int,
        *,
        shift: int,
        epsilon: int,
        more_words: int = 0,
        rms: bool = False,
        rows: list[list[int]] | None = None,
    ) -> None:
        self.words = -(-n // LANES) + more_words
        x = np.zeros((m, self.words * LANES), np.int64)
        # Lanes beyond the row hold anything.
        x[:] = rng.integers(-32768, 32768, x.shape)
        columns = rng.integers(-32768, 32768, (2, x.shape[1]))
        x[:, :n] = norm_rows(rng, m, n) if rows is None else rows
        columns[:, :n] = norm_columns(rng, n, shift)
        gamma, beta = columns
        self.parameters = {"function": RowFunction.NORM, "n": n, "words": self.words}
        self.parameters |= {"shift": shift, "epsilon": epsilon, "rms": rms}
        self.rows = [packed(word, 16) for word in x.reshape(-1, LANES)]
        elements = np.stack(np.broadcast_arrays(x, gamma, beta), axis=-1)
        self.elements = [packed(word, 16) for word in elements.reshape(-1, 3 * LANES)]
        y = np.zeros_like(x)
        scale = {"shift": shift, "epsilon": epsilon, "rms": rms}
        y[:, :n] = layernorm(x[:, :n], gamma[:n], beta[:n], **scale)
        self.expected = [packed(word, 16) for word in y.reshape(-1, LANES)]


async def start(dut, batch: Batch) -> None:
    Clock(dut.clk, 10, unit="ns").start()
    dut.parameters.value = RowParameters.const(batch.parameters).as_value().value
    dut.rst.value = 1
    await ClockCycles(dut.clk, 4)
    dut.rst.value = 0


async def run(dut, batch: Batch, *, stall: float, sink_stall: float) -> None:
    dut.parameters.value = RowParameters.const(batch.parameters).as_value().value
    await RisingEdge(dut.clk)
    cocotb.start_soon(Source(dut, "rows", stall=stall).send(batch.rows))
    cocotb.start_soon(Source(dut, "elements", stall=stall).send(batch.elements))
    received = await Sink(dut, "o", stall=sink_stall).receive(len(batch.expected), signed=False)
    wrong = np.flatnonzero(np.array(received) != np.array(batch.expected)).tolist()
    assert not wrong, f"words {wrong[:8]} of {len(received)} are wrong, {batch.parameters}"


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(stall=[0.0, 0.6], sink_stall=[0.0, 0.6, 0.95])
async def matches_golden(dut, stall, sink_stall):
    batches = [
        Batch(12, n, shift=shift, epsilon=epsilon, more_words=more, rms=rms)
        for rms in (False, True)
        for n, shift, epsilon, more in [
            (1, 4, 1, 0),
            (2, 12, 1, 0),  # down to the smallest variance of elements that differ
            (5, 12, 3, 2),
            (27, 10, 1 << 20, 0),
            (32, 0, (1 << 32) - 1, 0),
            (33, 36, 1, 1),
            (40, 255, 1, 0),
        ]
    ]
    await start(dut, batches[0])
    for batch in batches:
        await run(dut, batch, stall=stall, sink_stall=sink_stall)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def clips_the_gain(dut):
    batch = Batch(1, 4, shift=8, epsilon=CLIPPED_EPSILON, rows=CLIPPED_ROWS)
    await start(dut, batch)
    await run(dut, batch, stall=0.0, sink_stall=0.0)


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(rms=[False, True])
async def holds_the_longest_row(dut, rms):
    # Without a mean, -32768 everywhere gives the largest sums there are.
    batch = Batch(
        2, 4096, shift=13, epsilon=1, rms=rms, rows=[[-32768] * 4096] * 2 if rms else None
    )
    await start(dut, batch)
    await run(dut, batch, stall=0.0, sink_stall=0.0)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(n=[5, 27, 203])
async def keeps_its_rate(dut, n):
    """Rows follow each other at the rate that is stated."""
    batch = Batch(24, n, shift=13, epsilon=1)
    await start(dut, batch)
    cocotb.start_soon(Source(dut, "rows").send(batch.rows))
    cocotb.start_soon(Source(dut, "elements").send(batch.elements))
    dut.o__ready.value = 1
    cycles = []
    cycle = 0
    while len(cycles) < len(batch.expected):
        await RisingEdge(dut.clk)
        cycle += 1
        if dut.o__valid.value:
            cycles.append(cycle)
    ends = np.array(cycles[batch.words - 1 :: batch.words])
    per_word = LANES // CONFIG.vector_lanes
    expected = max(batch.words * per_word, RowFunctions.ROW_CYCLES)
    # The root of one row may take nine cycles more than that of another.
    assert ends[-1] - ends[8] <= (len(ends) - 9) * expected + 9
    # Of the first row: two passes, and the scalars.
    assert ends[0] <= 2 * batch.words * per_word + 160
