"""Bench of the whole machine: runs a program, then compares memory and counters with the twin."""

import json
import os
import random
from itertools import repeat
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam

from celosia import isa
from celosia.config import MachineConfig
from celosia.golden.machine import GoldenMachine
from celosia.isa import MEMORY_WINDOW, REGISTERS, Status

CONFIG = MachineConfig(**json.loads(os.environ["CONFIG"]))
IMAGES = np.load(os.environ["IMAGES"])
#: Argument registers of each of them.
ARGUMENTS = np.load(os.environ["ARGUMENTS"]).tolist()
#: What the registers hold; reset does not change it.
WRITTEN = [0] * isa.ARGUMENTS
#: Milliseconds that a run may take, of 100,000 cycles.
PATIENCE = int(os.environ.get("PATIENCE", "1"))
#: Where the window lies in external memory.
BASE = 0x3000


def pauses(share: float):
    """A pause generator that stalls in that share of the cycles."""
    return (random.random() < share for _ in repeat(None)) if share else None


class Host:
    """The machine's registers and memory, however the configuration reaches it."""

    def __init__(self, dut, stall: float) -> None:
        self.dut = dut
        self.registers = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi_lite_"), dut.clk, dut.rst)
        if CONFIG.memory == "axi4":
            self.ram = AxiRam(AxiBus.from_prefix(dut, "m_axi_"), dut.clk, dut.rst, size=1 << 20)
            for port in (self.ram.read_if, self.ram.write_if):
                for name in ("ar_channel", "r_channel", "aw_channel", "w_channel", "b_channel"):
                    if stall and hasattr(port, name):
                        getattr(port, name).set_pause_generator(pauses(stall))

    async def read(self, name: str) -> int:
        return await self.registers.read_dword(REGISTERS[name])

    async def write(self, name: str, value: int) -> None:
        await self.registers.write_dword(REGISTERS[name], value)

    async def fill(self, data: bytes) -> None:
        if CONFIG.memory == "axi4":
            self.ram.write(BASE, data)
        else:
            await self.registers.write(MEMORY_WINDOW, data)

    async def dump(self, count: int) -> bytes:
        if CONFIG.memory == "axi4":
            return self.ram.read(BASE, count)
        return (await self.registers.read(MEMORY_WINDOW, count)).data

    async def run(self) -> int:
        await self.write("control", 1)
        await with_timeout(RisingEdge(self.dut.interrupt), PATIENCE, "ms")
        return await self.read("status")


@cocotb.test(timeout_time=20 * PATIENCE, timeout_unit="ms")
@cocotb.parametrize(stall=json.loads(os.environ.get("STALLS", "[0.0, 0.4]")))
async def matches_golden(dut, stall):
    Clock(dut.clk, 10, unit="ns").start()
    host = Host(dut, stall)
    dut.rst.value = 1
    await ClockCycles(dut.clk, 4)
    dut.rst.value = 0
    await ClockCycles(dut.clk, 2)

    if CONFIG.memory == "axi4":
        await host.write("window_base", BASE)
    memory = IMAGES[0].copy()
    report = []
    golden = GoldenMachine(CONFIG, memory)
    # One run after the other: each starts in what the last one has left behind.
    for number, image in enumerate(IMAGES):
        memory[:] = image
        await host.fill(image.tobytes())
        await host.write("window_size", len(image))
        for register, value in enumerate(ARGUMENTS[number]):
            if value != WRITTEN[register]:
                await host.write(f"argument{register}", value)
        WRITTEN[:] = ARGUMENTS[number]
        result = golden.run(arguments=ARGUMENTS[number])
        status = await host.run()
        assert await host.read("cause") == result.cause
        assert status == (Status.FAULT if result.cause else Status.DONE)
        if result.cause:
            assert await host.read("fault_address") == result.fault_address
            continue
        got = np.frombuffer(await host.dump(len(image)), np.uint8)
        np.testing.assert_array_equal(got, memory, f"program {number}")
        for name in ("instructions", "mac_rows", "saturations"):
            assert await host.read(name) == getattr(result, name), (number, name)
        report.append({name: await host.read(name) for name in ("cycles", "mac_rows")})
        dut._log.info("%(cycles)d cycles, %(mac_rows)d rows", report[-1])
    if "REPORT" in os.environ:
        Path(os.environ["REPORT"]).write_text(json.dumps(report))
