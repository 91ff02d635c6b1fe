"""Processing element of shifts and adds for weights of 8, 4 or 2 bits, switched tile by tile.

The weight is a byte: one int8, two int4 or four int2, -2 to 1 (so also ternary weights). In each
case it is four digits to the base 4, from -2 to 2 (Booth's recoding): those of an int8 weigh 64,
16, 4 and 1, those of an int4 4 and 1, and an int2 is a digit by itself. An element adds the product
with each digit to a sum of its own, whatever the mode; what the digits weigh is left to the foot of
the column, which joins its four sums once all rows are in them.
"""

from amaranth import Cat, Module, Mux, Shape, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from celosia.cores.arith import delayed
from celosia.cores.folded_adder import FoldedAdder
from celosia.cores.pe import ACTIVATION_BITS

__all__ = ["DigitFoot", "SwitchableElement"]

DIGITS = 4
MODES = 3


class DigitFoot(wiring.Component):
    """Joins the four sums of a column of `SwitchableElement` to one, two or four results.

    `results` come `latency` cycles after their `sums` and their `mode`; one set a cycle. In mode 0
    only the first has a meaning, in mode 1 the first two.

    Parameters
    ----------
    *widths : int
        Widths of the four sums, then of the results.

    Members
    -------
    mode : In(range(3))
        How the weights in use were read.
    sum_0, ... sum_3 : In(signed(widths[:4]))
        Sums of the products with the digits.
    result_0, ... result_3 : Out(signed(widths[4:]))
        Sums of the products with the weights.
    """

    latency = 2

    mode: Signal

    def __init__(self, *widths: int) -> None:
        super().__init__({
            "mode": In(range(MODES)),
            **{f"sum_{n}": In(signed(width)) for n, width in enumerate(widths[:DIGITS])},
            **{f"result_{n}": Out(signed(width)) for n, width in enumerate(widths[DIGITS:])},
        })

    @property
    def sums(self) -> tuple[Signal, ...]:
        """The sums that come in."""
        return tuple(getattr(self, f"sum_{n}") for n in range(DIGITS))

    @property
    def results(self) -> tuple[Signal, ...]:
        """The results."""
        return tuple(getattr(self, f"result_{n}") for n in range(DIGITS))

    def elaborate(self, platform) -> Module:
        m = Module()
        separate, all_four = Signal(reset_less=True), Signal(reset_less=True)
        m.d.sync += [separate.eq(self.mode == 2), all_four.eq(self.mode == 0)]
        # First digits join to an int4, or stay as they are, then two of these to an int8.
        low, high = (
            _joined(m, f"pair_{n}", self.sums[n], self.sums[n + 1], 2, self.mode != 2)
            for n in (0, 2)
        )
        second, fourth = (delayed(m, self.sums[n], 1, f"sum_{n}") for n in (1, 3))
        m.d.comb += self.results[0].eq(_joined(m, "whole", low, high, 4, all_four))
        for n, value in enumerate((Mux(separate, second, high), high, fourth), 1):
            register = Signal.like(self.results[n], name=f"register_{n}", reset_less=True)
            m.d.sync += register.eq(value)
            m.d.comb += self.results[n].eq(register)
        return m


class SwitchableElement(wiring.Component):
    """Adds the products of an activation and the four digits of its own weight to passing sums.

    The contract is that of `celosia.cores.pe.ProcessingElement`, with four sums; `DigitFoot` makes
    results of them.

    Parameters
    ----------
    *widths : int
        Widths of the four sums that come in, then of those that go out.

    Members
    -------
    activation, passed : In(signed(9)), Out(signed(9))
        The streamed operand, and the same one cycle later.
    swap, swap_passed : In(1), Out(1)
        Put the shadow weight in use, from this activation on.
    weight : In(12)
        The next shadow weight as `recode` makes it.
    weight_enable : In(1)
        Take it.
    addend_0, ... addend_3 : In(signed(widths[:4]))
        Sums of the rows above.
    sum_0, ... sum_3 : Out(signed(widths[4:]))
        Sums for the row below.
    """

    weight_shape: Shape = unsigned(8)
    modes = MODES
    products = ((-255 * 128, 255 * 127), (-255 * 8, 255 * 7), (-255 * 2, 256), (-255 * 2, 256))
    partials = ((-255 * 2, 255 * 2),) * DIGITS
    foot = DigitFoot
    latency = 3
    code_bits = 3 * DIGITS

    activation: Signal
    swap: Signal
    passed: Signal
    swap_passed: Signal
    weight: Signal
    weight_enable: Signal

    def __init__(self, *widths: int) -> None:
        addends, sums = widths[:DIGITS], widths[DIGITS:]
        super().__init__({
            "activation": In(signed(ACTIVATION_BITS)),
            "swap": In(1),
            "passed": Out(signed(ACTIVATION_BITS)),
            "swap_passed": Out(1),
            "weight": In(self.code_bits),
            "weight_enable": In(1),
            **{f"addend_{n}": In(signed(width)) for n, width in enumerate(addends)},
            **{f"sum_{n}": Out(signed(width)) for n, width in enumerate(sums)},
        })

    @staticmethod
    def recode(weight: Value, mode: Value | None) -> Value:
        """Return of each digit whether it is 2 or -2, is not 0, is negative; logic of a row."""
        assert mode is not None
        # A digit takes in the bit below it, unless another weight ends there.
        joined = (0, mode != 2, mode == 0, mode != 2)
        codes = []
        for digit, below in enumerate(joined):
            low, high = weight[2 * digit], weight[2 * digit + 1]
            carry = below & weight[2 * digit - 1] if digit else 0
            two = ~(low ^ carry)
            codes += [two, ~(two & (low ^ ~high)), high]
        return Cat(*codes)

    @staticmethod
    def prepare(activation: Value) -> Value:
        """Return an activation as it is passed on: as it is."""
        return activation

    @property
    def addends(self) -> tuple[Signal, ...]:
        """The sums that come in."""
        return tuple(getattr(self, f"addend_{n}") for n in range(DIGITS))

    @property
    def sums(self) -> tuple[Signal, ...]:
        """The sums that go out."""
        return tuple(getattr(self, f"sum_{n}") for n in range(DIGITS))

    def elaborate(self, platform) -> Module:
        m = Module()
        passed = Signal(signed(ACTIVATION_BITS), reset_less=True)
        shadow = Signal(self.code_bits, reset_less=True)
        active = Signal(self.code_bits, reset_less=True)
        m.d.sync += [passed.eq(self.activation), self.swap_passed.eq(self.swap)]
        m.d.comb += self.passed.eq(passed)
        with m.If(self.weight_enable):
            m.d.sync += shadow.eq(self.weight)
        with m.If(self.swap):
            m.d.sync += active.eq(shadow)

        for n, (addend, total) in enumerate(zip(self.addends, self.sums, strict=True)):
            two, nonzero, negative = active[3 * n : 3 * n + 3]
            # One LUT for each bit; the sign is left to the adder.
            width = ACTIVATION_BITS + 1
            magnitude = Signal(signed(width), name=f"magnitude_{n}", reset_less=True)
            chosen = Mux(two, passed << 1, passed) & nonzero.replicate(width).as_signed()
            m.d.sync += magnitude.eq(chosen)
            sign = delayed(m, negative, 1, f"sign_{n}")

            m.submodules[f"accumulate_{n}"] = adder = FoldedAdder(
                len(total), lambda a, b: a, lambda b, c, d: c & (b ^ d), carry=True
            )
            register = Signal.like(total, name=f"total_{n}", reset_less=True)
            m.d.comb += [
                adder.a.eq(addend),
                adder.b.eq(magnitude),
                adder.c.eq(-1),
                adder.d.eq(sign.replicate(len(total))),
                adder.carry.eq(sign),
                total.eq(register),
            ]
            m.d.sync += register.eq(adder.sum)
        return m


def _joined(m: Module, name: str, low: Value, high: Value, shift: int, fuse: Value) -> Value:
    """Return `low`, and if `fuse` is set `high << shift` added to it, a cycle later."""
    width = max(len(low), len(high) + shift) + 1
    m.submodules[f"add_{name}"] = adder = FoldedAdder(
        width - shift, lambda a, b: a, lambda b, c, d: c & b
    )
    total = Signal(signed(width), name=name, reset_less=True)
    m.d.comb += [
        adder.a.eq(low >> shift),
        adder.b.eq(high),
        adder.c.eq(fuse.replicate(width - shift)),
        adder.d.eq(-1),
    ]
    m.d.sync += total.eq(Cat(low[:shift], adder.sum))
    return total
