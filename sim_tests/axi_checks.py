"""Checks on AXI4 ports, and a memory that answers late, out of rhythm, or not at all."""

import random
from collections import deque

from cocotb.triggers import RisingEdge

__all__ = ["Subordinate", "watch_addresses", "watch_stalls", "watch_strobes"]

KEPT = {
    "ar": ["araddr", "arlen", "arsize", "arburst", "arid"],
    "aw": ["awaddr", "awlen", "awsize", "awburst", "awid"],
    "w": ["wdata", "wstrb", "wlast"],
    "r": ["rdata", "rresp", "rlast"],
    "b": ["bresp"],
}


def signal(dut, prefix: str, name: str):
    return getattr(dut, f"{prefix}__{name}")


async def watch_stalls(dut, prefix: str, channel: str) -> None:
    """A channel that is not taken keeps `valid` and all that goes with it."""
    valid = signal(dut, prefix, f"{channel}valid")
    ready = signal(dut, prefix, f"{channel}ready")
    kept = [signal(dut, prefix, name) for name in KEPT[channel]]
    before = None
    while True:
        await RisingEdge(dut.clk)
        now = [int(s.value) for s in kept] if valid.value else None
        assert before is None or now == before, f"{channel} changed while stalled"
        before = now if valid.value and not ready.value else None


async def watch_addresses(dut, prefix: str, channel: str, width: int, bursts: list) -> None:
    """Collect (address, beats) of bursts, each checked against the rules of AXI4."""
    names = ("valid", "ready", "addr", "len", "size", "burst")
    valid, ready, addr, length, size, burst = (
        signal(dut, prefix, f"{channel}{name}") for name in names
    )
    while True:
        await RisingEdge(dut.clk)
        if not (valid.value and ready.value):
            continue
        address, beats = addr.value.to_unsigned(), length.value.to_unsigned() + 1
        assert 1 << size.value.to_unsigned() == width
        assert burst.value.to_unsigned() == 1
        assert address % width == 0
        assert beats <= 64
        assert address // 4096 == (address + beats * width - 1) // 4096, "crosses 4 KB"
        bursts.append((address, beats))


async def watch_strobes(dut, prefix: str, strobes: list) -> None:
    """Collect the strobes of written beats; each must write something."""
    names = ("wvalid", "wready", "wstrb")
    valid, ready, strobe = (signal(dut, prefix, name) for name in names)
    while True:
        await RisingEdge(dut.clk)
        if valid.value and ready.value:
            strobes.append(strobe.value.to_unsigned())
            assert strobes[-1], "a beat that writes nothing"


class Subordinate:
    """Read side of a memory: each beat is a function of its address.

    `latency` cycles lie between a burst and its first beat; `stall` is the share of cycles in
    which an address is not taken, or a beat not given. Beats at addresses in `errors` have an
    error response. `mute` and `deaf` stop it.
    """

    def __init__(self, dut, prefix: str, width: int, *, latency: int = 0, stall: float = 0.0):
        self.dut = dut
        self.width = width
        self.latency = latency
        self.stall = stall
        self.errors: set[int] = set()
        self.mute = self.deaf = False
        self.most_under_way = 0
        for name in ("arready", "arvalid", "araddr", "arlen", "rvalid", "rready", "rdata"):
            setattr(self, name, signal(dut, prefix, name))
        self.rresp, self.rlast = signal(dut, prefix, "rresp"), signal(dut, prefix, "rlast")
        self.arready.value = 0
        self.rvalid.value = 0

    def word(self, address: int) -> int:
        return random.Random(address).getrandbits(8 * self.width)

    async def run(self) -> None:
        beats: deque = deque()
        cycle = 0
        while True:
            await RisingEdge(self.dut.clk)
            cycle += 1
            if self.arvalid.value and self.arready.value:
                address = self.araddr.value.to_unsigned()
                count = self.arlen.value.to_unsigned() + 1
                for n in range(count):
                    beats.append((cycle + self.latency, address + n * self.width, n == count - 1))
                self.most_under_way = max(self.most_under_way, sum(last for *_, last in beats))
            if self.rvalid.value and self.rready.value:
                beats.popleft()
                self.rvalid.value = 0
                held = False
            else:
                held = bool(self.rvalid.value)
            if beats and not held:
                due, address, last = beats[0]
                if cycle >= due and not self.mute and random.random() >= self.stall:
                    self.rvalid.value = 1
                    self.rdata.value = self.word(address)
                    self.rresp.value = 2 if address in self.errors else 0
                    self.rlast.value = last
            self.arready.value = not self.deaf and random.random() >= self.stall
