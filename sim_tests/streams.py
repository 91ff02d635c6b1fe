"""Ends of a stream for cocotb benches, with random stalls."""

import random
from collections.abc import Iterable

from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge

__all__ = ["Sink", "Source", "Stream", "reset"]


async def reset(dut) -> None:
    """Start the clock, and reset for two cycles."""
    Clock(dut.clk, 10, unit="ns").start()
    dut.rst.value = 1
    await ClockCycles(dut.clk, 2)
    dut.rst.value = 0
    await RisingEdge(dut.clk)


class Stream:
    """The three ports of one stream of the device under test.

    `stall` is the share of cycles in which this end holds back; the seed is that of the run.
    """

    def __init__(self, dut, name: str, *, stall: float = 0.0) -> None:
        self.edge = RisingEdge(dut.clk)
        self.payload = getattr(dut, f"{name}__payload")
        self.valid = getattr(dut, f"{name}__valid")
        self.ready = getattr(dut, f"{name}__ready")
        self.stall = stall

    def stalls(self) -> bool:
        return random.random() < self.stall


class Source(Stream):
    """Drives payloads; once valid, it holds until the transfer."""

    def __init__(self, dut, name: str, *, stall: float = 0.0) -> None:
        super().__init__(dut, name, stall=stall)
        self.valid.value = 0

    async def send(self, payloads: Iterable[int]) -> None:
        for payload in payloads:
            while self.stalls():
                await self.edge
            self.payload.value = payload
            self.valid.value = 1
            await self.edge
            while not self.ready.value:
                await self.edge
            self.valid.value = 0


class Sink(Stream):
    """Takes payloads, refusing some cycles."""

    def __init__(self, dut, name: str, *, stall: float = 0.0) -> None:
        super().__init__(dut, name, stall=stall)
        self.ready.value = 0

    async def receive(self, count: int, *, signed: bool = True) -> list[int]:
        payloads: list[int] = []
        while len(payloads) < count:
            self.ready.value = not self.stalls()
            await self.edge
            if self.valid.value and self.ready.value:
                value = self.payload.value
                payloads.append(value.to_signed() if signed else value.to_unsigned())
        self.ready.value = 0
        return payloads
