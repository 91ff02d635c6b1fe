"""One lane of the requantiser: scale, offset, saturation."""

from amaranth import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from celosia.cores.arith import delayed, overflows, saturate
from celosia.cores.requant_scale import SHIFT_LIMIT, RoundingShifter, ScaleMultiplier

__all__ = ["RequantiserLane", "Scale"]


class Scale(data.Struct):
    """Scale and offset of one channel: `rnd(acc * multiplier, shift) + bias`."""

    multiplier: 15
    shift: signed(8)
    bias: signed(16)


class RequantiserLane(wiring.Component):
    """One lane: `y = sat(rnd(acc * multiplier, shift) + bias + rnd(residual, r_shift))`.

    `shift = clip(lane.shift + row.shift - exponent, 0, 47)`; `multiplier` and `bias` are the row's
    if `row_mode` is set, else the lane's. All inputs but `narrow` and `enable` are taken in the
    same cycle; `y` and `clipped` come `latency` cycles later. `narrow` and `enable` are taken
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
    exponent : In(4)
        Exponent of the stationary row.
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
    exponent: Signal
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
            "exponent": In(4),
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
        """Sum of the two shifts less the exponent, clipped; two cycles after the inputs."""
        total = Signal(signed(10), reset_less=True)
        shift = Signal(range(SHIFT_LIMIT + 1), reset_less=True)
        m.d.sync += total.eq(self.lane.shift + self.row.shift - self.exponent)
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
