"""Multiplier of shifts and adds, where multiplier blocks are scarce."""

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ShiftAddMultiplier"]


class ShiftAddMultiplier(wiring.Component):
    """Product of a signed and a short unsigned number, without a multiplier block.

    The first operand, shifted to each set bit of the second, is summed by a tree with a register
    at each level: `product` is exact, `latency` = ceil(log2(b_width)) cycles after its operands;
    one product per cycle.

    Parameters
    ----------
    a_width : int
        Width of the signed operand.
    b_width : int
        Width of the unsigned operand, at least 2.

    Members
    -------
    a : In(signed(a_width))
        Signed operand.
    b : In(b_width)
        Unsigned operand.
    product : Out(signed(a_width + b_width))
        Their product.
    """

    a: Signal
    b: Signal
    product: Signal

    def __init__(self, a_width: int, b_width: int) -> None:
        if b_width < 2:
            raise ValueError(f"ShiftAddMultiplier b_width must be at least 2, not {b_width}")
        self.latency = self.cycles(b_width)
        super().__init__({
            "a": In(signed(a_width)),
            "b": In(b_width),
            "product": Out(signed(a_width + b_width)),
        })

    @staticmethod
    def cycles(b_width: int) -> int:
        """Return the latency with a second operand of that width."""
        return (b_width - 1).bit_length()

    def elaborate(self, platform) -> Module:
        m = Module()
        # Each term is a value and the place of its lowest bit.
        terms = [(Mux(bit, self.a, 0), place) for place, bit in enumerate(self.b)]
        for level in range(self.latency):
            pairs = list(zip(terms[::2], terms[1::2], strict=False))
            sums = [(low + (high << (up - down)), down) for (low, down), (high, up) in pairs]
            sums += terms[len(pairs) * 2 :]
            terms = []
            for index, (value, place) in enumerate(sums):
                register = Signal(value.shape(), name=f"sum_{level}_{index}", reset_less=True)
                m.d.sync += register.eq(value)
                terms.append((register, place))
        m.d.comb += self.product.eq(terms[0][0])
        return m
