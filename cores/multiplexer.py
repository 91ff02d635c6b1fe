"""Multiplexer of words, which a platform may build from its own cells."""

from typing import Any

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Multiplexer"]


class Multiplexer(wiring.Component):
    """Combinational choice of one of several words.

    Platform overrides
    ------------------
    Define the `get_multiplexer(multiplexer)` platform method to replace the plain logic by an
    elaboratable that drives `multiplexer.o`.

    Parameters
    ----------
    width : int
        Width of a word.
    count : int
        Number of words: a power of two, 2 or more.

    Members
    -------
    i : In(data.ArrayLayout(width, count))
        The words.
    index : In(range(count))
        Which one to choose.
    o : Out(width)
        That one.

    Raises
    ------
    ValueError
        If `count` is not a power of two, or less than 2.
    """

    i: Any
    index: Signal
    o: Signal

    def __init__(self, width: int, count: int) -> None:
        if count < 2 or count & count - 1:
            raise ValueError(f"Multiplexer count must be a power of two, 2 or more, not {count}")
        self.width = width
        self.count = count
        super().__init__({
            "i": In(data.ArrayLayout(width, count)),
            "index": In(range(count)),
            "o": Out(width),
        })

    def elaborate(self, platform):
        if hasattr(platform, "get_multiplexer"):
            return platform.get_multiplexer(self)

        m = Module()
        level: list[Value] = [self.i[word] for word in range(self.count)]
        for bit in self.index:
            pairs = zip(level[::2], level[1::2], strict=True)
            level = [Mux(bit, odd, even) for even, odd in pairs]
        m.d.comb += self.o.eq(level[0])
        return m
