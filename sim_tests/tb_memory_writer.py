"""Bench of the memory writer: every byte, rules of the bus, faults."""

import itertools
import json
import os
import random

import cocotb
from axi_checks import watch_addresses, watch_stalls
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiRamWrite, AxiWriteBus
from streams import Source

from celosia.config import MachineConfig
from celosia.isa import Cause

CONFIG = MachineConfig(**json.loads(os.environ["CONFIG"]))
W = CONFIG.memory_width
BASE, SIZE = 0x4000_0000 + 5 * W, 0x8000
MARGIN = 0x1000
#: Strobe of a beat of which all bytes are written.
ALL = (1 << W) - 1


def beat(data: bytes, strobe: int) -> int:
    return int.from_bytes(data, "little") | strobe << 8 * W


class Subordinate:
    """Write side of a memory, by hand: takes addresses and data, answers when told to."""

    def __init__(self, dut, *, response: int = 0, deaf: tuple[str, ...] = ()) -> None:
        self.dut = dut
        self.response = response
        self.deaf = deaf
        self.addresses = self.beats = 0
        for name in ("awready", "wready", "bvalid", "bresp"):
            getattr(dut, f"bus__{name}").value = 0

    async def run(self) -> None:
        dut, owed, answered = self.dut, 0, 0
        while True:
            dut.bus__awready.value = "aw" not in self.deaf
            dut.bus__wready.value = "w" not in self.deaf
            dut.bus__bvalid.value = owed > 0 and answered < self.addresses and "b" not in self.deaf
            dut.bus__bresp.value = self.response
            await RisingEdge(dut.clk)
            if dut.bus__bvalid.value and dut.bus__bready.value:
                owed -= 1
                answered += 1
            self.addresses += bool(dut.bus__awvalid.value and dut.bus__awready.value)
            if dut.bus__wvalid.value and dut.bus__wready.value:
                self.beats += 1
                owed += bool(dut.bus__wlast.value)


class Bench:
    def __init__(self, dut, *, stall=0.0) -> None:
        self.dut = dut
        self.requests = Source(dut, "requests", stall=stall)
        self.data = Source(dut, "data", stall=stall)
        self.bursts: list[tuple[int, int]] = []
        self.beats = 0

    async def start(self) -> None:
        dut = self.dut
        Clock(dut.clk, 10, unit="ns").start()
        dut.window_base.value = BASE
        dut.window_size.value = SIZE
        dut.stop.value = 0
        dut.rst.value = 1
        await ClockCycles(dut.clk, 3)
        dut.rst.value = 0
        await RisingEdge(dut.clk)
        for channel in ("aw", "w"):
            cocotb.start_soon(watch_stalls(dut, "bus", channel))
        cocotb.start_soon(watch_addresses(dut, "bus", "aw", W, self.bursts))
        cocotb.start_soon(self.watch_data())

    async def watch_data(self) -> None:
        """Data never comes before its address, and once a burst begins it does not pause."""
        begun = False
        while True:
            await RisingEdge(self.dut.clk)
            valid, last = bool(self.dut.bus__wvalid.value), bool(self.dut.bus__wlast.value)
            assert valid or not begun, "a burst waits for data"
            assert self.dut.bus__bready.value
            if valid and self.dut.bus__wready.value:
                self.beats += 1
                assert self.dut.beat.value
                begun = not last

    def send(self, runs: list[tuple[int, bytes]], strobes: list[int] | None = None):
        """Write whole beats, or the bytes of each that its strobe names."""
        words = [data[k : k + W] for _, data in runs for k in range(0, len(data), W)]
        strobes = [ALL] * len(words) if strobes is None else strobes
        cocotb.start_soon(self.requests.send(a | len(data) // W << 32 for a, data in runs))
        beats = zip(words, strobes, strict=True)
        return cocotb.start_soon(self.data.send(beat(*each) for each in beats))

    async def until_idle(self) -> None:
        await ClockCycles(self.dut.clk, 2)
        while not self.dut.idle.value:
            await RisingEdge(self.dut.clk)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(stall=[0.0, 0.6], pauses=[(0,), (1, 0, 0, 1, 0, 1, 1), (1, 1, 1, 0)])
async def every_byte_arrives_and_no_other_changes(dut, stall, pauses):
    bench = Bench(dut, stall=stall)
    ram = AxiRamWrite(AxiWriteBus.from_prefix(dut, "bus_"), dut.clk, dut.rst, size=1 << 32)
    for channel in (ram.aw_channel, ram.w_channel, ram.b_channel):
        channel.set_pause_generator(itertools.cycle(pauses))
    expected = bytearray(random.randbytes(SIZE + 2 * MARGIN))
    ram.write(BASE - MARGIN, bytes(expected))
    await bench.start()
    runs = [(0, random.randbytes(3 * W)), (SIZE - 70 * W, random.randbytes(70 * W)), (64 * W, b"")]
    for _ in range(20):
        beats = random.choice([1, 2, random.randrange(1, 100)])
        runs.append((random.randrange(SIZE // W - beats + 1) * W, random.randbytes(beats * W)))
    places = [address + k for address, data in runs for k in range(0, len(data), W)]
    strobes = [random.choice([ALL, 1, random.randint(0, ALL)]) for _ in places]
    await bench.send(runs, strobes)
    await bench.until_idle()
    words = [data[k : k + W] for _, data in runs for k in range(0, len(data), W)]
    for place, word, strobe in zip(places, words, strobes, strict=True):
        for k in range(W):
            if strobe >> k & 1:
                expected[MARGIN + place + k] = word[k]
    assert ram.read(BASE - MARGIN, len(expected)) == bytes(expected)
    assert dut.fault.value == Cause.NONE
    assert bench.beats == sum(len(data) for _, data in runs) // W == sum(n for _, n in bench.bursts)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def streams_a_beat_each_cycle(dut):
    bench = Bench(dut)
    memory = Subordinate(dut)
    await bench.start()
    cocotb.start_soon(memory.run())
    bench.send([(0, bytes(500 * W)), (0, bytes(500 * W))])
    await ClockCycles(dut.clk, 1000 + 40)
    assert memory.beats == 1000
    assert dut.idle.value


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def idle_only_when_all_is_acknowledged(dut):
    bench = Bench(dut)
    memory = Subordinate(dut, deaf=("b",))
    await bench.start()
    cocotb.start_soon(memory.run())
    assert dut.idle.value
    await bench.send([(0, bytes(40 * W))])
    for _ in range(100):
        await RisingEdge(dut.clk)
        assert not dut.idle.value
    assert memory.beats == 40
    memory.deaf = ()
    await bench.until_idle()


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(address=[SIZE, SIZE - W, 0xFFFF_FFFF // W * W])
async def nothing_outside_the_window_is_written(dut, address):
    bench = Bench(dut)
    memory = Subordinate(dut)
    await bench.start()
    cocotb.start_soon(memory.run())
    await bench.send([(SIZE - W, bytes(W))])
    await bench.until_idle()
    bench.send([(address, bytes(2 * W)), (0, bytes(2 * W))])
    await ClockCycles(dut.clk, 30)
    assert dut.fault.value == Cause.OUTSIDE_WINDOW
    assert memory.addresses == memory.beats == 1
    assert dut.quiet.value and not dut.idle.value


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(response=[2, 3])
async def an_error_response_is_a_fault(dut, response):
    bench = Bench(dut)
    memory = Subordinate(dut, response=response)
    await bench.start()
    cocotb.start_soon(memory.run())
    bench.send([(0, bytes(100 * W))])
    await ClockCycles(dut.clk, 200)
    assert dut.fault.value == Cause.MEMORY_ERROR
    # What was begun is ended; the rest is not begun.
    assert memory.beats < 100
    assert memory.beats == sum(n for _, n in bench.bursts)
    assert dut.quiet.value and not dut.idle.value


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(deaf=["aw", "w", "b"])
async def a_silent_memory_is_a_fault(dut, deaf):
    bench = Bench(dut)
    memory = Subordinate(dut)
    await bench.start()
    cocotb.start_soon(memory.run())
    # A request without its data waits for the machine, not for memory.
    cocotb.start_soon(bench.requests.send([3 << 32]))
    await ClockCycles(dut.clk, 2 * CONFIG.watchdog_cycles)
    assert dut.fault.value == Cause.NONE
    memory.deaf = (deaf,)
    await bench.data.send(beat(bytes(W), ALL) for _ in range(3))
    await ClockCycles(dut.clk, CONFIG.watchdog_cycles - 5)
    assert dut.fault.value == Cause.NONE
    await ClockCycles(dut.clk, 30)
    assert dut.fault.value == Cause.WATCHDOG


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def stop_issues_nothing_new(dut):
    bench = Bench(dut)
    memory = Subordinate(dut)
    await bench.start()
    cocotb.start_soon(memory.run())
    dut.stop.value = 1
    await bench.send([(0, bytes(9 * W))])
    await ClockCycles(dut.clk, 30)
    assert not memory.addresses
    dut.stop.value = 0
    await bench.until_idle()
    assert memory.beats == 9
