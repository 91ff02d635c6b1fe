# amaranth: UnusedElaboratable=no
"""The multiplier and the processing element."""

import random

import pytest
from amaranth.sim import Simulator
from harness import simulate

from celosia.cores.multiply import Multiplier
from celosia.cores.pe import ProcessingElement


def test_processing_element(tmp_path):
    dut = ProcessingElement(18, 19)
    simulate(dut, "tb_pe", tmp_path, ADDEND_WIDTH=18, LATENCY=dut.latency)


@pytest.mark.parametrize(("a_width", "b_width"), [(5, 3), (3, 7), (1, 1)])
def test_multiplier_of_odd_widths(a_width, b_width):
    dut = Multiplier(a_width, b_width)
    generator = random.Random(0)

    async def bench(ctx):
        held, expected = None, []
        for cycle in range(500):
            a = generator.randrange(-1 << a_width - 1, 1 << a_width - 1)
            b = generator.randrange(-1 << b_width - 1, 1 << b_width - 1)
            enable = cycle == 0 or generator.random() < 0.5
            held = b if enable else held
            expected.append(a * held)
            ctx.set(dut.a, a)
            ctx.set(dut.b, b)
            ctx.set(dut.b_enable, enable)
            if cycle >= dut.latency:
                assert ctx.get(dut.product) == expected[cycle - dut.latency]
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_multiplier_rejects_wrong_widths():
    with pytest.raises(ValueError, match=r"^Multiplier a_width must be positive, not 0$"):
        Multiplier(0, 8)
    with pytest.raises(TypeError, match=r"^Multiplier b_width must be an integer, not True$"):
        Multiplier(8, True)
