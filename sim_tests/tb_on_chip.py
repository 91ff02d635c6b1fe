"""Bench of the on-chip memory: the machine's port and the host's, alone and at once."""

import json
import os
import random

import cocotb
from cocotb.triggers import RisingEdge
from cocotbext.axi import (
    AxiResp,
)
from memory_bench import PAUSES, MemoryBench

from celosia.config import MachineConfig

CONFIG = MachineConfig(**json.loads(os.environ["CONFIG"]))
W, SIZE = CONFIG.memory_width, CONFIG.on_chip_bytes


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(pauses=PAUSES)
async def holds_every_byte(dut, pauses):
    bench = MemoryBench(dut, pauses)
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
    bench = MemoryBench(dut, pauses, stall=stall)
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


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_beat_each_cycle_from_burst_to_burst(dut):
    bench = MemoryBench(dut)
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
