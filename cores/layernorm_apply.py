"""Second pass of a norm: an element in its normal form."""

from amaranth import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from celosia.cores.arith import delayed
from celosia.cores.layernorm_scale import RowScale
from celosia.cores.multiply import Multiplier

__all__ = ["ElementNormaliser"]


class ElementNormaliser(wiring.Component):
    """`zq = rnd(16·(x + 32768 - mean)·gain - offset, shift)`, `latency` cycles later.

    One element per cycle. The result fits 20 bits: of n elements, none is further from the mean
    than `sqrt(n - 1)` deviations, nor further from 0 than `sqrt(n)` roots of the mean square.

    The multiplier can be lent to others, who get `product` instead.

    Members
    -------
    x : In(signed(16))
        Element.
    scale : In(RowScale)
        Scale of its row, in the same cycle.
    zq : Out(signed(20))
        Normal form, 12 fraction bits.
    lent : In(1)
        The multiplier is lent; constant while there are elements.
    a, b : In(signed(16))
        Factors, if it is.
    product : Out(signed(32))
        Their product, `Multiplier.latency` cycles later.
    """

    #: Cycles from element to normal form.
    latency = 1 + Multiplier.latency + 4

    x: Signal
    scale: RowScale
    zq: Signal
    lent: Signal
    a: Signal
    b: Signal
    product: Signal

    def __init__(self) -> None:
        super().__init__({
            "x": In(signed(16)),
            "scale": In(RowScale),
            "zq": Out(signed(20)),
            "lent": In(1),
            "a": In(signed(16)),
            "b": In(signed(16)),
            "product": Out(signed(32)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.multiplier = multiplier = Multiplier(17, len(self.scale.gain) + 1)

        # Stage 1: difference; then the multiplier.
        difference = Signal(signed(17), reset_less=True)
        raised = Cat(self.x[:15], ~self.x[15])
        m.d.sync += difference.eq(raised - self.scale.mean)
        m.d.comb += [
            multiplier.a.eq(Mux(self.lent, self.a, difference)),
            multiplier.b.eq(Mux(self.lent, self.b, delayed(m, self.scale.gain, 1, "gain"))),
            multiplier.b_enable.eq(1),
            self.product.eq(multiplier.product),
        ]

        # Stage 5: the mean's fraction. Below the point, a bit to round with.
        cycles = 1 + Multiplier.latency
        offset = delayed(m, self.scale.offset, cycles, "offset")
        shift = delayed(m, self.scale.shift, cycles + 1, "shift")
        exact = Signal(signed(len(multiplier.product) + 4), reset_less=True)
        m.d.sync += exact.eq(Cat(Const(0, 4), multiplier.product).as_signed() - offset)

        # Stages 6 and 7: shift by eights and by ones. The quotient fits 20 bits: above them, and
        # the 7 that can still be shifted out, nothing is needed.
        doubled = Cat(Const(0, 1), exact, exact[-1].replicate(24))
        coarse = Signal(28, reset_less=True)
        quotient = Signal(signed(21), reset_less=True)
        with m.Switch(shift[3:]):
            for eights in range(4):
                with m.Case(eights):
                    m.d.sync += coarse.eq(doubled[8 * eights :])
        m.d.sync += quotient.eq(coarse >> delayed(m, shift[:3], 1, "fine"))

        # Stage 8: round.
        zq = Signal(signed(20), reset_less=True)
        m.d.sync += zq.eq((quotient + 1) >> 1)
        m.d.comb += self.zq.eq(zq)

        return m
