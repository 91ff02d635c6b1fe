"""Bench of the table activation: every argument, tables that saturate, bypass, gaps."""

import json
import os
import random

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from pipelines import Pipe, noise, packed, reset

from celosia.config import MachineConfig
from celosia.golden.activation import apply_table, make_table

CONFIG = MachineConfig(**json.loads(os.environ["CONFIG"]))
LATENCY = int(os.environ["LATENCY"])
COLUMNS = CONFIG.columns


async def load(dut, value: np.ndarray, slope: np.ndarray) -> None:
    """Write a table, in random order, with gaps."""
    for address in np.random.default_rng(0).permutation(256).tolist():
        while random.random() < 0.2:
            dut.table__valid.value = 0
            noise([dut.table__address, dut.table__value, dut.table__slope])
            await RisingEdge(dut.clk)
        dut.table__valid.value = 1
        dut.table__address.value = address
        dut.table__value.value = int(value[address])
        dut.table__slope.value = int(slope[address])
        await RisingEdge(dut.clk)
    dut.table__valid.value = 0
    noise([dut.table__address, dut.table__value, dut.table__slope])


def rows(x: np.ndarray, enable: np.ndarray, value: np.ndarray, slope: np.ndarray):
    """Inputs and expected outputs; the function is applied to the rows with `enable`."""
    results = np.where(enable[:, None], apply_table(x, value, slope), x)
    for row, on, y in zip(x, enable.tolist(), results, strict=True):
        tag = random.getrandbits(9)
        inputs = {"enable": on, "data": packed(row, 16), "tag": tag}
        yield inputs, {"enable": int(on), "data": packed(y, 16), "tag": tag}


async def started(dut) -> Pipe:
    await reset(dut, [dut.i__valid, dut.table__valid], LATENCY)
    return Pipe(dut, ["enable", "data", "tag"], ["enable", "data", "tag"], LATENCY)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(gap=[0.0, 0.5])
async def matches_golden_on_any_table(dut, gap):
    rng = np.random.default_rng(1)
    ends = [-32768, 32767]
    value, slope = rng.integers(-32768, 32768, (2, 256))
    value[::3], slope[::2] = rng.choice(ends, 86), rng.choice(ends, 128)
    pipe = await started(dut)
    await load(dut, value, slope)
    x = rng.integers(-32768, 32768, (3000, COLUMNS))
    x[::5] = rng.choice([-32768, -32767, -257, -256, -1, 0, 255, 256, 32767], (600, COLUMNS))
    await pipe.run(rows(x, rng.random(3000) < 0.8, value, slope), gap=gap)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def every_argument(dut):
    pipe = await started(dut)
    value, slope = make_table("gelu", 1 / 4096, 1 / 4096)
    await load(dut, value, slope)
    x = np.arange(-32768, 32768).reshape(-1, COLUMNS)
    await pipe.run(rows(x, np.ones(len(x), bool), value, slope))
