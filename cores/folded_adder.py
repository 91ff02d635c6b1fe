"""Adder with logic before its operands, which a platform may fold into its carry cells."""

from collections.abc import Callable
from typing import Any

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["FoldedAdder"]


class FoldedAdder(wiring.Component):
    """Combinational sum of two operands that are functions of four words, bit by bit.

    `sum = first(a, b) + second(b, c, d) + carry`, modulo `2^width`. A carry cell with a table of
    four inputs does all of a bit: gates, multiplexers and signs before an adder cost nothing. Such
    a cell takes its carry from the inputs `a` and `b` alone, as the table has it with the
    others 0; hence `second(b, 0, 0)` must be 0.

    Platform overrides
    ------------------
    Define the `get_folded_adder(adder)` platform method to replace the plain logic by an
    elaboratable that drives `adder.sum`; `adder.table` is what each bit computes.

    Parameters
    ----------
    width : int
        Width of all words.
    first : callable
        The first operand's bitwise function of `a` and `b`.
    second : callable
        The second operand's, of `b`, `c` and `d`.
    carry : bool
        Whether there is a carry into the lowest bit; without it, `carry` is not used.

    Members
    -------
    a, b, c, d : In(width)
        The words. A control is a word of equal bits.
    carry : In(1)
        Added to the lowest bit.
    sum : Out(width)
        The sum.
    """

    a: Signal
    b: Signal
    c: Signal
    d: Signal
    carry: Signal
    sum: Signal

    def __init__(
        self,
        width: int,
        first: Callable[[Any, Any], Any],
        second: Callable[[Any, Any, Any], Any],
        *,
        carry: bool = False,
    ) -> None:
        if any(second(b, 0, 0) & 1 for b in (0, 1)):
            raise ValueError("FoldedAdder second(b, 0, 0) must be 0")
        self.width = width
        self.first = first
        self.second = second
        self.has_carry = carry
        words = {name: In(width) for name in "abcd"}
        super().__init__({**words, "carry": In(1), "sum": Out(width)})

    @property
    def table(self) -> int:
        """Exclusive or of the operands' bits; bit `a + 2b + 4c + 8d` is for these inputs."""
        bits = [(n & 1, n >> 1 & 1, n >> 2 & 1, n >> 3) for n in range(16)]
        values = [self.first(a, b) ^ self.second(b, c, d) for a, b, c, d in bits]
        return sum((value & 1) << n for n, value in enumerate(values))

    def elaborate(self, platform):
        if hasattr(platform, "get_folded_adder"):
            return platform.get_folded_adder(self)

        m = Module()
        first = Signal(self.width)
        second = Signal(self.width)
        m.d.comb += [
            first.eq(self.first(self.a, self.b)),
            second.eq(self.second(self.b, self.c, self.d)),
            self.sum.eq(first + second + (self.carry if self.has_carry else 0)),
        ]
        return m
