"""Bench of `HostPorts`: another's manager, and models of all that it sees."""

import json
import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiLiteRam, AxiResp

DESCRIBED = json.loads(os.environ["DESCRIPTION"])
SIZE = 1 << int(os.environ["SIZE_BITS"])
LINE = int(os.environ["LINE"])
#: Where a machine, controller, description and memory are; docs/architecture.md, section 7.
MACHINE, CONTROL, DESCRIPTION, MEMORY = 0, 0x4000_0000, 0x4001_0000, 0x8000_0000


class Bench:
    def __init__(self, dut) -> None:
        self.dut = dut
        Clock(dut.clk, 10, unit="ns").start()
        self.host = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "bus_"), dut.clk, dut.rst)
        self.machine = AxiLiteRam(
            AxiLiteBus.from_prefix(dut, "machine_"), dut.clk, dut.rst, size=4096
        )
        self.registers = {}
        self.memory = bytearray(random.randbytes(SIZE))

    async def start(self, *, ready=1) -> None:
        dut = self.dut
        dut.ready.value = ready
        for name in ("control__ack", "control__err", "memory__cmd_ready", "memory__wdata_ready"):
            getattr(dut, name).value = 0
        dut.memory__rdata_valid.value = 0
        dut.rst.value = 1
        await ClockCycles(dut.clk, 3)
        dut.rst.value = 0
        cocotb.start_soon(self.control())
        cocotb.start_soon(self.lines())

    async def pause(self) -> None:
        await ClockCycles(self.dut.clk, random.randrange(1, 6))

    async def control(self) -> None:
        """Classic Wishbone; from the second half on nothing is there."""
        dut = self.dut
        while True:
            await RisingEdge(dut.clk)
            if not (dut.control__cyc.value and dut.control__stb.value):
                continue
            await self.pause()
            at = int(dut.control__adr.value)
            if at >= 1 << 13:
                dut.control__err.value = 1
            else:
                dut.control__ack.value = 1
                if dut.control__we.value:
                    assert int(dut.control__sel.value) == 15
                    self.registers[at] = int(dut.control__dat_w.value)
                dut.control__dat_r.value = self.registers.get(at, 0)
            await RisingEdge(dut.clk)
            dut.control__ack.value = dut.control__err.value = 0
            await RisingEdge(dut.clk)

    async def lines(self) -> None:
        """LiteDRAM's port: data of a write must be there when it is asked for, at one moment."""
        dut = self.dut
        while True:
            await RisingEdge(dut.clk)
            if not dut.memory__cmd_valid.value:
                continue
            await self.pause()
            dut.memory__cmd_ready.value = 1
            await RisingEdge(dut.clk)
            dut.memory__cmd_ready.value = 0
            at, write = LINE * int(dut.memory__cmd_addr.value), bool(dut.memory__cmd_we.value)
            await self.pause()
            if write:
                dut.memory__wdata_ready.value = 1
                await RisingEdge(dut.clk)
                assert dut.memory__wdata_valid.value
                data = int(dut.memory__wdata_data.value).to_bytes(LINE, "little")
                enabled = int(dut.memory__wdata_we.value)
                for byte in range(LINE):
                    if enabled >> byte & 1:
                        self.memory[at + byte] = data[byte]
                dut.memory__wdata_ready.value = 0
            else:
                line = self.memory[at : at + LINE]
                dut.memory__rdata_data.value = int.from_bytes(line, "little")
                dut.memory__rdata_valid.value = 1
                await RisingEdge(dut.clk)
                assert dut.memory__rdata_ready.value
                dut.memory__rdata_valid.value = 0
                dut.memory__rdata_data.value = 0

    async def get(self, address: int) -> int:
        answer = await self.host.read(address, 4)
        assert answer.resp == AxiResp.OKAY
        return int.from_bytes(answer.data, "little")

    async def put(self, address: int, value: int) -> None:
        answer = await self.host.write(address, value.to_bytes(4, "little"))
        assert answer.resp == AxiResp.OKAY


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def each_address_goes_where_it_belongs(dut):
    bench = Bench(dut)
    await bench.start()
    image, registers = bytearray(bench.memory), {}
    machine = bytearray(4096)
    bench.machine.write(0, bytes(4096))
    for _ in range(300):
        place, value = random.choice("mcd"), random.getrandbits(32)
        write = random.random() < 0.5
        limit = {"m": 4096, "c": 1 << 15, "d": SIZE}[place]
        at = random.choice([0, limit - 4, 4 * random.randrange(limit // 4)])
        base = {"m": MACHINE, "c": CONTROL, "d": MEMORY}[place]
        if write:
            await bench.put(base + at, value)
            if place == "c":
                registers[at] = value
            else:
                (machine if place == "m" else image)[at : at + 4] = value.to_bytes(4, "little")
        else:
            found = await bench.get(base + at)
            if place == "c":
                assert found == registers.get(at, 0)
            else:
                held = machine if place == "m" else image
                assert found == int.from_bytes(held[at : at + 4], "little")
    assert bench.memory == image
    assert bench.machine.read(0, 4096) == bytes(machine)
    assert bench.registers == {at // 4: value for at, value in registers.items()}
    assert [await bench.get(DESCRIPTION + 4 * n) for n in range(len(DESCRIBED))] == DESCRIBED


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def what_is_not_there_gets_an_error(dut):
    bench = Bench(dut)
    await bench.start()
    image = bytes(bench.memory)
    holes = (MEMORY + SIZE, 0xFFFF_FFFC, CONTROL + 0x8000, DESCRIPTION + 4 * len(DESCRIBED))
    for address in (*holes, DESCRIPTION + 0x1_0000, 0x6000_0000):
        assert (await bench.host.read(address, 4)).resp == AxiResp.SLVERR
        assert (await bench.host.write(address, b"abcd")).resp == AxiResp.SLVERR
    assert (await bench.host.write(DESCRIPTION, b"abcd")).resp == AxiResp.SLVERR
    for base in (MACHINE, CONTROL, MEMORY):  # parts of words
        assert (await bench.host.write(base + 1, b"ab")).resp == AxiResp.SLVERR
    dut.ready.value = 0
    for access in (bench.host.read(MEMORY, 4), bench.host.write(MEMORY, b"abcd")):
        assert (await access).resp == AxiResp.SLVERR
    await bench.put(CONTROL + 8, 5)  # the way to make it ready is open
    assert await bench.get(CONTROL + 8) == 5
    assert bytes(bench.memory) == image and not bench.registers.keys() - {2}
    assert bench.machine.read(0, 8) == bytes(8)
