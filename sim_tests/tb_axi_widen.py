"""Bench of `AXI4Widener`: another's manager on the one side, another's memory on the other."""

import itertools
import json
import os
import random

import cocotb
from axi_checks import watch_stalls
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiBus, AxiMaster, AxiRam

from celosia.config import MachineConfig

CONFIG = MachineConfig(**json.loads(os.environ["CONFIG"]))
W, LINE, SIZE = CONFIG.memory_width, int(os.environ["LINE"]), 1 << 14
PAUSES = [(0,), (1, 0, 0, 1, 0, 1, 1), (1, 1, 1, 0)]


class Bench:
    def __init__(self, dut, near=(0,), far=(0,)) -> None:
        self.dut = dut
        Clock(dut.clk, 10, unit="ns").start()
        self.master = AxiMaster(AxiBus.from_prefix(dut, "narrow_"), dut.clk, dut.rst)
        self.ram = AxiRam(AxiBus.from_prefix(dut, "wide_"), dut.clk, dut.rst, size=SIZE)
        for pauses, (read, write) in (
            (near, (self.master.read_if, self.master.write_if)),
            (far, (self.ram.read_if, self.ram.write_if)),
        ):
            for channel in (
                *(read.ar_channel, read.r_channel),
                *(write.aw_channel, write.w_channel, write.b_channel),
            ):
                channel.set_pause_generator(itertools.cycle(pauses))

    async def start(self) -> None:
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 3)
        self.dut.rst.value = 0
        await ClockCycles(self.dut.clk, 3)
        for prefix, channels in (("narrow", "rb"), ("wide", ("ar", "aw", "w"))):
            for channel in channels:
                cocotb.start_soon(watch_stalls(self.dut, prefix, channel))


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(
    (("near", "far"), [*((a, a) for a in PAUSES), *itertools.pairwise(PAUSES)]),
)
async def every_byte_goes_where_it_belongs(dut, near, far):
    bench = Bench(dut, near, far)
    await bench.start()
    image = bytearray(random.randbytes(SIZE))
    bench.ram.write(0, bytes(image))
    for _ in range(20):
        # Of any bytes: first and last beats have partial strobes, and lines are cut anywhere.
        writes = []
        for half in range(2):  # two at once, apart
            at = half * SIZE // 2 + random.randrange(SIZE // 2 - 700)
            patch = random.randbytes(random.choice([1, W, LINE, random.randrange(1, 700)]))
            image[at : at + len(patch)] = patch
            writes.append(cocotb.start_soon(bench.master.write(at, patch)))
        for write in writes:
            await write
        spans = [(random.randrange(SIZE - 700), random.randrange(1, 700)) for _ in range(3)]
        reads = [cocotb.start_soon(bench.master.read(*span)) for span in spans]
        for (at, size), read in zip(spans, reads, strict=True):
            assert (await read).data == bytes(image[at : at + size])
    assert bench.ram.read(0, SIZE) == bytes(image)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_beat_each_cycle_and_no_line_twice(dut):
    bench = Bench(dut)
    await bench.start()
    image = random.randbytes(256 * W)
    moved = {name: [] for name in ("narrow__r", "narrow__w", "wide__r", "wide__w")}

    async def watch():
        for cycle in itertools.count():
            await RisingEdge(dut.clk)
            for name, cycles in moved.items():
                if getattr(dut, f"{name}valid").value and getattr(dut, f"{name}ready").value:
                    cycles.append(cycle)

    cocotb.start_soon(watch())
    await bench.master.write(W, image)
    assert (await bench.master.read(W, len(image))).data == image
    lines = -(-(len(image) + W) // LINE) if LINE > W else 256
    for way in "rw":
        beats = moved[f"narrow__{way}"]
        assert len(beats) == 256 and beats[-1] - beats[0] < 256 + 8  # bursts end at 4 KB
        assert len(moved[f"wide__{way}"]) == lines
