"""One lane of the vector unit: `y = sat(rnd(a·b, shift) + c)`, of normal forms or of products."""

from amaranth import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from celosia.cores.arith import delayed, overflows
from celosia.cores.layernorm_apply import ElementNormaliser
from celosia.cores.layernorm_scale import RowScale
from celosia.cores.multiply import Multiplier
from celosia.cores.requant_scale import RoundingShifter

__all__ = ["MAX_SHIFT", "PRODUCT_SHIFT", "Element", "Factors", "LaneMode", "MultiplyLane"]

#: Larger shifts act as this one: it makes 0 of every normal form's product.
MAX_SHIFT = 36
#: Products of elements come multiplied by 2 to this power.
PRODUCT_SHIFT = 2


class Element(data.Struct):
    """An element with the gain and the offset of its column; or factors, `beta` and `gamma`."""

    x: signed(16)
    gamma: signed(16)
    beta: signed(16)


class Factors(data.Struct):
    """Two elements that are multiplied."""

    x: signed(16)
    w: signed(16)


class LaneMode(data.Struct):
    """What lanes do; constant while there are elements.

    `shift` is that of the product, up to `MAX_SHIFT`. With `products` factors are multiplied, with
    `complex` as complex numbers too; with `narrow` the result saturates to 8 bits.
    """

    shift: range(MAX_SHIFT + 1)
    products: 1
    complex: 1
    narrow: 1


class MultiplyLane(wiring.Component):
    """One lane: `y = sat16(rnd(zq·gamma, shift) + beta)`, `latency` cycles later; one per cycle.

    With `products` it is `sat16(rnd(4·x·w, shift))` of the factors. With `complex` the lane makes
    one part of a complex product, `x·re(w) ± x'·im(w)`, where x' is the other part of x: the real
    part is in an even lane, the imaginary part in an odd one. It meets what the lane of the other
    part has `tap` cycles after its element, when the multiplier of the normal form is free.

    Two 18-bit multipliers.

    Members
    -------
    mode : In(LaneMode)
        What is done.
    element : In(Element)
        Element, gain and offset.
    scale : In(RowScale)
        Scale of the row, in the same cycle.
    enable : In(1)
        The element lies inside the row; `y` is 0 otherwise.
    factors : Out(data.ArrayLayout(Factors, 3))
        Factors, `tap - 1`, `tap` and `tap + 1` cycles after their element.
    partner : In(Factors)
        Factors of the other part, `tap` cycles after the element; only with `complex`.
    odd : In(1)
        The lane makes the imaginary part; in the same cycle as `partner`.
    subtract : In(1)
        The lane makes the real part of a complex product, three cycles later.
    y : Out(signed(16))
        Result.
    """

    #: Cycles from an element to where the factors of two lanes meet.
    tap = ElementNormaliser.latency - 1
    #: Cycles from element to result.
    latency = ElementNormaliser.latency + Multiplier.latency + 1 + RoundingShifter.latency + 2

    mode: LaneMode
    element: Element
    scale: RowScale
    enable: Signal
    factors: data.View
    partner: Factors
    odd: Signal
    subtract: Signal
    y: Signal

    def __init__(self) -> None:
        super().__init__({
            "mode": In(LaneMode),
            "element": In(Element),
            "scale": In(RowScale),
            "enable": In(1),
            "factors": Out(data.ArrayLayout(Factors, 3)),
            "partner": In(Factors),
            "odd": In(1),
            "subtract": In(1),
            "y": Out(signed(16)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.normaliser = normaliser = ElementNormaliser()
        # The upper 18 bits of zq go to a multiplier, the lower two do not need one.
        m.submodules.upper = upper = Multiplier(18, 16)
        m.submodules.shifter = shifter = RoundingShifter(36)
        mode = self.mode

        # Factors on their way: the second one ends as it is needed beside zq.
        x, w = self.element.beta, self.element.gamma
        gamma = Signal(signed(16), reset_less=True)
        for index, cycles in enumerate((self.tap - 1, 1, 1)):
            x = delayed(m, x, cycles, f"x_{index}")
            w = delayed(m, w, cycles, f"w_{index}") if index < 2 else gamma
            m.d.comb += [self.factors[index].x.eq(x), self.factors[index].w.eq(w)]
        own = self.factors[1]
        m.d.sync += gamma.eq(Mux(mode.complex & self.odd, self.partner.w, own.w))
        m.d.comb += [
            normaliser.x.eq(self.element.x),
            normaliser.scale.eq(self.scale),
            normaliser.lent.eq(mode.complex),
            normaliser.a.eq(self.partner.x),
            normaliser.b.eq(Mux(self.odd, own.w, self.partner.w)),
        ]

        # The product, and what is added to it: that of the lower bits of zq, or the other product
        # of a complex number. The real part subtracts, by the complement and a carry.
        zq = normaliser.zq
        once = Mux(zq[0], gamma, 0)
        twice = Mux(zq[1], gamma, 0)
        lower = Signal(signed(18), reset_less=True)
        other = Cat(Const(0, PRODUCT_SHIFT), normaliser.product).as_signed()
        addend = Signal(signed(36), reset_less=True)
        product = Signal(signed(36), reset_less=True)
        carry = delayed(m, self.subtract, 1, "carry")
        m.d.sync += [
            lower.eq(once + (twice << 1)),
            addend.eq(
                Mux(
                    mode.complex,
                    other ^ self.subtract.replicate(len(addend)).as_signed(),
                    delayed(m, lower, upper.latency - 2, "lower"),
                )
            ),
            product.eq(Cat(carry, Const(0, 1), upper.product).as_signed() + addend),
        ]
        with m.If(mode.products):
            m.d.sync += lower.eq(0)
        m.d.comb += [
            upper.a.eq(Mux(mode.products, x, zq[2:].as_signed())),
            upper.b.eq(gamma),
            upper.b_enable.eq(1),
            shifter.value.eq(product),
            shifter.shift.eq(mode.shift),
        ]

        # Sum and saturation. There is no offset where x has come in its place.
        offset = Signal(signed(16), reset_less=True)
        m.d.sync += offset.eq(x)
        with m.If(mode.products):
            m.d.sync += offset.eq(0)
        total = Signal(signed(19), reset_less=True)
        beta = delayed(m, offset, self.latency - 2 - (self.tap + 2), "beta")
        m.d.sync += total.eq(shifter.quotient + beta + shifter.half)

        # Of 8 bits, the upper half is all sign.
        narrow, sign = mode.narrow, total[-1]
        clips = Signal()
        clips_to_narrow = Signal()
        upper_bits = Signal()
        m.d.comb += [
            clips.eq(overflows(total, 16)),
            clips_to_narrow.eq(overflows(total, 8)),
            upper_bits.eq(sign ^ ~narrow),
        ]
        low = Mux(Mux(narrow, clips_to_narrow, clips), (~sign).replicate(7), total[:7])
        high = Mux(narrow | clips, upper_bits.replicate(8), total[7:15])
        enable = delayed(m, self.enable, self.latency - 1, "enable")
        m.d.sync += self.y.eq(Mux(enable, Cat(low, high, sign), 0))
        return m
