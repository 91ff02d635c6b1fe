"""Bench of the host's registers: every address, strobes, a busy machine, arguments."""

import itertools
import json
import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp

from celosia.config import MachineConfig
from celosia.isa import ARGUMENTS, COUNTERS, ID, REGISTERS, VERSION

CONFIG = MachineConfig(**json.loads(os.environ["CONFIG"]))
SETTINGS = ("program", "window_base", "window_size")
ARGUMENT = [REGISTERS[f"argument{n}"] for n in range(ARGUMENTS)]
#: Addresses that are tried: those of the registers, and what lies between and beyond them.
TRIED = [*range(0, 0x300, 4), 0x900, 0x1100, 0x8100, 0x4000_0100, 0xFFFF_FFFC]


class Bench:
    def __init__(self, dut) -> None:
        self.dut = dut
        self.bus = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "bus_"), dut.clk, dut.rst)
        self.arguments: list[tuple[int, int]] = []
        self.starts = 0
        Clock(dut.clk, 10, unit="ns").start()

    async def start(self) -> None:
        dut = self.dut
        for name in ("busy", "done", "failed", "cause", "cause_address"):
            getattr(dut, name).value = 0
        dut.counter__found.value = 0
        dut.rst.value = 1
        await ClockCycles(dut.clk, 3)
        dut.rst.value = 0
        await ClockCycles(dut.clk, 2)
        cocotb.start_soon(self.watch())

    async def count(self, values: list[int]) -> None:
        """Answer for the counters, each in its turn."""
        for turn in itertools.cycle(range(len(COUNTERS))):
            await RisingEdge(self.dut.clk)
            self.dut.counter__value.value = values[turn]
            self.dut.counter__found.value = self.dut.counter__index.value.to_unsigned() == turn

    async def watch(self) -> None:
        while True:
            await RisingEdge(self.dut.clk)
            self.starts += bool(self.dut.start.value)
            if self.dut.argument__valid.value:
                register = self.dut.argument__register.value.to_unsigned()
                self.arguments.append((register, self.dut.argument__value.value.to_unsigned()))

    async def write(self, address: int, data: bytes) -> AxiResp:
        """Write bytes of one word; the bus knows only whole words and strobes."""
        return (await self.bus.write(address, data)).resp

    async def read(self, address: int) -> tuple[int, AxiResp]:
        answer = await self.bus.read(address, 4)
        return int.from_bytes(answer.data, "little"), answer.resp


def word(value: int) -> bytes:
    return value.to_bytes(4, "little")


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def registers_can_be_read(dut):
    bench = Bench(dut)
    await bench.start()
    counters = [random.getrandbits(32) for _ in COUNTERS]
    cocotb.start_soon(bench.count(counters))
    dut.cause.value, dut.cause_address.value = 3, 0x1234_5678
    dut.done.value, dut.failed.value = 1, 1
    expected = dict(zip(COUNTERS, counters, strict=True))
    expected |= {"id": ID, "version": VERSION, "status": 6, "cause": 3, "control": 0}
    expected |= {"fault_address": 0x1234_5678, "digest": int.from_bytes(CONFIG.digest(), "little")}
    expected["geometry"] = CONFIG.rows | CONFIG.columns << 8 | CONFIG.memory_width << 16
    for name in SETTINGS:
        expected[name] = random.getrandbits(32)
        assert await bench.write(REGISTERS[name], word(expected[name])) == AxiResp.OKAY
        assert getattr(dut, name).value.to_unsigned() == expected[name]
    places = {REGISTERS[name]: value for name, value in expected.items()}
    for address in TRIED:
        value, response = await bench.read(address)
        assert response == (AxiResp.OKAY if address in places else AxiResp.SLVERR), hex(address)
        if address in places:
            assert value == places[address], hex(address)


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def arguments_are_passed_on(dut):
    bench = Bench(dut)
    await bench.start()
    expected = []
    for address in random.sample(TRIED, k=len(TRIED)):
        value = random.getrandbits(32) & ~1  # starts nothing
        response = await bench.write(address, word(value))
        known = address in [REGISTERS[name] for name in (*SETTINGS, "control")]
        if address in ARGUMENT:
            expected.append((ARGUMENT.index(address), value))
            known = True
        assert response == (AxiResp.OKAY if known else AxiResp.SLVERR), hex(address)
    assert len(expected) == ARGUMENTS
    await ClockCycles(dut.clk, 2)
    assert bench.arguments == expected and not bench.starts


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def only_whole_words_of_an_idle_machine_are_written(dut):
    bench = Bench(dut)
    await bench.start()
    names = ("control", *SETTINGS, "argument0", "argument31")
    for address in (REGISTERS[name] for name in names):
        for offset, count in ((0, 1), (0, 3), (1, 3), (2, 2)):
            response = await bench.write(address + offset, bytes([255] * count))
            assert response == AxiResp.SLVERR
    dut.busy.value = 1
    for name in names:
        assert await bench.write(REGISTERS[name], word(3)) == AxiResp.SLVERR
    assert await bench.read(REGISTERS["status"]) == (1, AxiResp.OKAY)
    await ClockCycles(dut.clk, 2)
    assert not bench.arguments and not bench.starts
    dut.busy.value = 0
    for value in (2, 1, 0xFFFF_FFFF):
        assert await bench.write(REGISTERS["control"], word(value)) == AxiResp.OKAY
    await ClockCycles(dut.clk, 2)
    assert bench.starts == 2
    for name in SETTINGS:
        expected = CONFIG.on_chip_bytes if name == "window_size" else 0
        assert getattr(dut, name).value.to_unsigned() == expected
