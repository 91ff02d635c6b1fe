"""Bench of the memory reader: data, rules of the bus, faults."""

import itertools
import json
import os
import random

import cocotb
from axi_checks import Subordinate, watch_addresses, watch_stalls
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiRamRead, AxiReadBus
from streams import Sink, Source

from celosia.config import MachineConfig
from celosia.isa import Cause
from celosia.rtl.bursts import burst_limit

CONFIG = MachineConfig(**json.loads(os.environ["CONFIG"]))
DEPTHS = json.loads(os.environ["DEPTHS"])
RESERVES = json.loads(os.environ["RESERVES"])
W = CONFIG.memory_width
BASE, SIZE = 0x4000_0000 + 7 * W, 0x10000


def request(address: int, beats: int) -> int:
    return address | beats << 32


class Bench:
    def __init__(self, dut, *, stall=0.0, sink_stall=0.0) -> None:
        self.dut = dut
        self.edge = RisingEdge(dut.clk)
        self.requests = [Source(dut, f"requests__{n}", stall=stall) for n in range(len(DEPTHS))]
        self.data = [Sink(dut, f"data__{n}", stall=sink_stall) for n in range(len(DEPTHS))]
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
        await self.edge
        cocotb.start_soon(watch_stalls(dut, "bus", "ar"))
        cocotb.start_soon(watch_addresses(dut, "bus", "ar", W, self.bursts))
        cocotb.start_soon(self.count_beats())

    async def count_beats(self) -> None:
        while True:
            await self.edge
            assert self.dut.bus__rready.value
            self.beats += bool(self.dut.beat.value)

    async def fetch(self, client: int, runs: list[tuple[int, int]]) -> list[int]:
        cocotb.start_soon(self.requests[client].send(request(a, n) for a, n in runs))
        return await self.data[client].receive(sum(n for _, n in runs), signed=False)

    async def until_idle(self) -> None:
        await ClockCycles(self.dut.clk, 3)
        while not self.dut.idle.value:
            await self.edge


def random_run(longest: int) -> tuple[int, int]:
    beats = random.choice([1, 2, 3, random.randrange(1, longest)])
    return random.randrange((SIZE // W) - beats + 1) * W, beats


def addresses(runs: list[tuple[int, int]]) -> list[int]:
    return [BASE + a + k * W for a, n in runs for k in range(n)]


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(stall=[0.0, 0.6], sink_stall=[0.0, 0.7], latency=[0, 30])
async def every_client_gets_its_data(dut, stall, sink_stall, latency):
    bench = Bench(dut, stall=stall, sink_stall=sink_stall)
    memory = Subordinate(dut, "bus", W, latency=latency, stall=stall)
    await bench.start()
    cocotb.start_soon(memory.run())
    runs = [[random_run(150) for _ in range(12)] for _ in DEPTHS]
    # Runs of no beats do nothing, and the whole end of the window may be read.
    runs[0][3:3] = [(8 * W, 0), (SIZE - W, 1), (SIZE - 70 * W, 70)]
    tasks = [cocotb.start_soon(bench.fetch(n, r)) for n, r in enumerate(runs)]
    for task, run in zip(tasks, runs, strict=True):
        assert await task == [memory.word(a) for a in addresses(run)]
    await bench.until_idle()
    assert dut.fault.value == Cause.NONE
    assert bench.beats == sum(n for run in runs for _, n in run)
    assert sum(n for _, n in bench.bursts) == bench.beats
    assert memory.most_under_way <= CONFIG.outstanding_reads
    assert all(BASE <= a and a + n * W <= BASE + SIZE for a, n in bench.bursts)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(pauses=[(0,), (1, 0, 0, 1, 0, 1, 1)])
async def agrees_with_another_memory(dut, pauses):
    bench = Bench(dut)
    bus = AxiReadBus.from_prefix(dut, "bus_")
    ram = AxiRamRead(bus, dut.clk, dut.rst, size=1 << 32)
    for channel in (ram.ar_channel, ram.r_channel):
        channel.set_pause_generator(itertools.cycle(pauses))
    image = random.randbytes(SIZE)
    ram.write(BASE, image)
    await bench.start()
    runs = [[random_run(80) for _ in range(6)] for _ in DEPTHS]
    tasks = [cocotb.start_soon(bench.fetch(n, r)) for n, r in enumerate(runs)]
    for task, run in zip(tasks, runs, strict=True):
        got = b"".join(word.to_bytes(W, "little") for word in await task)
        assert got == b"".join(image[a : a + n * W] for a, n in run)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def streams_a_beat_each_cycle(dut):
    bench = Bench(dut)
    # As long as what is under way, or its room, can cover.
    under_way = (CONFIG.outstanding_reads - 1) * burst_limit(CONFIG, DEPTHS[0])
    latency = min(DEPTHS[0] // 2, under_way) - 8
    memory = Subordinate(dut, "bus", W, latency=latency)
    await bench.start()
    cocotb.start_soon(memory.run())
    task = cocotb.start_soon(bench.fetch(0, [(0, 500), (0x8000, 500)]))
    await ClockCycles(dut.clk, 1000 + latency + 20)
    assert task.done(), f"{bench.beats} beats"


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_client_that_does_not_take_blocks_no_other(dut):
    bench = Bench(dut)
    memory = Subordinate(dut, "bus", W, latency=3)
    await bench.start()
    cocotb.start_soon(memory.run())
    cocotb.start_soon(bench.requests[0].send([request(0, 4 * DEPTHS[0])]))
    await ClockCycles(dut.clk, 4 * DEPTHS[0])
    assert 3 * DEPTHS[0] // 4 < bench.beats <= DEPTHS[0]  # but for the first, shorter burst
    runs = [(0, 300)]
    assert await bench.fetch(1, runs) == [memory.word(a) for a in addresses(runs)]
    got = await bench.data[0].receive(4 * DEPTHS[0], signed=False)
    assert got == [memory.word(a) for a in addresses([(0, 4 * DEPTHS[0])])]


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_client_below_its_reserve_goes_first_and_then_waits(dut):
    bench = Bench(dut)
    memory = Subordinate(dut, "bus", W, latency=3)
    await bench.start()
    cocotb.start_soon(memory.run())
    first = cocotb.start_soon(bench.fetch(0, [(0, 1000)]))
    await ClockCycles(dut.clk, 100)
    before = len(bench.bursts)
    # Nothing is taken, so what has come stays in its queue.
    cocotb.start_soon(bench.requests[1].send([request(0x8000, DEPTHS[1])]))
    await first
    theirs = [(n, beats) for n, (a, beats) in enumerate(bench.bursts) if a >= BASE + 0x8000]
    came = list(itertools.accumulate(beats for _, beats in theirs))
    count = next(k for k, beats in enumerate(came, 1) if beats >= RESERVES[1])
    early, late = theirs[:count], theirs[count:]
    # Two of the other client may go between two of them: one on its way, one before it is seen.
    assert early[-1][0] < before + 3 * count + 3
    # It is seen late that there is enough; then what is left waits for the other's end.
    assert all(n > len(bench.bursts) - len(late) - 4 for n, _ in late[2:])
    assert await bench.data[1].receive(DEPTHS[1], signed=False)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(
    run=[
        (SIZE, 1),
        (SIZE - W, 2),
        (SIZE - 2 * W, 3),
        (0, SIZE // W + 1),
        (0xFFFF_FFFF // W * W, 1),
        (0xFFFF_FFFF // W * W, (1 << 24) - 1),
        (0, (1 << 24) - 1),
    ]
)
async def nothing_outside_the_window_is_read(dut, run):
    bench = Bench(dut)
    memory = Subordinate(dut, "bus", W)
    await bench.start()
    cocotb.start_soon(memory.run())
    await bench.fetch(1, [(SIZE - 2 * W, 2)])
    assert dut.fault.value == Cause.NONE
    cocotb.start_soon(bench.requests[1].send([request(*run)]))
    await ClockCycles(dut.clk, 10)
    assert dut.fault.value == Cause.OUTSIDE_WINDOW
    assert dut.fault_client.value == 1
    # Held, and nothing is issued after it.
    cocotb.start_soon(bench.requests[0].send([request(0, 5)]))
    await ClockCycles(dut.clk, 30)
    assert dut.fault.value == Cause.OUTSIDE_WINDOW
    assert dut.quiet.value and not dut.idle.value
    assert sum(n for _, n in bench.bursts) == 2


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def an_error_response_is_a_fault(dut):
    bench = Bench(dut)
    memory = Subordinate(dut, "bus", W, latency=5, stall=0.3)
    memory.errors.add(BASE + 10 * W)
    await bench.start()
    cocotb.start_soon(memory.run())
    cocotb.start_soon(bench.requests[1].send([request(0, 40)]))
    dut.data__1__ready.value = 1
    given = []
    for _ in range(200):
        await bench.edge
        if dut.data__1__valid.value:
            given.append(dut.data__1__payload.value.to_unsigned())
    assert dut.fault.value == Cause.MEMORY_ERROR
    assert dut.fault_client.value == 1
    assert dut.quiet.value and not dut.idle.value
    # The client gets what came before the error, and nothing after it.
    assert given == [memory.word(a) for a in addresses([(0, 10)])]


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(mute=[True, False])
async def a_silent_memory_is_a_fault(dut, mute):
    bench = Bench(dut)
    memory = Subordinate(dut, "bus", W)
    await bench.start()
    cocotb.start_soon(memory.run())
    await bench.fetch(0, [(0, 3)])
    # A machine that does not read, or does not take its data, waits for nothing.
    cocotb.start_soon(bench.requests[0].send([request(0, 2)]))
    await ClockCycles(dut.clk, 2 * CONFIG.watchdog_cycles)
    assert dut.fault.value == Cause.NONE
    memory.mute, memory.deaf = mute, not mute
    await bench.edge
    cocotb.start_soon(bench.requests[1].send([request(0, 3)]))
    await ClockCycles(dut.clk, CONFIG.watchdog_cycles - 5)
    assert dut.fault.value == Cause.NONE
    await ClockCycles(dut.clk, 20)
    assert dut.fault.value == Cause.WATCHDOG
    assert dut.fault_client.value == 1


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def stop_issues_nothing_new(dut):
    bench = Bench(dut)
    memory = Subordinate(dut, "bus", W)
    await bench.start()
    cocotb.start_soon(memory.run())
    dut.stop.value = 1
    cocotb.start_soon(bench.requests[0].send([request(0, 9)]))
    await ClockCycles(dut.clk, 30)
    assert not bench.bursts
    assert not dut.idle.value
    dut.stop.value = 0
    assert len(await bench.data[0].receive(9, signed=False)) == 9
