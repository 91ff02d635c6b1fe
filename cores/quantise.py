"""Quantiser: int16 rows to int8 by their exponents, on the way into the array."""

from amaranth import Cat, Const, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from celosia.cores.arith import delayed, saturate

__all__ = ["ByteRow", "Quantiser", "ScaledRow"]


class ScaledRow(wiring.Signature):
    """Part of a row of int16, with the row's exponent.

    Members
    -------
    valid : Out(1)
        A row is presented.
    exponent : Out(4)
        Exponent of the row, 0 to 8.
    data : Out(data.ArrayLayout(signed(16), lanes))
        Its elements.
    """

    def __init__(self, lanes: int) -> None:
        super().__init__({
            "valid": Out(1),
            "exponent": Out(4),
            "data": Out(data.ArrayLayout(signed(16), lanes)),
        })


class ByteRow(wiring.Signature):
    """Part of a row of int8.

    Members
    -------
    valid : Out(1)
        A row is presented.
    data : Out(data.ArrayLayout(signed(8), lanes))
        Its elements.
    """

    def __init__(self, lanes: int) -> None:
        super().__init__({
            "valid": Out(1),
            "data": Out(data.ArrayLayout(signed(8), lanes)),
        })


class Quantiser(wiring.Component):
    """Reduces elements to 8 bits: `o.data[k] = sat8(rnd(i.data[k], i.exponent))`.

    Rounding is half up. The result comes exactly `latency` = 2 cycles later; one row per cycle,
    no stall.

    Parameters
    ----------
    lanes : int
        Elements per cycle.

    Members
    -------
    i : In(ScaledRow(lanes))
        Rows and their exponents.
    o : Out(ByteRow(lanes))
        Rows of int8, in order.
    """

    #: Cycles from a row to its result.
    latency = 2

    i: wiring.PureInterface
    o: wiring.PureInterface

    def __init__(self, lanes: int) -> None:
        if type(lanes) is not int:
            raise TypeError(f"Quantiser lanes must be an integer, not {lanes!r}")
        if lanes < 1:
            raise ValueError(f"Quantiser lanes must be positive, not {lanes}")
        self.lanes = lanes
        super().__init__({"i": In(ScaledRow(lanes)), "o": Out(ByteRow(lanes))})

    def elaborate(self, platform) -> Module:
        m = Module()
        m.d.comb += self.o.valid.eq(
            delayed(m, self.i.valid, self.latency, "valid", reset_less=False)
        )

        for lane in range(self.lanes):
            # Stage 1: shift, the bit below the point kept.
            doubled = Signal(signed(17), name=f"doubled_{lane}", reset_less=True)
            shifted = Cat(Const(0, 1), self.i.data[lane]).as_signed() >> self.i.exponent
            m.d.sync += doubled.eq(shifted)

            # Stage 2: round and saturate.
            rounded = Signal(signed(17), name=f"rounded_{lane}")
            quantised = Signal(signed(8), name=f"quantised_{lane}", reset_less=True)
            m.d.comb += rounded.eq((doubled + 1) >> 1)
            m.d.sync += quantised.eq(saturate(rounded, 8))
            m.d.comb += self.o.data[lane].eq(quantised)

        return m
