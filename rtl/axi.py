"""AXI4 and AXI4-Lite as signatures: plain signals with the names of the specification.

A member `m_axi` of a component becomes ports `m_axi__araddr` and so on; cocotbext-axi finds them
with the prefix `m_axi_`. Members are directed as seen by the manager.
"""

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from celosia.config import MachineConfig

__all__ = ["AXI4", "AXI4Lines", "AXI4Lite", "AXI4Read", "AXI4Write", "connect_halves"]

#: Bursts with ascending addresses.
BURST_INCR = 1


def _read(width: int) -> dict[str, wiring.Member]:
    return {
        "arid": Out(1),
        "araddr": Out(32),
        "arlen": Out(8),
        "arsize": Out(3),
        "arburst": Out(2),
        "arvalid": Out(1),
        "arready": In(1),
        "rid": In(1),
        "rdata": In(8 * width),
        "rresp": In(2),
        "rlast": In(1),
        "rvalid": In(1),
        "rready": Out(1),
    }


def _write(width: int) -> dict[str, wiring.Member]:
    return {
        "awid": Out(1),
        "awaddr": Out(32),
        "awlen": Out(8),
        "awsize": Out(3),
        "awburst": Out(2),
        "awvalid": Out(1),
        "awready": In(1),
        "wdata": Out(8 * width),
        "wstrb": Out(width),
        "wlast": Out(1),
        "wvalid": Out(1),
        "wready": In(1),
        "bid": In(1),
        "bresp": In(2),
        "bvalid": In(1),
        "bready": Out(1),
    }


class AXI4Read(wiring.Signature):
    """Read channels AR and R of AXI4: addresses of 32 bits, beats of `memory_width` bytes."""

    def __init__(self, config: MachineConfig) -> None:
        super().__init__(_read(config.memory_width))


class AXI4Write(wiring.Signature):
    """Write channels AW, W and B of AXI4: addresses of 32 bits, beats of `memory_width` bytes."""

    def __init__(self, config: MachineConfig) -> None:
        super().__init__(_write(config.memory_width))


class AXI4(wiring.Signature):
    """All five channels of AXI4: addresses of 32 bits, beats of `memory_width` bytes."""

    def __init__(self, config: MachineConfig) -> None:
        super().__init__(_read(config.memory_width) | _write(config.memory_width))


class AXI4Lines(wiring.Signature):
    """AXI4 for other beats than a machine's: of `width` bytes."""

    def __init__(self, width: int) -> None:
        super().__init__(_read(width) | _write(width))


class AXI4Lite(wiring.Signature):
    """AXI4-Lite: addresses and data of 32 bits."""

    def __init__(self) -> None:
        super().__init__({
            "awaddr": Out(32),
            "awprot": Out(3),
            "awvalid": Out(1),
            "awready": In(1),
            "wdata": Out(32),
            "wstrb": Out(4),
            "wvalid": Out(1),
            "wready": In(1),
            "bresp": In(2),
            "bvalid": In(1),
            "bready": Out(1),
            "araddr": Out(32),
            "arprot": Out(3),
            "arvalid": Out(1),
            "arready": In(1),
            "rdata": In(32),
            "rresp": In(2),
            "rvalid": In(1),
            "rready": Out(1),
        })


def connect_halves(
    m: Module,
    read: wiring.PureInterface,
    write: wiring.PureInterface,
    port: wiring.PureInterface,
) -> None:
    """Connect managers of signatures `AXI4Read` and `AXI4Write` to a port of signature `AXI4`.

    `port` is an `Out(AXI4(config))` member of the component whose module is `m`.
    """
    for half in (read, write):
        for name, member in half.signature.members.items():
            inner, outer = getattr(half, name), getattr(port, name)
            m.d.comb += outer.eq(inner) if member.flow is Out else inner.eq(outer)
