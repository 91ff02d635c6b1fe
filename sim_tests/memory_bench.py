"""What the benches of all memories share: both ports, pauses, and the rules of a part."""

import itertools

import cocotb
from axi_checks import watch_stalls
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiMasterRead, AxiMasterWrite, AxiReadBus, AxiWriteBus
from streams import Sink, Source

__all__ = ["PAUSES", "MemoryBench", "host_access"]

#: Pauses of the machine's channels.
PAUSES = [(0,), (1, 0, 0, 1, 0, 1, 1)]


def host_access(write: bool, address: int, data: int = 0) -> int:
    """Return one access of the host as bits."""
    return int(write) | address << 1 | data << 33


class MemoryBench:
    """Drives the machine's AXI4 port and the host's port of a memory.

    `violation` of the design, if it has one, is the rule of a part that was broken.
    """

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
        await self.reset()
        cocotb.start_soon(watch_stalls(self.dut, "read", "r"))
        cocotb.start_soon(watch_stalls(self.dut, "write", "b"))
        if hasattr(self.dut, "violation"):
            cocotb.start_soon(self.watch_rules())

    async def reset(self) -> None:
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 3)
        self.dut.rst.value = 0
        await ClockCycles(self.dut.clk, 3)

    async def watch_rules(self) -> None:
        while True:
            await RisingEdge(self.dut.clk)
            assert self.dut.violation.value == 0, f"rule {int(self.dut.violation.value)} broken"

    async def access(self, write: bool, address: int, data: int = 0) -> int:
        cocotb.start_soon(self.host.send([host_access(write, address, data)]))
        (word,) = await self.host_data.receive(1, signed=False)
        return word

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
