"""Bench of the SDRAM controller: every byte against a plain memory, every rule of the part."""

import itertools
import json
import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiResp
from memory_bench import PAUSES, MemoryBench

from celosia.config import MachineConfig

CONFIG = MachineConfig(**json.loads(os.environ["CONFIG"]))
SETTINGS = json.loads(os.environ["SETTINGS"])
W, SIZE = CONFIG.memory_width, int(os.environ["SIZE"])
PAGE = 2 << SETTINGS["column_bits"]


def patches(count: int, low: int, high: int, most: int):
    """Random stretches of bytes in low … high, some of them around the ends of rows."""
    for _ in range(count):
        length = random.randrange(1, most)
        if random.random() < 0.3:
            start = random.randrange(low, high, PAGE) - random.randrange(1, 9)
        else:
            start = random.randrange(low, high)
        start = min(max(start, low), high - length)
        yield start, random.randbytes(length)


@cocotb.test(timeout_time=3, timeout_unit="ms")
@cocotb.parametrize(pauses=PAUSES)
async def holds_every_byte(dut, pauses):
    bench = MemoryBench(dut, pauses)
    await bench.start()
    image = bytearray(random.randbytes(SIZE))
    await bench.write.write(0, bytes(image))
    for start, patch in patches(20, 0, SIZE, 300):
        image[start : start + len(patch)] = patch
        await bench.write.write(start, patch)
        start = min(max(start + random.randrange(-20, 20), 0), SIZE - 1)
        count = random.randrange(1, 100)
        expected = bytes(image[start : start + count])
        assert (await bench.read.read(start, len(expected))).data == expected
    assert (await bench.read.read(0, SIZE)).data == bytes(image)
    assert dut.violation.value == 0


@cocotb.test(timeout_time=3, timeout_unit="ms")
@cocotb.parametrize(pauses=PAUSES, stall=[0.0, 0.5])
async def all_at_once(dut, pauses, stall):
    """The host, the machine's reads and its writes, each in a part of the memory."""
    bench = MemoryBench(dut, pauses, stall=stall)
    await bench.start()
    third = SIZE // 4
    image = bytearray(random.randbytes(SIZE))
    await bench.write.write(0, bytes(image))

    async def writes():
        for start, patch in patches(20, 0, third, 200):
            image[start : start + len(patch)] = patch
            await bench.write.write(start, patch)

    async def reads():
        for start, patch in patches(20, third, 3 * third, 400):
            expected = bytes(image[start : start + len(patch)])
            assert (await bench.read.read(start, len(patch))).data == expected

    async def host():
        for _ in range(8):
            start, count = random.randrange(3 * third, SIZE - 64, 4), 4 * random.randrange(1, 9)
            patch = random.randbytes(count)
            image[start : start + count] = patch
            await bench.host_write(start, patch)
            start = random.randrange(third, SIZE - 64, 4)
            expected = bytes(image[start : start + count])
            assert await bench.host_read(start, count) == expected

    for task in [cocotb.start_soon(job()) for job in (writes, reads, host)]:
        await task
    assert (await bench.read.read(0, SIZE)).data == bytes(image)
    assert dut.violation.value == 0


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def nothing_beyond_the_end(dut):
    bench = MemoryBench(dut)
    await bench.start()
    image = random.randbytes(SIZE)
    assert (await bench.write.write(0, image)).resp == AxiResp.OKAY
    assert (await bench.read.read(SIZE - W, W)).resp == AxiResp.OKAY
    for address in (SIZE, SIZE - W, 2 * SIZE, 0xFFFF_F000):
        assert (await bench.read.read(address, 2 * W)).resp == AxiResp.DECERR
    for address in (SIZE, 2 * SIZE, 0xFFFF_F000):
        assert (await bench.write.write(address, bytes(2 * W))).resp == AxiResp.DECERR
        await bench.host_write(address, bytes(4))
    # A burst over the end fails as a whole, and the next one is judged alone.
    assert (await bench.write.write(SIZE - W, image[-W:] + bytes(W))).resp == AxiResp.DECERR
    assert (await bench.write.write(0, image[:W])).resp == AxiResp.OKAY
    assert (await bench.read.read(0, SIZE)).data == image
    assert dut.violation.value == 0


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def waits_for_the_bus_and_still_refreshes(dut):
    """Neither answers that are not taken nor data that does not come hold back a refresh."""
    bench = MemoryBench(dut)
    await bench.start()
    image = random.randbytes(8 * PAGE)
    await bench.write.write(0, image)
    wait = SETTINGS["interval"] * (2 * SETTINGS["postponed"] + 3)
    for channel, job in (
        (bench.read.r_channel, lambda: bench.read.read(0, 8 * PAGE)),
        (bench.write.w_channel, lambda: bench.write.write(0, image)),
        (bench.write.b_channel, lambda: bench.write.write(0, image)),
    ):
        task = cocotb.start_soon(job())
        await ClockCycles(dut.clk, 40)
        channel.set_pause_generator(itertools.repeat(1))
        before = int(dut.refreshed.value)
        await ClockCycles(dut.clk, wait)
        assert int(dut.refreshed.value) - before >= SETTINGS["postponed"] + 1
        channel.set_pause_generator(itertools.repeat(0))
        found = await task
        assert found.resp == AxiResp.OKAY
        assert getattr(found, "data", image) == image
    assert (await bench.read.read(0, len(image))).data == image
    assert dut.violation.value == 0


async def ask(dut, kind: str) -> None:
    """Ask for all of the memory again and again, in bursts of 16 beats, the next always at hand."""
    channel = {name: getattr(dut, f"{kind}__a{kind[0]}{name}") for name in ("addr", "len", "valid")}
    channel["valid"].value = 1
    channel["len"].value = 15
    for address in itertools.cycle(range(0, SIZE, 16 * W)):
        channel["addr"].value = address
        await RisingEdge(dut.clk)
        while not getattr(dut, f"{kind}__a{kind[0]}ready").value:
            await RisingEdge(dut.clk)


@cocotb.test(timeout_time=3, timeout_unit="ms")
@cocotb.parametrize(kind=["read", "write"])
async def a_word_a_cycle(dut, kind):
    """Nothing is lost but for refreshes, and for each group of these exactly what they take."""
    Clock(dut.clk, 10, unit="ns").start()
    dut.rst.value = 1
    dut.read__arvalid.value = dut.write__awvalid.value = 0
    dut.read__rready.value = dut.write__bready.value = dut.write__wvalid.value = 1
    dut.write__wstrb.value = (1 << W) - 1
    await ClockCycles(dut.clk, 3)
    dut.rst.value = 0
    cocotb.start_soon(ask(dut, kind))
    words, gaps = 0, []  # cycles without a word after each word, and the refreshes in them
    refreshed = 0
    while words < 2 * SETTINGS["interval"] * SETTINGS["postponed"]:
        await RisingEdge(dut.clk)
        if dut.words.value.to_unsigned() != words:
            words += 1
            gaps.append([0, 0])
        elif gaps:
            gaps[-1][0] += 1
            gaps[-1][1] += dut.refreshed.value.to_unsigned() - refreshed
        refreshed = dut.refreshed.value.to_unsigned()
    assert dut.violation.value == 0
    lost = [gap for gap in gaps if gap != [0, 0]]
    overhead = 1 + SETTINGS["rp"] + SETTINGS["rcd"] + (kind == "write") * (SETTINGS["wr"] - 1)
    assert all(cycles == count * SETTINGS["rfc"] + overhead for cycles, count in lost), lost
    # They are postponed as far as may be, then all done at once.
    assert [count for _, count in lost] == 2 * [SETTINGS["postponed"]], lost
