"""Bench of the quantiser: every value with every exponent, exact to the cycle."""

import os

import cocotb
import numpy as np
from pipelines import Pipe, packed, reset

from celosia.golden.quantise import quantise

LANES = int(os.environ["LANES"])
LATENCY = int(os.environ["LATENCY"])


def rows(x: np.ndarray, e: np.ndarray):
    """Inputs and expected outputs of rows `x` with exponents `e`."""
    for row, exponent, result in zip(x, e.tolist(), quantise(x, e), strict=True):
        yield {"exponent": exponent, "data": packed(row, 16)}, {"data": packed(result, 8)}


async def started(dut) -> Pipe:
    await reset(dut, [dut.i__valid], LATENCY)
    return Pipe(dut, ["exponent", "data"], ["data"], LATENCY)


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
    await pipe.run(rows(x, rng.integers(0, 9, 2000)), gap=gap)


@cocotb.test(timeout_time=1, timeout_unit="ms", skip=LANES & (LANES - 1) != 0)
async def every_value_with_every_exponent(dut):
    pipe = await started(dut)
    x = np.tile(np.arange(-32768, 32768).reshape(-1, LANES), (9, 1))
    await pipe.run(rows(x, np.repeat(np.arange(9), len(x) // 9)))
