"""Processing element of the weight-stationary array."""

from amaranth import Module, Shape, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from celosia.cores.multiply import Multiplier

__all__ = ["ACTIVATION_BITS", "ProcessingElement"]

#: Bits of a signed activation: it may be an int8, or a probability of 8 bits without sign.
ACTIVATION_BITS = 9


class ProcessingElement(wiring.Component):
    """Adds the product of an activation of 9 bits and its own int8 weight to a passing sum.

    This is the kind `multiply`; `celosia.cores.pe_kinds` says what all kinds have in common.

    Two weights are kept. The shadow weight is written at any time; the active one, which is the
    operand register inside the multiplier, takes its value together with the activation that has
    `swap` set, and that activation is the first to see it. A shadow weight written in the same
    cycle as a swap comes into use at the next swap.

    `passed` and `swap_passed` repeat the activation one cycle later. `sum` is `addend` plus the
    product, where `addend` belongs to the activation of `Multiplier.latency` cycles before; so
    the sum comes `latency` cycles after the activation. One activation per cycle, no stall.

    Parameters
    ----------
    addend_width : int
        Width of the sum that comes in.
    sum_width : int
        Width of the sum that goes out; it must hold every value.

    Members
    -------
    activation : In(signed(9))
        The streamed operand.
    swap : In(1)
        Put the shadow weight in use, from this activation on.
    passed, swap_passed : Out(signed(9)), Out(1)
        The two for the next column.
    weight : In(signed(8))
        The next shadow weight.
    weight_enable : In(1)
        Take it.
    addend : In(signed(addend_width))
        Sum of the rows above.
    sum : Out(signed(sum_width))
        Sum for the row below.
    """

    #: Shape of a weight as it is loaded.
    weight_shape: Shape = signed(8)
    #: Ways to read a weight, chosen for each tile.
    modes = 1
    #: Of each result, the range of one product with activations from -128 to 255.
    products = ((-255 * 128, 255 * 127),)
    #: Cycles from activation to sum.
    latency = Multiplier.latency + 1
    foot = None

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
            "activation": In(signed(ACTIVATION_BITS)),
            "swap": In(1),
            "passed": Out(signed(ACTIVATION_BITS)),
            "swap_passed": Out(1),
            "weight": In(signed(8)),
            "weight_enable": In(1),
            "addend": In(signed(addend_width)),
            "sum": Out(signed(sum_width)),
        })

    @staticmethod
    def recode(weight: Value, mode: Value | None) -> Value:
        """Return a weight as it is kept; logic of a row, shared by its columns."""
        return weight

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

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.multiplier = multiplier = Multiplier(ACTIVATION_BITS, 8)

        passed = Signal(signed(ACTIVATION_BITS), reset_less=True)
        # A swap that a reset leaves under way does no harm: the first row behind it swaps again.
        swap_passed = Signal(reset_less=True)
        m.d.sync += [passed.eq(self.activation), swap_passed.eq(self.swap)]
        m.d.comb += [self.passed.eq(passed), self.swap_passed.eq(swap_passed)]

        shadow = Signal(signed(8), reset_less=True)
        with m.If(self.weight_enable):
            m.d.sync += shadow.eq(self.weight)

        m.d.comb += [
            multiplier.a.eq(self.activation),
            multiplier.b.eq(shadow),
            multiplier.b_enable.eq(self.swap),
        ]

        total = Signal(signed(self.sum_width), reset_less=True)
        m.d.sync += total.eq(self.addend + multiplier.product)
        m.d.comb += self.sum.eq(total)

        return m
