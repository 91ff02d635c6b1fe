"""Multiplier and rounding shifter of the requantiser: `rnd(acc * multiplier, shift)`."""

from amaranth import Cat, Const, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from celosia.cores.arith import saturate
from celosia.cores.multiply import Multiplier

__all__ = ["SHIFT_LIMIT", "RoundingShifter", "ScaleMultiplier"]

#: Largest right shift; it makes any product of 47 bits 0.
SHIFT_LIMIT = 47


class ScaleMultiplier(wiring.Component):
    """Product of an accumulator and a multiplier of 15 bits, from two 18-bit multipliers.

    `product = acc * multiplier`, exactly, `latency` cycles later; one product per cycle.

    Parameters
    ----------
    acc_width : int
        Width of the accumulator, 18 to 35.

    Members
    -------
    acc : In(signed(acc_width))
        First operand.
    multiplier : In(15)
        Second operand.
    product : Out(signed(acc_width + 15))
        Their product.
    """

    #: Bits of the accumulator that the lower multiplier takes; unsigned, so one more with a sign.
    split = 17
    #: Cycles from operands to product.
    latency = Multiplier.latency + 1

    acc: Signal
    multiplier: Signal
    product: Signal

    def __init__(self, acc_width: int) -> None:
        super().__init__({
            "acc": In(signed(acc_width)),
            "multiplier": In(15),
            "product": Out(signed(acc_width + 15)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.upper = upper = Multiplier(len(self.acc) - self.split, 16)
        m.submodules.lower = lower = Multiplier(self.split + 1, 16)

        m.d.comb += [
            upper.a.eq(self.acc[self.split :].as_signed()),
            lower.a.eq(self.acc[: self.split]),
        ]
        for part in (upper, lower):
            m.d.comb += [part.b.eq(self.multiplier), part.b_enable.eq(1)]

        # The lower product is never negative.
        carried = lower.product[self.split : -1]
        low = Signal(self.split, reset_less=True)
        high = Signal(signed(len(self.product) - self.split), reset_less=True)
        m.d.sync += [low.eq(lower.product), high.eq(upper.product + carried)]
        m.d.comb += self.product.eq(Cat(low, high))

        return m


class RoundingShifter(wiring.Component):
    """Right shift by 0 to 47 with the bit below the point, clipped early to 18 bits.

    `quotient` and `half` are the floor of `value / 2**shift` and the next bit below it, so that
    `rnd(value, shift) = quotient + half`. A quotient outside 18 bits is replaced by the nearest
    one inside (and `half` is then either): adding less than 2**16 in magnitude leaves it outside
    16 bits. They come `latency` cycles after `value` and `shift`; one value per cycle.

    Parameters
    ----------
    width : int
        Width of the value, 34 to 47.

    Members
    -------
    value : In(signed(width))
        Dividend.
    shift : In(6)
        Shift, 0 to 47.
    quotient : Out(signed(18))
        Clipped quotient.
    half : Out(1)
        The bit below it.
    """

    #: Width of the clipped quotient.
    quotient_width = 18
    #: Cycles from value to quotient.
    latency = 3

    value: Signal
    shift: Signal
    quotient: Signal
    half: Signal

    def __init__(self, width: int) -> None:
        super().__init__({
            "value": In(signed(width)),
            "shift": In(range(SHIFT_LIMIT + 1)),
            "quotient": Out(signed(self.quotient_width)),
            "half": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        clipped_width = self.quotient_width + 1

        # Stage 1: shift by 0, 16 or 32. What does not fit 15 bits more than the result cannot
        # come back into its range by the fine shift.
        doubled = Signal(signed(len(self.value) + 1))
        near = Signal(signed(clipped_width + 15))
        coarse = Signal.like(near, reset_less=True)
        fine = Signal(4, reset_less=True)
        m.d.comb += [
            doubled.eq(Cat(Const(0, 1), self.value)),
            near.eq(saturate(doubled, len(near))),
        ]
        with m.Switch(self.shift[4:]):
            with m.Case(0):
                m.d.sync += coarse.eq(near)
            with m.Case(1):
                m.d.sync += coarse.eq(doubled[16:].as_signed())
            with m.Default():
                m.d.sync += coarse.eq(doubled[32:].as_signed())
        m.d.sync += fine.eq(self.shift[:4])

        # Stage 2: shift by 0 to 15.
        shifted = Signal.like(coarse, reset_less=True)
        m.d.sync += shifted.eq(coarse >> fine)

        # Stage 3: clip.
        clipped = Signal(signed(clipped_width), reset_less=True)
        m.d.sync += clipped.eq(saturate(shifted, clipped_width))
        m.d.comb += [self.half.eq(clipped[0]), self.quotient.eq(clipped[1:].as_signed())]

        return m
