"""Pipelined signed multiplier that a platform may build from its own cells."""

from amaranth import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Multiplier"]


class Multiplier(wiring.Component):
    """Signed product, with an operand that can be held.

    `product` is exact, `latency` cycles after its operands; one product per cycle. The three
    register stages are those that DSP blocks have inside: operands, product, output. The register
    of `b` is loaded in the cycles in which `b_enable` is set and keeps its value in the others, so
    that a stationary operand needs no register outside the block.

    Platform overrides
    ------------------
    Define the `get_multiplier(multiplier)` platform method to replace the plain logic by an
    elaboratable of the same registers that drives the members of `multiplier`.

    Parameters
    ----------
    a_width : int
        Width of the first operand.
    b_width : int
        Width of the second operand.

    Members
    -------
    a : In(signed(a_width))
        First operand, taken every cycle.
    b : In(signed(b_width))
        Second operand.
    b_enable : In(1)
        Take `b` in this cycle.
    product : Out(signed(a_width + b_width))
        Their product.
    """

    #: Cycles from operands to product.
    latency = 3

    a: Signal
    b: Signal
    b_enable: Signal
    product: Signal

    def __init__(self, a_width: int, b_width: int) -> None:
        for name, width in (("a_width", a_width), ("b_width", b_width)):
            if type(width) is not int:
                raise TypeError(f"Multiplier {name} must be an integer, not {width!r}")
            if width < 1:
                raise ValueError(f"Multiplier {name} must be positive, not {width}")
        self.a_width = a_width
        self.b_width = b_width
        super().__init__({
            "a": In(signed(a_width)),
            "b": In(signed(b_width)),
            "b_enable": In(1),
            "product": Out(signed(a_width + b_width)),
        })

    def elaborate(self, platform):
        if hasattr(platform, "get_multiplier"):
            return platform.get_multiplier(self)

        m = Module()

        # Stage 1: operands.
        a = Signal(signed(self.a_width), reset_less=True)
        b = Signal(signed(self.b_width), reset_less=True)
        m.d.sync += a.eq(self.a)
        with m.If(self.b_enable):
            m.d.sync += b.eq(self.b)

        # Stages 2 and 3: the product, twice registered.
        product = Signal(signed(self.a_width + self.b_width), reset_less=True)
        output = Signal.like(product)
        m.d.sync += [product.eq(a * b), output.eq(product)]
        m.d.comb += self.product.eq(output)

        return m
