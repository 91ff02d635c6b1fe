"""Bench of the counters: every event counts once, whatever turn it falls on."""

import random

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge
from streams import reset

from celosia.isa import COUNTERS
from celosia.rtl.counters import EVENTS

#: Cycles from an event until every read has it, and until a counter is found.
LATE, FOUND = 3, len(COUNTERS) + 2


class Bench:
    """Drives random events; `counts` is what has been counted, up to each of the last cycles."""

    def __init__(self, dut) -> None:
        self.dut = dut
        self.share = 0.5  # of the cycles with an event
        self.history = [dict.fromkeys(COUNTERS, 0)]
        for name in ("clear", "run", "events", "read__index"):
            getattr(dut, name).value = 0

    @property
    def counts(self) -> dict[str, int]:
        return self.history[-1]

    def event(self, most: int) -> int:
        """What comes in a cycle: the most in every cycle, or anything in some."""
        if self.share == 1:
            return most
        return random.randint(0, most) if random.random() < self.share else 0

    async def count(self) -> None:
        while True:
            events = {name: self.event((1 << EVENTS[name].width) - 1) for name in COUNTERS}
            self.dut.events.value = EVENTS.const(events).as_bits()
            await RisingEdge(self.dut.clk)
            if self.dut.clear.value:
                self.history.append(dict.fromkeys(COUNTERS, 0))
            elif self.dut.run.value:
                self.history.append({name: self.counts[name] + events[name] for name in COUNTERS})
            else:
                self.history.append(self.counts)

    async def begin(self) -> None:
        await reset(self.dut)
        cocotb.start_soon(self.count())
        await self.clear()

    async def clear(self) -> None:
        self.dut.clear.value = 1
        await RisingEdge(self.dut.clk)
        self.dut.clear.value = 0

    async def read(self, name: str) -> int:
        """Read a counter; it must have what was there when it was asked for."""
        dut = self.dut
        dut.read__index.value = COUNTERS.index(name)
        await RisingEdge(dut.clk)
        for _ in range(FOUND):
            await RisingEdge(dut.clk)
            if dut.read__found.value:
                return dut.read__value.value.to_unsigned()
        raise AssertionError(f"{name} is not found in {FOUND} cycles")


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def counts_what_happens_while_it_runs(dut):
    bench = Bench(dut)
    await bench.begin()
    for bench.share in (1.0, 0.5, 0.03):
        await bench.clear()
        for cycles in (0, 1, 2, *random.sample(range(3, 150), 8)):
            dut.run.value = int(cycles > 0)
            await ClockCycles(dut.clk, max(cycles, 1))
            dut.run.value = 0
            await ClockCycles(dut.clk, LATE)
            for name in random.sample(COUNTERS, len(COUNTERS)):
                assert await bench.read(name) == bench.counts[name], name
    assert bench.counts["saturations"] > 100


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def can_be_read_while_it_runs(dut):
    bench = Bench(dut)
    await bench.begin()
    dut.run.value = 1
    await ClockCycles(dut.clk, 40)
    for name in random.choices(COUNTERS, k=200):
        before = bench.history[-1 - LATE][name]
        assert before <= await bench.read(name) <= bench.counts[name], name


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_clear_loses_all_that_was(dut):
    bench = Bench(dut)
    await bench.begin()
    for cycles in [*range(1, 2 * len(COUNTERS)), 100]:
        dut.run.value = 1
        await ClockCycles(dut.clk, cycles)
        await bench.clear()
        await ClockCycles(dut.clk, random.randrange(1, 40))
        dut.run.value = 0
        await ClockCycles(dut.clk, LATE)
        for name in random.sample(COUNTERS, 5):
            assert await bench.read(name) == bench.counts[name], (name, cycles)
    dut.run.value = 1
    await ClockCycles(dut.clk, 100)
    dut.run.value = 0
    dut.rst.value = 1
    await RisingEdge(dut.clk)
    dut.rst.value = 0
    for name in COUNTERS:
        assert await bench.read(name) == 0, name
