"""Building blocks of datapaths against Python's integers and against the twins."""

import numpy as np
import pytest
from amaranth import Module, Signal, signed
from amaranth.sim import Simulator

from celosia.cores.arith import (
    adder_tree,
    bit_length,
    delayed,
    magnitude,
    or_tree,
    round_shift,
    saturate,
)
from celosia.golden import fixed


def evaluate(m: Module, result, inputs: list[tuple], cases) -> list[int]:
    """Values of `result` for each case, a tuple with a value per input."""
    results = []

    async def bench(ctx):
        for case in cases:
            for signal, value in zip(inputs, case, strict=True):
                ctx.set(signal, int(value))
            results.append(ctx.get(result))

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()
    return results


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64])
def test_trees(count):
    rng = np.random.default_rng(count)
    terms = [Signal(signed(8), name=f"term_{n}") for n in range(count)]
    total, joined = Signal(signed(20)), Signal(signed(8))
    m = Module()
    m.d.comb += [total.eq(adder_tree(terms)), joined.eq(or_tree(terms))]
    cases = [[-128] * count, [127] * count, *rng.integers(-128, 128, (20, count))]
    assert evaluate(m, total, terms, cases) == [int(np.sum(case)) for case in cases]
    m = Module()
    m.d.comb += joined.eq(or_tree(terms))
    assert evaluate(m, joined, terms, cases) == [int(np.bitwise_or.reduce(c)) for c in cases]
    assert len(adder_tree(terms)) == 8 + (count - 1).bit_length()


@pytest.mark.parametrize("width", [1, 2, 7, 8, 9, 15])
def test_bit_length(width):
    m = Module()
    value = Signal(width)
    length = bit_length(m, value)
    cases = range(min(1 << width, 2048))
    cases = [*cases, *((1 << k) + d for k in range(width) for d in (-1, 0))]
    assert evaluate(m, length, [value], [(c,) for c in cases]) == [c.bit_length() for c in cases]


def test_round_shift_is_rnd():
    m = Module()
    x, s, y = Signal(signed(9)), Signal(range(11)), Signal(signed(10))
    m.d.comb += y.eq(round_shift(x, s))
    cases = [(a, b) for a in range(-256, 256) for b in range(11)]
    assert evaluate(m, y, [x, s], cases) == [int(fixed.rnd(a, b)) for a, b in cases]


@pytest.mark.parametrize("bits", [2, 8, 10])
def test_saturate(bits):
    m = Module()
    x, y = Signal(signed(10)), Signal(signed(bits))
    m.d.comb += y.eq(saturate(x, bits))
    cases = range(-512, 512)
    expected = fixed.saturate(cases, bits).tolist()
    assert evaluate(m, y, [x], [(c,) for c in cases]) == expected


def test_magnitude():
    m = Module()
    x, y = Signal(signed(16)), Signal(15)
    m.d.comb += y.eq(magnitude(x))
    cases = [-32768, -32767, -129, -128, -1, 0, 1, 127, 128, 32767]
    expected = fixed.magnitude(cases).tolist()
    assert evaluate(m, y, [x], [(c,) for c in cases]) == expected


def test_delayed():
    m = Module()
    x, y = Signal(8), Signal(8)
    m.d.comb += y.eq(delayed(m, x, 3, "x"))
    seen = []

    async def bench(ctx):
        for n in range(12):
            ctx.set(x, n)
            seen.append(ctx.get(y))
            await ctx.tick()

    simulator = Simulator(m)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen == [0, 0, 0, *range(9)]
