"""Pipelined reciprocal of a normalised number."""

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from celosia.cores.arith import delayed

__all__ = ["PipelinedReciprocal"]


class PipelinedReciprocal(wiring.Component):
    """Exact quotient of `2^(2·width - 1) - 1` by a divisor whose top bit is set.

    Restoring division. `quotient` follows its divisor by `latency` cycles; one per cycle, no
    stalls. Its top bit is always set, so that quotient and divisor have the same width.

    Parameters
    ----------
    width : int
        Bits of divisor and quotient; at least 2.
    bits_per_stage : int
        Quotient bits found between two registers. More of them make the pipeline shorter and
        slower.

    Members
    -------
    divisor : In(width)
        What to divide by; bit `width - 1` must be 1.
    quotient : Out(width)
        `(2^(2·width - 1) - 1) // divisor`.
    """

    divisor: Signal
    quotient: Signal

    def __init__(self, width: int, *, bits_per_stage: int = 1) -> None:
        for name, value, least in (("width", width, 2), ("bits_per_stage", bits_per_stage, 1)):
            if type(value) is not int:
                raise TypeError(f"PipelinedReciprocal {name} must be an integer, not {value!r}")
            if value < least:
                raise ValueError(
                    f"PipelinedReciprocal {name} must be at least {least}, not {value}"
                )
        self.width = width
        self.bits_per_stage = bits_per_stage
        super().__init__({"divisor": In(width), "quotient": Out(width)})

    @property
    def latency(self) -> int:
        """Cycles from divisor to quotient."""
        return -(-(self.width - 1) // self.bits_per_stage)

    def elaborate(self, platform) -> Module:
        m = Module()

        # The dividend's upper half is all ones, so the first quotient bit is 1 and what it leaves
        # is the divisor's complement; for each of the other bits another one is brought down.
        divisor, quotient = self.divisor, Const(1, 1)
        remainder: Value = ~self.divisor[:-1]
        for stage in range(self.latency):
            for bit in range(min(self.bits_per_stage, self.width - len(quotient))):
                name = f"{stage}_{bit}"
                brought = Signal(self.width + 1, name=f"brought_{name}")
                difference = Signal(self.width + 1, name=f"difference_{name}")
                fits = Signal(name=f"fits_{name}")
                m.d.comb += [
                    brought.eq(Cat(Const(1, 1), remainder)),
                    difference.eq(brought - divisor),
                    fits.eq(~difference[-1]),
                ]
                remainder = Mux(fits, difference[:-1], brought[:-1])
                quotient = Cat(fits, quotient)

            divisor = delayed(m, divisor, 1, f"divisor_{stage}")
            remainder = delayed(m, remainder, 1, f"remainder_{stage}")
            quotient = delayed(m, quotient, 1, f"quotient_{stage}")

        m.d.comb += self.quotient.eq(quotient)

        return m
