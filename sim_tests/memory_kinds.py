"""Memories of all widths that a block RAM has: what its simulation models must get right."""

from dataclasses import dataclass
from typing import Any

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

__all__ = ["KINDS", "Kind", "MemoryKinds"]


@dataclass(frozen=True)
class Kind:
    """A memory with a port to write and one to read.

    Attributes
    ----------
    width, depth : int
        Its shape.
    parts : int
        Parts of a word that are written alone.
    transparent : bool
        Whether a word that is read while it is written is the new one, not the old one.
    """

    width: int
    depth: int
    parts: int = 1
    transparent: bool = False

    def init(self) -> list[int]:
        """What the memory holds at the start."""
        return [(n * n * 0x9E3779B97F4A7C15 >> 20) % (1 << self.width) for n in range(self.depth)]


KINDS = {
    "bit": Kind(1, 12000),
    "pair": Kind(2, 7000),
    "nibble": Kind(4, 3500),
    "byte": Kind(9, 1800),
    "half": Kind(18, 900),
    "halves": Kind(18, 900, parts=2),
    "word": Kind(36, 450),
    "bytes": Kind(32, 450, parts=4),
    "seen": Kind(16, 700, transparent=True),
}


class MemoryKinds(wiring.Component):
    """One memory of each kind."""

    def __init__(self) -> None:
        members: dict[str, Any] = {}
        for name, kind in KINDS.items():
            members |= {
                f"{name}_write_address": In(range(kind.depth)),
                f"{name}_write_data": In(kind.width),
                f"{name}_write": In(kind.parts),
                f"{name}_read_address": In(range(kind.depth)),
                f"{name}_read": In(1),
                f"{name}_data": Out(kind.width),
            }
        super().__init__(members)

    def elaborate(self, platform) -> Module:
        m = Module()

        def port(name: str) -> Signal:
            return getattr(self, name)

        for name, kind in KINDS.items():
            memory = Memory(shape=kind.width, depth=kind.depth, init=kind.init())
            m.submodules[name] = memory
            part = kind.width // kind.parts if kind.parts > 1 else None
            write = memory.write_port(granularity=part)
            read = memory.read_port(transparent_for=(write,) if kind.transparent else ())
            m.d.comb += [
                write.addr.eq(port(f"{name}_write_address")),
                write.data.eq(port(f"{name}_write_data")),
                write.en.eq(port(f"{name}_write")),
                read.addr.eq(port(f"{name}_read_address")),
                read.en.eq(port(f"{name}_read")),
                port(f"{name}_data").eq(read.data),
            ]
        return m
