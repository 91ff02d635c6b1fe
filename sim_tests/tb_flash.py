"""Bench of memory on the chip and flash as one: every byte, every rule of the part, the clock."""

import itertools
import json
import os
import random
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiResp
from memory_bench import PAUSES, MemoryBench, host_access

from celosia.config import MachineConfig

CONFIG = MachineConfig(**json.loads(os.environ["CONFIG"]))
W, BASE, END = CONFIG.memory_width, CONFIG.flash_base, int(os.environ["END"])
#: Clocks of a read before its data.
ASKING = 16 + int(os.environ["DUMMY"])
#: What lies at each address at the start: zeros on the chip, then the flash.
IMAGE = bytes(BASE) + Path(os.environ["IMAGE"]).read_bytes()
LAST = len(IMAGE)


@cocotb.test(timeout_time=500, timeout_unit="us")
@cocotb.parametrize(pauses=PAUSES, stall=[0.0, 0.5])
async def both_memories_in_order(dut, pauses, stall):
    """Bursts of the machine anywhere, many at once, its writes to the chip, and the host's."""
    bench = MemoryBench(dut, pauses, stall=stall)
    await bench.start()
    image = bytearray(IMAGE)
    half = BASE // 2
    image[:BASE] = random.randbytes(BASE)
    await bench.write.write(0, bytes(image[:BASE]))

    async def reads():
        for _ in range(3):
            bursts, at = [], 0
            for _ in range(12):
                size = W * random.randrange(1, 40)
                if random.random() < 0.6:  # goes on where the last one ended, or nearly
                    at += W * random.choice((0, 0, 0, -2, -1, 1, 2, 15))
                    at = max(min(at, LAST - size), 0)
                else:
                    at = random.choice((random.randrange(half), random.randrange(BASE, LAST)))
                    at = min(at // W * W, half - size if at < half else LAST - size)
                    at = max(at, 0)
                size = min(size, half - at) if at < half else size
                bursts.append((at, size))
                at += size
            tasks = [cocotb.start_soon(bench.read.read(*burst)) for burst in bursts]
            for task, (at, size) in zip(tasks, bursts, strict=True):
                found = await task
                assert found.resp == AxiResp.OKAY
                assert found.data == bytes(image[at : at + size]), (hex(at), size)

    async def writes():
        for _ in range(10):
            at, data = random.randrange(half, BASE - 64), random.randbytes(random.randrange(1, 64))
            image[at : at + len(data)] = data
            assert (await bench.write.write(at, data)).resp == AxiResp.OKAY

    async def host():
        for _ in range(10):
            at = random.choice((random.randrange(half), random.randrange(BASE, LAST))) // 4 * 4
            assert await bench.access(False, at) == int.from_bytes(image[at : at + 4], "little")
            await bench.access(True, random.randrange(BASE, LAST) // 4 * 4, 0x55AA55AA)  # is lost

    for task in [cocotb.start_soon(job()) for job in (reads, writes, host)]:
        await task
    assert (await bench.read.read(half, BASE - half)).data == bytes(image[half:BASE])
    at = random.randrange(0, BASE // 4) * 4
    await bench.access(True, at, 0x12345678)
    assert await bench.access(False, at) == 0x12345678


@cocotb.test(timeout_time=500, timeout_unit="us")
async def nothing_beyond_the_end_and_no_writes(dut):
    bench = MemoryBench(dut)
    await bench.start()
    for address in (END, 2 * END, 0xFFFF_F000):
        found = await bench.read.read(address, 3 * W)
        assert found.resp == AxiResp.DECERR and len(found.data) == 3 * W
    for address in (BASE, END - W, END):
        assert (await bench.write.write(address, bytes(W))).resp == AxiResp.DECERR
    # The last beats of the part are there, and erased.
    for address, data in ((LAST - 256, IMAGE[-256:]), (LAST, b"\xff" * W), (END - W, b"\xff" * W)):
        found = await bench.read.read(address, len(data))
        assert (found.resp, found.data) == (AxiResp.OKAY, data)
    assert dut.violation.value == 0


@cocotb.test(timeout_time=500, timeout_unit="us")
async def waits_for_the_bus(dut):
    """The part's clock stands still while beats are not taken, at any place of a burst."""
    bench = MemoryBench(dut)
    await bench.start()
    for wait in (60, 90, 300):
        task = cocotb.start_soon(bench.read.read(BASE + 64, 40 * W))
        await ClockCycles(dut.clk, wait)
        bench.read.r_channel.set_pause_generator(itertools.repeat(1))
        await ClockCycles(dut.clk, 40 * W)
        bench.read.r_channel.set_pause_generator(itertools.repeat(0))
        assert (await task).data == IMAGE[BASE + 64 : BASE + 64 + 40 * W]
    assert dut.violation.value == 0


@cocotb.test(timeout_time=500, timeout_unit="us")
async def resets_at_any_time(dut):
    """The machine may be reset amid a command or data: the next read is right."""
    bench = MemoryBench(dut)
    await bench.start()
    for wait in random.sample(range(3, 140), 12):
        at = random.randrange(BASE, LAST - 64) // W * W
        assert (await bench.read.read(at, 64)).data == IMAGE[at : at + 64]
        task = cocotb.start_soon(bench.read.read(BASE, 16 * W))
        await ClockCycles(dut.clk, wait)
        task.cancel()
        await bench.reset()
    assert dut.violation.value == 0


async def ask(dut, beats: int, first: int) -> None:
    """Ask for bursts that follow one another, the next always at hand."""
    dut.read__arvalid.value = 1
    dut.read__arlen.value = beats - 1
    for address in itertools.count(first, beats * W):
        dut.read__araddr.value = address
        await RisingEdge(dut.clk)
        while not dut.read__arready.value:
            await RisingEdge(dut.clk)


@cocotb.test(timeout_time=500, timeout_unit="us")
async def a_beat_in_four_cycles_a_byte(dut):
    """The stated latency, and then not a cycle is lost, nor the part asked again."""
    Clock(dut.clk, 10, unit="ns").start()
    dut.rst.value = 1
    dut.read__arvalid.value = dut.write__awvalid.value = dut.host__valid.value = 0
    dut.read__rready.value = dut.write__bready.value = dut.host_data__ready.value = 1
    await ClockCycles(dut.clk, 3)
    dut.rst.value = 0
    dut.host__payload.value = host_access(False, BASE + 0x100)  # the part is awake after it
    dut.host__valid.value = 1
    await RisingEdge(dut.clk)
    dut.host__valid.value = 0
    while not dut.host_data__valid.value:
        await RisingEdge(dut.clk)
    await ClockCycles(dut.clk, 3)
    reads = dut.reads.value.to_unsigned()
    cocotb.start_soon(ask(dut, 4, BASE))
    times, cycle = [], 0
    while len(times) < 60:
        await RisingEdge(dut.clk)
        if dut.read__rvalid.value:
            word = dut.read__rdata.value.to_unsigned().to_bytes(W, "little")
            at = BASE + W * len(times)
            assert word == IMAGE[at : at + W]
            times.append(cycle)
        cycle += 1
    assert [b - a for a, b in itertools.pairwise(times)] == [4 * W] * 59
    assert dut.reads.value.to_unsigned() == reads + 1
    # A cycle in the router, and the part, which was selected, is deselected first.
    apart = int(os.environ["APART"]) + 2
    assert times[0] == 2 * ASKING + 4 * W + 5 + apart
    assert dut.violation.value == 0
