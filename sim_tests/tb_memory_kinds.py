"""Bench of memories of all widths: random words at random places, some of them again and again.

COLLISIONS tells whether a word may be read in the cycle in which it is written.
"""

import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge
from memory_kinds import KINDS

COLLISIONS = os.environ["COLLISIONS"] == "1"


class Model:
    """A memory with a port to write and one to read, and what the latter should show."""

    def __init__(self, dut, name: str) -> None:
        self.dut, self.name, self.kind = dut, name, KINDS[name]
        self.words = self.kind.init()
        self.expected = None
        # Few places, so that words meet, over all of the memory.
        self.places = [0, self.kind.depth - 1, *random.sample(range(self.kind.depth), 12)]

    def drive(self) -> None:
        kind, part = self.kind, self.kind.width // self.kind.parts
        here, there = random.choices(self.places, k=2)
        data = random.getrandbits(kind.width)
        write, read = random.getrandbits(kind.parts), random.random() < 0.8
        if here == there and not COLLISIONS:
            write = 0
        for port, value in {
            "write_address": here,
            "write_data": data,
            "write": write,
            "read_address": there,
            "read": read,
        }.items():
            getattr(self.dut, f"{self.name}_{port}").value = value
        old = self.words[there]
        mask = sum(((1 << part) - 1) << part * n for n in range(kind.parts) if write >> n & 1)
        self.words[here] = self.words[here] & ~mask | data & mask
        if read:
            self.expected = self.words[there] if kind.transparent else old

    def check(self) -> None:
        if self.expected is not None:
            got = int(getattr(self.dut, f"{self.name}_data").value)
            assert got == self.expected, f"{self.name}: {got:x}, not {self.expected:x}"


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def keeps_every_word(dut):
    Clock(dut.clk, 10, unit="ns").start()
    await FallingEdge(dut.clk)
    memories = [Model(dut, name) for name in KINDS]
    for _ in range(2000):
        for memory in memories:
            memory.check()
            memory.drive()
        await FallingEdge(dut.clk)
