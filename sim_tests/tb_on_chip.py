"""Bench of the on-chip memory: the machine's port and the host's, alone and at once."""

import itertools
import json
import os
import random

import cocotb
from axi_checks import watch_stalls
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import (
    AxiMasterRead,
    AxiMasterWrite,
    AxiReadBus,
    AxiResp,
    AxiWriteBus,
)
from streams import Sink, Source

from celosia.config import MachineConfig

CONFIG = MachineConfig(**json.loads(os.environ["CONFIG"]))
W, SIZE = CONFIG.memory_width, CONFIG.on_chip_bytes
PAUSES = [(0,), (1, 0, 0, 1, 0, 1, 1)]


def host_access(write: bool, address: int, data: int = 0) -> int:
    return int(write) | address << 1 | data << 33


class Bench:
    def __init__(self, dut, pauses=(0,), *, stall=0.0) -> None:
        self.dut = dut
        self.host = Source(dut, "host", stall=stall)
        self.host_data = Sink(dut, "host_data", stall=stall)
        Clock(dut.clk, 10, unit="ns").start()
        self.read = AxiMasterRead(AxiReadBus.from_prefix(dut, "read_"), dut.clk, dut.rst)
        self.write = AxiMasterWrite(AxiWriteBus.from_prefix(dut, "write_"), dut.clk, dut.rst)
        channels = (
            *(self.read.ar_channel, self.read.r_channel),
            *(self.write.aw_channel, self.write.w_channel, self.write.b_channel),
        )
        for channel in channels:
            channel.set_pause_generator(itertools.cycle(pauses))

    async def start(self) -> None:
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 3)
        self.dut.rst.value = 0
        await ClockCycles(self.dut.clk, 3)
        cocotb.start_soon(watch_stalls(self.dut, "read", "r"))
        cocotb.start_soon(watch_stalls(self.dut, "write", "b"))

    async def host_write(self, address: int, data: bytes) -> None:
        words = [int.from_bytes(data[k : k + 4], "little") for k in range(0, len(data), 4)]
        accesses = [host_access(True, address + 4 * n, word) for n, word in enumerate(words)]
        cocotb.start_soon(self.host.send(accesses))
        await self.host_data.receive(len(words))

    async def host_read(self, address: int, count: int) -> bytes:
        cocotb.start_soon(
            self.host.send(host_access(False, address + k) for k in range(0, count, 4))
        )
        words = await self.host_data.receive(count // 4, signed=False)
        return b"".join(word.to_bytes(4, "little") for word in words)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(pauses=PAUSES)
async def holds_every_byte(dut, pauses):
    bench = Bench(dut, pauses)
    await bench.start()
    image = bytearray(random.randbytes(SIZE))
    await bench.write.write(0, bytes(image))
    for _ in range(20):
        # Any bytes: the strobes of the first and the last beat are partial.
        start = random.randrange(SIZE - 300)
        patch = random.randbytes(random.randrange(1, 300))
        image[start : start + len(patch)] = patch
        await bench.write.write(start, patch)
    assert (await bench.read.read(0, SIZE)).data == bytes(image)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(pauses=PAUSES, stall=[0.0, 0.5])
async def host_and_machine_at_once(dut, pauses, stall):
    bench = Bench(dut, pauses, stall=stall)
    await bench.start()
    half = SIZE // 2
    by_machine, by_host = random.randbytes(half), random.randbytes(400)
    writing = cocotb.start_soon(bench.write.write(0, by_machine))
    await bench.host_write(half + 4, by_host)
    await writing
    reading = cocotb.start_soon(bench.read.read(0, half))
    assert await bench.host_read(half + 4, 400) == by_host
    assert (await reading).data == by_machine
    assert await bench.host_read(0, 64) == by_machine[:64]
    assert (await bench.read.read(half + 4, 400)).data == by_host


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def nothing_beyond_the_end(dut):
    bench = Bench(dut)
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


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_beat_each_cycle_from_burst_to_burst(dut):
    bench = Bench(dut)
    await bench.start()
    await bench.write.write(0, random.randbytes(SIZE))
    beats, given, taken = SIZE // W, [], []
    reading = cocotb.start_soon(bench.read.read(0, SIZE))
    writing = cocotb.start_soon(bench.write.write(0, bytes(SIZE)))
    for cycle in range(beats + 60):
        await RisingEdge(dut.clk)
        if dut.read__rvalid.value and dut.read__rready.value:
            given.append(cycle)
        if dut.write__wvalid.value and dut.write__wready.value:
            taken.append(cycle)
    await reading
    await writing
    assert len(given) == len(taken) == beats
    assert given[-1] - given[0] == beats - 1
    assert taken[-1] - taken[0] == beats - 1
