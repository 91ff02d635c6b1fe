"""One lane of the requantiser: multiplier, rounding shifter, offset, saturation."""

from amaranth import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from celosia.cores.arith import delayed, overflows, saturate
from celosia.cores.multiply import Multiplier

__all__ = ["RequantiserLane", "RoundingShifter", "Scale", "ScaleMultiplier"]

#: Largest right shift; it makes any product of 47 bits 0.
SHIFT_LIMIT = 47


class Scale(data.Struct):
    """Scale and offset of one channel: `rnd(acc * multiplier, shift) + bias`."""

    multiplier: 15
    shift: signed(8)
    bias: signed(16)


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


class RequantiserLane(wiring.Component):
    """One lane: `y = sat(rnd(acc * multiplier, shift) + bias + rnd(residual, r_shift))`.

    `shift = clip(lane.shift + row.shift, 0, 47)`; `multiplier` and `bias` are the row's if
    `row_mode` is set, else the lane's. All inputs but `narrow` and `enable` are taken in the same
    cycle; `y` and `clipped` come `latency` cycles later. `narrow` and `enable` are taken
    `latency - 1` cycles later, so that they are not delayed once per lane.

    Parameters
    ----------
    acc_width : int
        Width of the accumulator.

    Members
    -------
    acc : In(signed(acc_width))
        Accumulator.
    lane, row : In(Scale)
        Parameters of the lane and of the row.
    row_mode : In(1)
        Take multiplier and bias from the row.
    residual : In(signed(16))
        Value to add.
    residual_enable : In(1)
        Add it.
    r_shift : In(5)
        Right shift of the residual.
    narrow : In(1)
        Saturate to 8 bits, not 16; `latency - 1` cycles late.
    enable : In(1)
        The lane counts; if not, `y` is 0. `latency - 1` cycles late.
    y : Out(signed(16))
        Result.
    clipped : Out(1)
        Saturation changed it.
    """

    #: Cycles from accumulator to result.
    latency = ScaleMultiplier.latency + RoundingShifter.latency + 2

    acc: Signal
    lane: Scale
    row: Scale
    row_mode: Signal
    residual: Signal
    residual_enable: Signal
    r_shift: Signal
    narrow: Signal
    enable: Signal
    y: Signal
    clipped: Signal

    def __init__(self, acc_width: int) -> None:
        super().__init__({
            "acc": In(signed(acc_width)),
            "lane": In(Scale),
            "row": In(Scale),
            "row_mode": In(1),
            "residual": In(signed(16)),
            "residual_enable": In(1),
            "r_shift": In(5),
            "narrow": In(1),
            "enable": In(1),
            "y": Out(signed(16)),
            "clipped": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.multiplier = multiplier = ScaleMultiplier(len(self.acc))
        m.submodules.shifter = shifter = RoundingShifter(len(multiplier.product))

        # Product and quotient.
        used = Mux(self.row_mode, self.row.multiplier, self.lane.multiplier)
        shift = self._add_shift(m)
        m.d.comb += [
            multiplier.acc.eq(self.acc),
            multiplier.multiplier.eq(used),
            shifter.value.eq(multiplier.product),
            shifter.shift.eq(delayed(m, shift, multiplier.latency - 2, "shift")),
        ]

        # Sum: 18 bits, 17 bits and the rounding bit.
        addend = self._add_addend(m)
        addend = delayed(m, addend, multiplier.latency + shifter.latency - 2, "addend")
        total = Signal(signed(19), reset_less=True)
        m.d.sync += total.eq(shifter.quotient + addend + shifter.half)

        # Saturation.
        outside = Signal()
        y = Signal(signed(16), reset_less=True)
        clipped = Signal(reset_less=True)
        m.d.comb += outside.eq(Mux(self.narrow, overflows(total, 8), overflows(total, 16)))
        m.d.sync += clipped.eq(outside & self.enable)
        with m.If(~self.enable):
            m.d.sync += y.eq(0)
        with m.Elif(self.narrow):
            m.d.sync += y.eq(saturate(total, 8, outside))
        with m.Else():
            m.d.sync += y.eq(saturate(total, 16, outside))
        m.d.comb += [self.y.eq(y), self.clipped.eq(clipped)]

        return m

    def _add_shift(self, m: Module) -> Signal:
        """Sum of the two shifts, clipped; two cycles after the inputs."""
        total = Signal(signed(9), reset_less=True)
        shift = Signal(range(SHIFT_LIMIT + 1), reset_less=True)
        m.d.sync += total.eq(self.lane.shift + self.row.shift)
        with m.If(total < 0):
            m.d.sync += shift.eq(0)
        with m.Elif(total > SHIFT_LIMIT):
            m.d.sync += shift.eq(SHIFT_LIMIT)
        with m.Else():
            m.d.sync += shift.eq(total)
        return shift

    def _add_addend(self, m: Module) -> Signal:
        """Bias and shifted residual; two cycles after the inputs."""
        doubled = Signal(signed(17), reset_less=True)
        bias = Signal(signed(16), reset_less=True)
        addend = Signal(signed(17), reset_less=True)
        m.d.sync += bias.eq(Mux(self.row_mode, self.row.bias, self.lane.bias))
        # From 16 places on nothing is left of a residual, not even by rounding.
        with m.If(self.residual_enable & ~self.r_shift[4]):
            m.d.sync += doubled.eq(Cat(Const(0, 1), self.residual).as_signed() >> self.r_shift[:4])
        with m.Else():
            m.d.sync += doubled.eq(0)
        m.d.sync += addend.eq(bias + (doubled >> 1) + doubled[0])
        return addend
