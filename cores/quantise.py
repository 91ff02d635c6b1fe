"""Quantiser: int16 rows to int8 by their exponents, on the way into the array."""

from amaranth import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from celosia.cores.arith import delayed

__all__ = ["ByteRow", "Quantiser", "ScaledRow"]


class ScaledRow(wiring.Signature):
    """Part of a row of int16, with the row's exponent.

    Members
    -------
    valid : Out(1)
        A row is presented.
    exponent : Out(4)
        Exponent of the row, 0 to 8.
    raw : Out(1)
        Take the eight bits from `exponent` on as they are.
    data : Out(data.ArrayLayout(signed(16), lanes))
        Its elements.
    """

    def __init__(self, lanes: int) -> None:
        super().__init__({
            "valid": Out(1),
            "exponent": Out(4),
            "raw": Out(1),
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

    Rounding is half up; `raw` bits are neither rounded nor saturated. The result comes exactly
    `latency` = 2 cycles later; one row per cycle, no stall.

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

        # Which of the bits 7 to 14 lie above the result, for all lanes.
        above = Signal(8, reset_less=True)
        m.d.sync += above.eq(Cat((self.i.exponent <= bit) & ~self.i.raw for bit in range(8)))

        for lane, x in enumerate(self.i.data):
            # Stage 1: nine bits, the lowest one below the point, and which of those that may lie
            # above them differ from the sign.
            near = Signal(signed(9), name=f"near_{lane}", reset_less=True)
            differs = Signal(8, name=f"differs_{lane}", reset_less=True)
            negative = Signal(name=f"negative_{lane}", reset_less=True)
            # An exponent of 8 takes the bit below the point from bit 7.
            below = Cat(Const(0, 1), x[:15]) >> self.i.exponent[:3]
            nine = Signal(9, name=f"nine_{lane}")
            m.d.comb += nine.eq(Mux(self.i.exponent[3], x[7:], below))
            m.d.sync += [
                near.eq(Cat(nine[0] & ~self.i.raw, nine[1:])),
                differs.eq(x[7:15] ^ x[15].replicate(8)),
                negative.eq(x[15]),
            ]

            # Stage 2: round and saturate. Rounding only ever leaves the range upwards.
            rounded = Signal(signed(9), name=f"rounded_{lane}")
            outside = Signal(name=f"outside_{lane}")
            quantised = Signal(signed(8), name=f"quantised_{lane}", reset_less=True)
            m.d.comb += [
                rounded.eq((near + 1) >> 1),
                outside.eq((differs & above).any() | (rounded[8] ^ rounded[7])),
            ]
            m.d.sync += quantised.eq(Mux(outside, Cat((~negative).replicate(7), negative), rounded))
            m.d.comb += self.o.data[lane].eq(quantised)

        return m
