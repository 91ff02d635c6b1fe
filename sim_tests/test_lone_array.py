# amaranth: UnusedElaboratable=no
"""The array alone, through its registers, against products of NumPy."""

import numpy as np
import pytest
from amaranth.sim import Simulator
from numpy.testing import assert_array_equal

from celosia.array_map import ROW, SUMS, SWAP, WEIGHTS
from celosia.config import PRESETS
from celosia.platforms.lone_array import LoneArray


def words(elements):
    """Pack int8 into words, four to each, the last one filled up with ones."""
    padded = np.full(-(-len(elements) // 4) * 4, -1, np.int8)
    padded[: len(elements)] = elements
    return padded.view("<u4").tolist()


class Host:
    """Accesses of the port, one at a time, that take their answers when it pleases them."""

    def __init__(self, bus, ctx, rng):
        self.bus, self.ctx, self.rng = bus, ctx, rng

    async def _wait(self, valid, ready):
        """Hold `ready` back for a while; return in the cycle of the transfer."""
        await self.ctx.tick().repeat(int(self.rng.integers(1, 4)))
        self.ctx.set(ready, 1)
        while not self.ctx.get(valid):
            await self.ctx.tick()

    async def write(self, address, word):
        ctx, bus = self.ctx, self.bus
        late = self.rng.integers(0, 3)  # address first, data first, or both
        ctx.set(bus.awaddr, address)
        ctx.set(bus.wdata, word)
        ctx.set(bus.awvalid, int(late != 1))
        ctx.set(bus.wvalid, int(late != 2))
        if late:
            await ctx.tick().repeat(2)
        ctx.set(bus.awvalid, 1)
        ctx.set(bus.wvalid, 1)
        while not ctx.get(bus.awready):
            await ctx.tick()
        assert ctx.get(bus.wready)
        await ctx.tick()
        ctx.set(bus.awvalid, 0)
        ctx.set(bus.wvalid, 0)
        await self._wait(bus.bvalid, bus.bready)
        response = ctx.get(bus.bresp)
        await ctx.tick()
        ctx.set(bus.bready, 0)
        return response

    async def read(self, address):
        ctx, bus = self.ctx, self.bus
        ctx.set(bus.araddr, address)
        ctx.set(bus.arvalid, 1)
        while not ctx.get(bus.arready):
            await ctx.tick()
        await ctx.tick()
        ctx.set(bus.arvalid, 0)
        await self._wait(bus.rvalid, bus.rready)
        word = ctx.get(bus.rdata)
        await ctx.tick()
        ctx.set(bus.rready, 0)
        return word


@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (2, 8), (8, 4)])
def test_products_are_those_of_numpy(rows, columns):
    config = PRESETS["small"].replace(
        rows=rows, columns=columns, vector_lanes=1, memory_width=4, accumulator_rows=256
    )
    dut = LoneArray(config)
    rng = np.random.default_rng(rows)
    found, wanted = [], []

    async def bench(ctx):
        host = Host(dut.s_axi_lite, ctx, rng)
        assert await host.read(0) == rows | columns << 8
        for tile in range(3):
            weights = rng.integers(-128, 128, (columns, rows))
            streamed = rng.integers(-128, 128, (4, rows))
            if tile == 1:
                weights[:], streamed[:] = -128, -128  # the largest sums
            for column in rng.permutation(columns):
                for index, word in enumerate(words(weights[column])):
                    assert await host.write(WEIGHTS + 64 * int(column) + 4 * index, word) == 0
            for number, row in enumerate(streamed):
                if number == 3:  # what is loaded waits for a row that swaps
                    for index, word in enumerate(words(~weights[0])):
                        assert await host.write(WEIGHTS + 4 * index, word) == 0
                swap = SWAP if number == 0 else 0
                for index, word in enumerate(words(row)):
                    assert await host.write(ROW + swap + 4 * index, word) == 0
                if number == 1:
                    continue  # the next row follows at once; the sums kept are its
                sums = [await host.read(SUMS + 4 * index) for index in range(columns)]
                found.append(np.array(sums, np.uint32).view(np.int32))
                wanted.append(weights @ row)
        # Outside: a word, a column, another region, a high address.
        beyond = -(-rows // 4)
        for address in (
            ROW + 4 * beyond,
            WEIGHTS + 64 * columns,
            SUMS,
            0,
            (1 << 14) + ROW,
            (1 << 31) + ROW,
        ):
            assert await host.write(address, 0x7F7F7F7F) == 2
        assert await host.read(SUMS) == found[-1].view(np.uint32)[0]

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert len(found) == 9
    assert_array_equal(found, wanted)
