"""Bench of the quantiser: every value with every exponent, exact to the cycle."""

import os

import cocotb
import numpy as np
from pipelines import Pipe, packed, reset

from celosia.golden.quantise import quantise

LANES = int(os.environ["LANES"])
LATENCY = int(os.environ["LATENCY"])


def rows(x: np.ndarray, e: np.ndarray, raw: np.ndarray):
    """Inputs and expected outputs of rows `x` with exponents `e`, some of them `raw`."""
    bits = (x >> e[:, np.newaxis]).astype(np.int8)
    results = np.where(raw[:, np.newaxis], bits, quantise(x, e))
    for row, exponent, as_is, result in zip(x, e.tolist(), raw.tolist(), results, strict=True):
        inputs = {"exponent": exponent, "raw": as_is, "data": packed(row, 16)}
        yield inputs, {"data": packed(result, 8)}


async def started(dut) -> Pipe:
    await reset(dut, [dut.i__valid], LATENCY)
    return Pipe(dut, ["exponent", "raw", "data"], ["data"], LATENCY)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(gap=[0.0, 0.5])
async def matches_golden(dut, gap):
    pipe = await started(dut)
    rng = np.random.default_rng(0)
    corners = np.array([-32768, -32767, -128, -1, 0, 1, 127, 128, 32639, 32640, 32767])
    x = np.where(
        rng.random((2000, LANES)) < 0.3,
        rng.choice(corners, (2000, LANES)),
        rng.integers(-32768, 32768, (2000, LANES)),
    )
    await pipe.run(rows(x, rng.integers(0, 9, 2000), rng.random(2000) < 0.4), gap=gap)


@cocotb.test(timeout_time=1, timeout_unit="ms", skip=LANES & (LANES - 1) != 0)
@cocotb.parametrize(raw=[False, True])
async def every_value_with_every_exponent(dut, raw):
    pipe = await started(dut)
    x = np.tile(np.arange(-32768, 32768).reshape(-1, LANES), (9, 1))
    e = np.repeat(np.arange(9), len(x) // 9)
    await pipe.run(rows(x, e, np.full(len(x), raw)))
