"""Processing elements without a multiplier: ternary, int4 and FP4 weights by shifts and adds.

A product is formed by carry chains, whose cells hold the gates, multiplexers and signs before them
(`FoldedAdder`). A weight is recoded once for its row into what controls these.
"""

from amaranth import Array, Cat, Const, Module, Shape, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from celosia.cores.arith import delayed
from celosia.cores.folded_adder import FoldedAdder
from celosia.cores.pe import ACTIVATION_BITS

__all__ = ["Fp4Element", "Int4Element", "ShiftAddElement", "TernaryElement"]


class ShiftAddElement(wiring.Component):
    """Adds the product of an activation and its own weight of few bits to a passing sum.

    The contract is that of `celosia.cores.pe.ProcessingElement`. A kind says how a weight is
    recoded, what passes along a row, and how the product's magnitude is formed.

    Parameters
    ----------
    addend_width, sum_width : int
        Widths of the sums that come in and go out.

    Members
    -------
    activation, passed : In(signed(stream_bits)), Out(signed(stream_bits))
        The streamed operand as `prepare` makes it, and the same one cycle later.
    swap, swap_passed : In(1), Out(1)
        Put the shadow weight in use, from this activation on.
    weight : In(code_bits)
        The next shadow weight as `recode` makes it.
    weight_enable : In(1)
        Take it.
    addend : In(signed(addend_width))
        Sum of the rows above.
    sum : Out(signed(sum_width))
        Sum for the row below.
    """

    weight_shape: Shape
    modes = 1
    products: tuple[tuple[int, int], ...]
    latency: int
    foot = None
    #: Bits of a recoded weight, and of what passes along a row.
    code_bits: int
    stream_bits = ACTIVATION_BITS

    activation: Signal
    swap: Signal
    passed: Signal
    swap_passed: Signal
    weight: Signal
    weight_enable: Signal
    addend: Signal
    sum: Signal

    def __init__(self, addend_width: int, sum_width: int) -> None:
        self.addend_width = addend_width
        self.sum_width = sum_width
        super().__init__({
            "activation": In(signed(self.stream_bits)),
            "swap": In(1),
            "passed": Out(signed(self.stream_bits)),
            "swap_passed": Out(1),
            "weight": In(self.code_bits),
            "weight_enable": In(1),
            "addend": In(signed(addend_width)),
            "sum": Out(signed(sum_width)),
        })

    @staticmethod
    def recode(weight: Value, mode: Value | None) -> Value:
        """Return a weight as it is kept; logic of a row, shared by its columns."""
        raise NotImplementedError

    @staticmethod
    def prepare(activation: Value) -> Value:
        """Return an activation as it is passed on; logic of a row, shared by its columns."""
        return activation

    @property
    def addends(self) -> tuple[Signal, ...]:
        """The sums that come in."""
        return (self.addend,)

    @property
    def sums(self) -> tuple[Signal, ...]:
        """The sums that go out."""
        return (self.sum,)

    def magnitude(self, m: Module, stream: Signal, code: Signal) -> tuple[Value, Value, Value]:
        """Form the product without its sign, in `latency` - 2 cycles.

        Parameters
        ----------
        m : Module
            Where to form it.
        stream, code : Signal
            Registers of the streamed operand and the recoded weight in use.

        Returns
        -------
        magnitude, nonzero, negative
            Signed; whether it counts; whether it is subtracted.
        """
        raise NotImplementedError

    def elaborate(self, platform) -> Module:
        m = Module()
        passed = Signal(signed(self.stream_bits), reset_less=True)
        shadow = Signal(self.code_bits, reset_less=True)
        active = Signal(self.code_bits, reset_less=True)
        m.d.sync += [passed.eq(self.activation), self.swap_passed.eq(self.swap)]
        m.d.comb += self.passed.eq(passed)
        with m.If(self.weight_enable):
            m.d.sync += shadow.eq(self.weight)
        with m.If(self.swap):
            m.d.sync += active.eq(shadow)

        magnitude, nonzero, negative = self.magnitude(m, passed, active)
        sign = Signal()
        m.d.comb += sign.eq(negative)
        total = Signal(signed(self.sum_width), reset_less=True)
        m.submodules.accumulate = adder = FoldedAdder(
            self.sum_width,
            lambda a, b: a,
            lambda b, c, d: c & (b ^ d),
            carry=True,
        )
        m.d.comb += [
            adder.a.eq(self.addend),
            adder.b.eq(magnitude),
            adder.c.eq(nonzero.replicate(self.sum_width)),
            adder.d.eq(sign.replicate(self.sum_width)),
            adder.carry.eq(sign),
            self.sum.eq(total),
        ]
        m.d.sync += total.eq(adder.sum)
        return m


class TernaryElement(ShiftAddElement):
    """Weights -1, 0, 1 of two bits: a bit that is 0 for 0, and a sign.

    In two's complement -1, 0 and 1 are such. The fourth code counts as 0.
    """

    weight_shape = unsigned(2)
    products = ((-255, 255),)
    latency = 2
    code_bits = 2

    @staticmethod
    def recode(weight: Value, mode: Value | None) -> Value:
        """Return nonzero, negative."""
        return Cat(weight[0], weight[0] & weight[1])

    def magnitude(self, m: Module, stream: Signal, code: Signal) -> tuple[Value, Value, Value]:
        """Take the activation itself."""
        return stream, code[0], code[1]


def _lookup(weight: Value, codes: list[int], width: int) -> Value:
    return Array([Const(code, width) for code in codes])[weight]


class Int4Element(ShiftAddElement):
    """Weights of two's complement, -8 to 7.

    The magnitude n of a weight is `2·(b + 2c) + (1 if odd else 2)`, from 1 to 8; 0 is left out of
    the sum. So two chains form n times the activation, and a third one adds it or subtracts it.
    """

    weight_shape = unsigned(4)
    products = ((-8 * 255, 8 * 255),)
    latency = 4
    code_bits = 5

    @staticmethod
    def recode(weight: Value, mode: Value | None) -> Value:
        """Return b, c, odd, nonzero, negative."""
        codes = []
        for word in range(16):
            value = word - 16 if word >= 8 else word
            rest = (abs(value) - 1) >> 1 if value else 0
            codes.append(rest | (value & 1) << 2 | (value != 0) << 3 | (value < 0) << 4)
        return _lookup(weight, codes, 5)

    def magnitude(self, m: Module, stream: Signal, code: Signal) -> tuple[Value, Value, Value]:
        """Form `b·a + c·2a`, then twice that plus `a` or `2a`."""
        width = ACTIVATION_BITS + 2
        m.submodules.multiple = multiple = FoldedAdder(
            width, lambda a, b: a & b, lambda b, c, d: c & d
        )
        halves = Signal(signed(width), reset_less=True)
        m.d.comb += [
            multiple.a.eq(stream),
            multiple.b.eq(code[0].replicate(width)),
            multiple.c.eq(stream << 1),
            multiple.d.eq(code[1].replicate(width)),
        ]
        m.d.sync += halves.eq(multiple.sum)

        activation = delayed(m, stream, 1, "activation")
        odd, nonzero, negative = (
            delayed(m, code[bit], cycles, name)
            for bit, cycles, name in ((2, 1, "odd"), (3, 2, "nonzero"), (4, 2, "negative"))
        )
        # The lowest bit has one term only, and needs no chain.
        m.submodules.parity = parity = FoldedAdder(
            width, lambda a, b: a, lambda b, c, d: (d & b) | (~d & c)
        )
        whole = Signal(signed(width + 1), reset_less=True)
        m.d.comb += [
            parity.a.eq(halves),
            parity.b.eq(activation >> 1),
            parity.c.eq(activation),
            parity.d.eq(odd.replicate(width)),
        ]
        m.d.sync += whole.eq(Cat(activation[0] & odd, parity.sum))
        return whole, nonzero, negative


class Fp4Element(ShiftAddElement):
    """Weights of FP4 (E2M1): twice the value is 0, 1, 2, 3, 4, 6, 8 or 12, with a sign.

    Each of these is `x + 8y + 3z` but for its sign, with x and y 0 or 1 and z -1, 0 or 1. The row
    forms three times the activation once, and passes both on.
    """

    weight_shape = unsigned(4)
    products = ((-12 * 255, 12 * 255),)
    latency = 4
    code_bits = 5
    stream_bits = 2 * ACTIVATION_BITS + 2

    @staticmethod
    def recode(weight: Value, mode: Value | None) -> Value:
        """Return x, y, z is not 0, z is negative, the product is negative."""
        # x, y, z and sign of 0, 1, 2 = -(1 - 3), 3, 4 = 1 + 3, 6 = 1 + 8 - 3, 8, 12.
        parts = [
            (0, 0, 0, 0),
            (1, 0, 0, 0),
            (1, 0, -1, 1),
            (0, 0, 1, 0),
            (1, 0, 1, 0),
            (1, 1, -1, 0),
            (0, 1, 0, 0),
            (1, 1, 1, 0),
        ]
        codes = [
            x | y << 1 | (z != 0) << 2 | (z < 0) << 3 | (sign ^ negative) << 4
            for negative in (0, 1)
            for x, y, z, sign in parts
        ]
        return _lookup(weight, codes, 5)

    @staticmethod
    def prepare(activation: Value) -> Value:
        """Return the activation and three times it."""
        triple = activation + (activation << 1)
        return Cat(activation, triple[: ACTIVATION_BITS + 2])

    def magnitude(self, m: Module, stream: Signal, code: Signal) -> tuple[Value, Value, Value]:
        """Form `x·a + y·8a`, then add `3a` or subtract it."""
        activation = stream[:ACTIVATION_BITS].as_signed()
        triple = delayed(m, stream[ACTIVATION_BITS:].as_signed(), 1, "triple")
        # 9 times an activation; at most 12 times it, once three times has been added.
        width = ACTIVATION_BITS + 4
        m.submodules.multiple = multiple = FoldedAdder(
            width, lambda a, b: a & b, lambda b, c, d: c & d
        )
        part = Signal(signed(width), reset_less=True)
        m.d.comb += [
            multiple.a.eq(activation),
            multiple.b.eq(code[0].replicate(width)),
            multiple.c.eq(activation << 3),
            multiple.d.eq(code[1].replicate(width)),
        ]
        m.d.sync += part.eq(multiple.sum)

        used, minus, negative = (
            delayed(m, code[bit], cycles, name)
            for bit, cycles, name in ((2, 1, "used"), (3, 1, "minus"), (4, 2, "negative"))
        )
        m.submodules.threes = threes = FoldedAdder(
            width, lambda a, b: a, lambda b, c, d: c & (b ^ d), carry=True
        )
        whole = Signal(signed(width), reset_less=True)
        m.d.comb += [
            threes.a.eq(part),
            threes.b.eq(triple),
            threes.c.eq(used.replicate(width)),
            threes.d.eq(minus.replicate(width)),
            threes.carry.eq(minus),
        ]
        m.d.sync += whole.eq(threes.sum)
        return whole, Const(1, 1), negative
