"""From the sums of a row to its mean and the root of its variance, by serial arithmetic."""

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from celosia.cores.arith import delayed
from celosia.cores.layernorm_sums import Sums
from celosia.cores.serial import SerialDivider, SerialMultiplier, SerialSquareRoot

__all__ = ["MEAN_FRACTION", "N_BITS", "ROOT_BITS", "Root", "RowRoot", "RowVariance", "Variance"]

#: Bits of the number of elements.
N_BITS = 13
#: Fraction bits of a mean.
MEAN_FRACTION = 20
#: Bits of a root.
ROOT_BITS = 20


class Variance(data.Struct):
    """Mean of a row, plus 32768, with 20 fraction bits; and `v`, its variance times n²."""

    mean: 36
    v: 55


class Root(data.Struct):
    """Mean of a row as before; `sqrt(v)` as `root · 2^(half - 20)`, the top bit of `root` set."""

    mean: 36
    root: ROOT_BITS
    half: 5


class RowVariance(wiring.Component):
    """Mean, and `v = n·S2 - S1² + epsilon`, of a row; one row in 40 cycles. With `rms`, S1 = 0.

    Members
    -------
    n : In(13)
        Elements of a row, 1 to 4096; constant while there are rows.
    epsilon : In(32)
        At least 1; constant while there are rows.
    rms : In(1)
        The elements' sum counts as 0; constant while there are rows.
    i : In(stream.Signature(Sums))
        Sums of rows.
    o : Out(stream.Signature(Variance))
        Their means and variances, in order.
    """

    n: Signal
    epsilon: Signal
    rms: Signal
    i: stream.Interface
    o: stream.Interface

    def __init__(self) -> None:
        super().__init__({
            "n": In(13),
            "epsilon": In(32),
            "rms": In(1),
            "i": In(stream.Signature(Sums)),
            "o": Out(stream.Signature(Variance)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        sums = self.i.payload
        m.submodules.mean = mean = SerialDivider(len(self.o.payload.mean), N_BITS)
        m.submodules.scaled = scaled = SerialMultiplier(len(sums.squares), N_BITS)
        m.submodules.square = square = SerialMultiplier(len(sums.offset), len(sums.offset))

        # The upper half of the dividend is less than n, since the mean is less than 2^16.
        take = Signal()
        offset = Signal.like(sums.offset)
        m.d.comb += [
            offset.eq(Mux(self.rms, self.n << 15, sums.offset)),
            take.eq(self.i.valid & self.i.ready),
            Cat(mean.i.payload.low, mean.i.payload.high).eq(offset << MEAN_FRACTION),
            mean.i.payload.divisor.eq(self.n),
            mean.i.valid.eq(take),
            scaled.i.payload.a.eq(sums.squares),
            scaled.i.payload.b.eq(self.n),
            scaled.i.valid.eq(take),
        ]

        # The sum of the elements themselves.
        total = Signal(signed(len(sums.offset) + 1), reset_less=True)
        size = Signal.like(sums.offset)
        m.d.comb += [
            size.eq(Mux(total[-1], -total, total)),
            square.i.payload.a.eq(size),
            square.i.payload.b.eq(size),
            square.i.valid.eq(delayed(m, take, 1, "take", reset_less=False)),
        ]

        done = Signal()
        with m.FSM() as fsm:
            with m.State("TAKE"):
                with m.If(take):
                    m.next = "SUBTRACT"
            with m.State("SUBTRACT"):
                with m.If(done):
                    m.next = "ADD"
            with m.State("ADD"):
                m.next = "GIVE"
            with m.State("GIVE"):
                with m.If(self.o.ready):
                    m.next = "TAKE"

        m.d.comb += [
            done.eq(mean.o.valid & scaled.o.valid & square.o.valid),
            self.i.ready.eq(fsm.ongoing("TAKE")),
            *(unit.o.ready.eq(done) for unit in (mean, scaled, square)),
            self.o.valid.eq(fsm.ongoing("GIVE")),
        ]
        with m.If(take):
            m.d.sync += total.eq(offset - (self.n << 15))
        v = self.o.payload.v
        with m.If(done):
            m.d.sync += [
                self.o.payload.mean.eq(mean.o.payload),
                v.eq(scaled.o.payload - square.o.payload),
            ]
        with m.If(fsm.ongoing("ADD")):
            m.d.sync += v.eq(v + self.epsilon)

        return m


class RowRoot(wiring.Component):
    """Square root of the variance of a row; one row in at most 34 cycles.

    Members
    -------
    i : In(stream.Signature(Variance))
        Means and variances of rows.
    o : Out(stream.Signature(Root))
        Means and roots, in order.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self) -> None:
        super().__init__({
            "i": In(stream.Signature(Variance)),
            "o": Out(stream.Signature(Root)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.unit = unit = SerialSquareRoot(ROOT_BITS)

        v = Signal(56, reset_less=True)
        half = self.o.payload.half
        normalising = Signal()
        m.d.comb += [
            unit.i.payload.eq(v[-2 * ROOT_BITS :]),
            self.o.payload.root.eq(unit.o.payload),
            self.o.valid.eq(unit.o.valid),
            unit.o.ready.eq(self.o.ready),
            self.i.ready.eq(~normalising & unit.i.ready),
        ]
        # Shifted up by an even number. A `v` of 0, against the rules, ends this too.
        by_eight = Signal()
        by_two = Signal()
        m.d.comb += [
            by_eight.eq(~v[-8:].any() & (half > 4)),
            by_two.eq(~v[-2:].any() & (half > 1)),
        ]
        with m.If(self.i.ready):
            m.d.sync += normalising.eq(self.i.valid)
        with m.Elif(unit.i.valid):
            m.d.sync += normalising.eq(0)

        m.d.comb += unit.i.valid.eq(normalising & ~by_eight & ~by_two)
        with m.If(self.i.ready):
            m.d.sync += [
                v.eq(self.i.payload.v),
                self.o.payload.mean.eq(self.i.payload.mean),
                half.eq(28),
            ]
        with m.Elif(normalising & by_eight):
            m.d.sync += [v.eq(v << 8), half.eq(half - 4)]
        with m.Elif(normalising & by_two):
            m.d.sync += [v.eq(v << 2), half.eq(half - 1)]

        return m
