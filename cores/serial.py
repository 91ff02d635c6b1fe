"""Arithmetic on scalars, one bit per cycle: product, quotient, square root."""

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.hdl import ShapeLike
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Factors", "Fraction", "SerialDivider", "SerialMultiplier", "SerialSquareRoot"]


class Factors(data.StructLayout):
    """Unsigned factors of a serial product."""

    def __init__(self, a_width: int, b_width: int) -> None:
        super().__init__({"a": a_width, "b": b_width})


class Fraction(data.StructLayout):
    """Unsigned dividend and divisor of a serial quotient.

    The dividend is `low` with `high` above it; `high` must be less than the divisor.
    """

    def __init__(self, quotient_width: int, divisor_width: int) -> None:
        super().__init__({"low": quotient_width, "high": divisor_width, "divisor": divisor_width})


class _Serial(wiring.Component):
    """Takes an item, works on it for `cycles` cycles, and gives the result.

    The result is there `cycles + 1` cycles after the item was taken, and the next item can be
    taken in the cycle in which the result is: one item in `cycles + 1` cycles.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, cycles: int, i_shape: ShapeLike, o_shape: ShapeLike) -> None:
        self.cycles = cycles
        super().__init__({
            "i": In(stream.Signature(i_shape)),
            "o": Out(stream.Signature(o_shape)),
        })

    def _add_control(self, m: Module) -> Signal:
        """Count the cycles; return whether an item is taken in this one."""
        left = Signal(range(self.cycles + 1))
        busy = Signal()
        start = Signal()
        m.d.comb += [
            busy.eq(left != 0),
            self.i.ready.eq(~busy & (self.o.ready | ~self.o.valid)),
            start.eq(self.i.valid & self.i.ready),
        ]
        with m.If(start):
            m.d.sync += left.eq(self.cycles)
        with m.Elif(busy):
            m.d.sync += left.eq(left - 1)
        with m.If(left == 1):
            m.d.sync += self.o.valid.eq(1)
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        return start


class SerialMultiplier(_Serial):
    """Product of two unsigned numbers, one bit of `b` per cycle.

    The product is exact. It comes `b_width + 1` cycles after its factors, one in as many cycles.

    Parameters
    ----------
    a_width, b_width : int
        Bits of the factors.

    Members
    -------
    i : In(stream.Signature(Factors(a_width, b_width)))
        Factors.
    o : Out(stream.Signature(a_width + b_width))
        Their products, in order.
    """

    def __init__(self, a_width: int, b_width: int) -> None:
        self.a_width = a_width
        self.b_width = b_width
        super().__init__(b_width, Factors(a_width, b_width), a_width + b_width)

    def elaborate(self, platform) -> Module:
        m = Module()
        start = self._add_control(m)
        a = Signal(self.a_width, reset_less=True)
        # The bits of b leave at the bottom while those of the product move in from above.
        low = Signal(self.b_width, reset_less=True)
        high = Signal(self.a_width, reset_less=True)
        total = Signal(self.a_width + 1)
        m.d.comb += [
            total.eq(high + (a & low[0].replicate(self.a_width))),
            self.o.payload.eq(Cat(low, high)),
        ]
        with m.If(start):
            m.d.sync += [a.eq(self.i.payload.a), low.eq(self.i.payload.b), high.eq(0)]
        with m.Elif(~self.o.valid):
            m.d.sync += Cat(low, high).eq(Cat(low[1:], total))
        return m


class SerialDivider(_Serial):
    """Quotient of two unsigned numbers, rounded down, one bit per cycle.

    Restoring division. The quotient comes `quotient_width + 1` cycles after its fraction, one in
    as many cycles. It fits because the upper part of the dividend is less than the divisor.

    Parameters
    ----------
    quotient_width, divisor_width : int
        Bits of the quotient and of the divisor; the dividend has as many as both together.

    Members
    -------
    i : In(stream.Signature(Fraction(quotient_width, divisor_width)))
        Dividends and divisors.
    o : Out(stream.Signature(quotient_width))
        `((high << quotient_width) + low) // divisor`, in order.
    """

    def __init__(self, quotient_width: int, divisor_width: int) -> None:
        self.quotient_width = quotient_width
        self.divisor_width = divisor_width
        super().__init__(quotient_width, Fraction(quotient_width, divisor_width), quotient_width)

    def elaborate(self, platform) -> Module:
        m = Module()
        start = self._add_control(m)
        divisor = Signal(self.divisor_width, reset_less=True)
        remainder = Signal(self.divisor_width, reset_less=True)
        # The dividend's bits leave at the top while those of the quotient move in from below.
        quotient = Signal(self.quotient_width, reset_less=True)
        brought = Signal(self.divisor_width + 1)
        difference = Signal(self.divisor_width + 1)
        fits = Signal()
        m.d.comb += [
            brought.eq(Cat(quotient[-1], remainder)),
            difference.eq(brought - divisor),
            # Before, the remainder is less than the divisor: the difference has one bit less.
            fits.eq(~difference[-1]),
            self.o.payload.eq(quotient),
        ]
        with m.If(start):
            m.d.sync += [
                divisor.eq(self.i.payload.divisor),
                remainder.eq(self.i.payload.high),
                quotient.eq(self.i.payload.low),
            ]
        with m.Elif(~self.o.valid):
            m.d.sync += [
                remainder.eq(Mux(fits, difference, brought)),
                quotient.eq(Cat(fits, quotient)),
            ]
        return m


class SerialSquareRoot(_Serial):
    """Square root of an unsigned number, rounded down, one bit of the root per cycle.

    The root comes `width + 1` cycles after its square, one in as many cycles.

    Parameters
    ----------
    width : int
        Bits of the root; the square has twice as many.

    Members
    -------
    i : In(stream.Signature(2 * width))
        Squares.
    o : Out(stream.Signature(width))
        Their roots, in order.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__(width, 2 * width, width)

    def elaborate(self, platform) -> Module:
        m = Module()
        start = self._add_control(m)
        square = Signal(2 * self.width, reset_less=True)
        root = Signal(self.width, reset_less=True)
        remainder = Signal(self.width + 1, reset_less=True)  # at most twice the root
        # Two bits are brought down; the root gets a 1 if 4·root + 1 fits into the remainder.
        brought = Signal(self.width + 3)
        difference = Signal(self.width + 3)
        fits = Signal()
        trial: Value = Cat(1, 0, root)
        m.d.comb += [
            brought.eq(Cat(square[-2:], remainder)),
            difference.eq(brought - trial),
            fits.eq(brought >= trial),
            self.o.payload.eq(root),
        ]
        with m.If(start):
            m.d.sync += [square.eq(self.i.payload), root.eq(0), remainder.eq(0)]
        with m.Elif(~self.o.valid):
            m.d.sync += [
                square.eq(square << 2),
                remainder.eq(Mux(fits, difference, brought)),
                root.eq(Cat(fits, root)),
            ]
        return m
