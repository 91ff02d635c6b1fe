"""Memory with one port, which a platform may build from its own cells."""

from amaranth import Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["SinglePortMemory"]


class SinglePortMemory(wiring.Component):
    """Words of 32 bits, one of which is read or written in a cycle.

    A word is there the cycle after it was asked for, and stays until the next access. What lies in
    the memory at first is not defined: chips have large memories that power up with anything.

    Platform overrides
    ------------------
    Define the `get_single_port_memory(memory)` platform method to replace the plain memory by an
    elaboratable that drives `memory.o`.

    Parameters
    ----------
    depth : int
        Words, at least 2.

    Members
    -------
    enable : In(1)
        Access the memory.
    address : In(range(depth))
        The word.
    write : In(4)
        Bytes of it to write; none to read it.
    i : In(32)
        What is written.
    o : Out(32)
        The word that was read last; after a write, anything.
    """

    enable: Signal
    address: Signal
    write: Signal
    i: Signal
    o: Signal

    def __init__(self, depth: int) -> None:
        if type(depth) is not int:
            raise TypeError(f"SinglePortMemory depth must be an integer, not {depth!r}")
        if depth < 2:
            raise ValueError(f"SinglePortMemory depth must be at least 2, not {depth}")
        self.depth = depth
        super().__init__({
            "enable": In(1),
            "address": In(range(depth)),
            "write": In(4),
            "i": In(32),
            "o": Out(32),
        })

    def elaborate(self, platform):
        if hasattr(platform, "get_single_port_memory"):
            return platform.get_single_port_memory(self)

        m = Module()
        m.submodules.storage = storage = memory.Memory(shape=32, depth=self.depth, init=[])
        read = storage.read_port()
        write = storage.write_port(granularity=8)
        m.d.comb += [
            read.addr.eq(self.address),
            read.en.eq(self.enable & ~self.write.any()),
            write.addr.eq(self.address),
            write.data.eq(self.i),
            write.en.eq(self.write & self.enable.replicate(4)),
            self.o.eq(read.data),
        ]
        return m
