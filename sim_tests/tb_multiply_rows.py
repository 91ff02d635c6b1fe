"""Bench of RowFunctions with products: extremes, stalls at both ends, rows in their cycles."""

import json
import os

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from pipelines import packed
from streams import Sink, Source

from celosia.config import MachineConfig
from celosia.cores.row_functions import RowFunction, RowParameters
from celosia.golden.multiply_rows import multiply_rows

CONFIG = MachineConfig(**json.loads(os.environ["CONFIG"]))
LANES = CONFIG.lanes
SHIFTS = [0, 1, 2, 8, 14, 15, 16, 30, 31]

rng = np.random.default_rng(0)


def factors(words: int) -> np.ndarray:
    """Return factors (2, words, L): of all sizes, and extremes beside each other."""
    values = rng.integers(-32768, 32768, (2, words, LANES)) >> rng.integers(0, 15, (2, words, 1))
    extremes = rng.choice([-32768, -32767, -1, 0, 1, 32767], values.shape)
    return np.where(rng.random((2, words, 1)) < 0.4, extremes, values)


class Batch:
    """Rows with what is sent for them, and what comes of them."""

    def __init__(self, words: int, *, rows: int = 12, shift: int, complex_: bool, narrow: bool):
        self.words = words
        x, w = factors(rows * words)
        flags = {"complex": complex_, "narrow": narrow}
        # What has no meaning for products is there, and does not matter.
        self.parameters = {"function": RowFunction.MULTIPLY, "words": words, "shift": shift}
        self.parameters |= {"n": 1, "rms": 1, "epsilon": 5, "continues": 1, **flags}
        unused = rng.integers(-32768, 32768, x.shape)
        elements = np.stack([unused, w, x], axis=-1)
        self.elements = [packed(word, 16) for word in elements.reshape(-1, 3 * LANES)]
        y = multiply_rows(x, w, shift=shift, complex_=complex_, narrow=narrow)
        self.expected = [packed(word, 16) for word in y]


async def start(dut, batch: Batch) -> None:
    Clock(dut.clk, 10, unit="ns").start()
    dut.parameters.value = RowParameters.const(batch.parameters).as_value().value
    dut.rows__valid.value = 0
    dut.rst.value = 1
    await ClockCycles(dut.clk, 4)
    dut.rst.value = 0


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(complex_=[False, True], stall=[0.0, 0.6], sink_stall=[0.0, 0.6, 0.95])
async def matches_golden(dut, complex_, stall, sink_stall):
    batches = [
        Batch(int(rng.integers(1, 6)), shift=shift, complex_=complex_, narrow=narrow)
        for shift in SHIFTS
        for narrow in (False, True)
    ]
    await start(dut, batches[0])
    for batch in batches:
        dut.parameters.value = RowParameters.const(batch.parameters).as_value().value
        await RisingEdge(dut.clk)
        cocotb.start_soon(Source(dut, "elements", stall=stall).send(batch.elements))
        received = await Sink(dut, "o", stall=sink_stall).receive(len(batch.expected), signed=False)
        wrong = np.flatnonzero(np.array(received) != np.array(batch.expected)).tolist()
        assert not wrong, f"words {wrong[:8]} of {len(received)} are wrong, {batch.parameters}"


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(complex_=[False, True])
async def keeps_its_rate(dut, complex_):
    """Words follow each other in L/V cycles, over the ends of rows."""
    batch = Batch(5, shift=15, complex_=complex_, narrow=False)
    await start(dut, batch)
    cocotb.start_soon(Source(dut, "elements").send(batch.elements))
    dut.o__ready.value = 1
    cycles = []
    cycle = 0
    while len(cycles) < len(batch.expected):
        await RisingEdge(dut.clk)
        cycle += 1
        if dut.o__valid.value:
            cycles.append(cycle)
    assert set(np.diff(cycles)) == {LANES // CONFIG.vector_lanes}
    assert cycles[0] <= LANES // CONFIG.vector_lanes + 25
