"""Processing element that packs two products of 4-bit weights into one multiplier of 18 bits."""

from amaranth import Cat, Const, Module, Mux, Shape, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from celosia.cores.arith import delayed
from celosia.cores.folded_adder import FoldedAdder
from celosia.cores.multiply import Multiplier
from celosia.cores.pe import ACTIVATION_BITS

__all__ = ["PackedElement"]

#: The second weight of a pair counts 2^13: an activation, up to 255, times 12 has 13 bits.
SEPARATION = 13
#: Bits of the second weight, less one if the first is negative.
UPPER = 5
OPERAND = SEPARATION + UPPER
#: Twice the values of FP4 (E2M1), by code word.
FP4 = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)


class PackedElement(wiring.Component):
    """One product with an int8 weight, or two with a pair of 4-bit weights, added to passing sums.

    A weight is a byte. In mode 0 it is an int8, and its product goes to the low sum; the high sum
    has no meaning. In mode 1 it is two int4, in mode 2 two FP4 that count as twice their value, the
    first one in the low half; the multiplier gets `w0 + 2^13·w1`. The product's lower 13 bits are
    then the first product, and those above, plus one if it is negative, the second:
    `a·w1 = (a·(w0 + 2^13·w1) - a·w0) / 2^13`.

    The contract is that of `celosia.cores.pe.ProcessingElement`, with two sums.

    Parameters
    ----------
    low_addend, high_addend, low_sum, high_sum : int
        Widths of the sums that come in and go out.

    Members
    -------
    activation, passed : In(signed(9)), Out(signed(9))
        The streamed operand, and the same one cycle later.
    swap, swap_passed : In(1), Out(1)
        Put the shadow weight in use, from this activation on.
    weight : In(14)
        The next shadow weight as `recode` makes it.
    weight_enable : In(1)
        Take it.
    addend_low, addend_high : In(signed(low_addend)), In(signed(high_addend))
        Sums of the rows above.
    sum_low, sum_high : Out(signed(low_sum)), Out(signed(high_sum))
        Sums for the row below.
    """

    weight_shape: Shape = unsigned(8)
    modes = 3
    products = ((-255 * 128, 255 * 127), (-255 * 12, 255 * 12))
    latency = Multiplier.latency + 1
    foot = None
    code_bits = 8 + UPPER + 1

    activation: Signal
    swap: Signal
    passed: Signal
    swap_passed: Signal
    weight: Signal
    weight_enable: Signal
    addend_low: Signal
    addend_high: Signal
    sum_low: Signal
    sum_high: Signal

    def __init__(self, low_addend: int, high_addend: int, low_sum: int, high_sum: int) -> None:
        self.widths = low_sum, high_sum
        super().__init__({
            "activation": In(signed(ACTIVATION_BITS)),
            "swap": In(1),
            "passed": Out(signed(ACTIVATION_BITS)),
            "swap_passed": Out(1),
            "weight": In(self.code_bits),
            "weight_enable": In(1),
            "addend_low": In(signed(low_addend)),
            "addend_high": In(signed(high_addend)),
            "sum_low": Out(signed(low_sum)),
            "sum_high": Out(signed(high_sum)),
        })

    @staticmethod
    def recode(weight: Value, mode: Value | None) -> Value:
        """Return the low byte, the upper bits and whether they are a pair; logic of a row."""
        assert mode is not None
        pair = mode != 0
        first, second = (_nibble(word, mode[1]) for word in (weight[:4], weight[4:]))
        upper = (second.as_signed() + first[-1].replicate(UPPER).as_signed())[:UPPER]
        low = Mux(pair, Cat(first, first[-1].replicate(3)), weight)
        return Cat(low, Mux(pair, upper, weight[-1].replicate(UPPER)), pair)

    @staticmethod
    def prepare(activation: Value) -> Value:
        """Return an activation as it is passed on: as it is."""
        return activation

    @property
    def addends(self) -> tuple[Signal, ...]:
        """The sums that come in."""
        return (self.addend_low, self.addend_high)

    @property
    def sums(self) -> tuple[Signal, ...]:
        """The sums that go out."""
        return (self.sum_low, self.sum_high)

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.multiplier = multiplier = Multiplier(ACTIVATION_BITS, OPERAND)

        passed = Signal(signed(ACTIVATION_BITS), reset_less=True)
        shadow = Signal(self.code_bits, reset_less=True)
        pair = Signal(reset_less=True)
        m.d.sync += [passed.eq(self.activation), self.swap_passed.eq(self.swap)]
        m.d.comb += self.passed.eq(passed)
        with m.If(self.weight_enable):
            m.d.sync += shadow.eq(self.weight)
        with m.If(self.swap):
            m.d.sync += pair.eq(shadow[-1])
        between = shadow[7].replicate(SEPARATION - 8)
        m.d.comb += [
            multiplier.a.eq(self.activation),
            multiplier.b.eq(Cat(shadow[:8], between, shadow[8:-1])),
            multiplier.b_enable.eq(self.swap),
        ]

        pair = delayed(m, pair, Multiplier.latency - 1, "pair")
        product = multiplier.product
        sign = product[SEPARATION - 1]
        low, high = self.widths
        # The first product of a pair ends below the second: its sign is put above it.
        m.submodules.low = adder = FoldedAdder(
            low, lambda a, b: a, lambda b, c, d: (c & b) | (~c & d)
        )
        single = (~pair).replicate(low - SEPARATION)
        m.d.comb += [
            adder.a.eq(self.addend_low),
            adder.b.eq(product[: ACTIVATION_BITS + 8].as_signed()),
            adder.c.eq(Cat(Const((1 << SEPARATION) - 1, SEPARATION), single)),
            adder.d.eq(sign.replicate(low)),
        ]
        m.submodules.high = upper = FoldedAdder(
            high, lambda a, b: a, lambda b, c, d: c & b, carry=True
        )
        m.d.comb += [
            upper.a.eq(self.addend_high),
            upper.b.eq(product[SEPARATION:].as_signed()),
            upper.c.eq((1 << high) - 1),
            upper.d.eq((1 << high) - 1),
            upper.carry.eq(sign),
        ]
        for total, value in ((self.sum_low, adder.sum), (self.sum_high, upper.sum)):
            register = Signal.like(total, name=f"{total.name}_register", reset_less=True)
            m.d.sync += register.eq(value)
            m.d.comb += total.eq(register)
        return m


def _nibble(word: Value, fp4: Value) -> Value:
    """Return 5 bits: the integer that 4 bits stand for, int4 or FP4; a table of 32 by bit."""
    values = [value - 16 * (value >> 3) for value in range(16)] + list(FP4)
    tables = [sum((value >> bit & 1) << i for i, value in enumerate(values)) for bit in range(5)]
    return Cat(Const(table, 32).bit_select(Cat(word, fp4), 1) for table in tables)
