"""Contracts that `harness.prove` checks on components with streams."""

from amaranth import Elaboratable, Module, Signal
from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Assume, Cover

__all__ = ["KeepsStreamRules", "drive", "holds"]


def holds(m: Module, port, check, *, name: str) -> None:
    """Apply `check` to the rule that a stalled stream keeps `valid` and its payload."""
    payload = port.payload.as_value() if hasattr(port.payload, "as_value") else port.payload
    stalled = Signal(name=f"{name}_stalled")
    before = Signal(len(payload), name=f"{name}_before")
    m.d.sync += [stalled.eq(port.valid & ~port.ready), before.eq(payload)]
    with m.If(stalled):
        m.d.comb += [check(port.valid), check(payload.as_unsigned() == before)]


def drive(m: Module, signal) -> None:
    """Let the solver choose `signal` in every cycle."""
    value = signal.as_value() if hasattr(signal, "as_value") else signal
    m.d.comb += value.eq(AnySeq(len(value)))


class KeepsStreamRules(Elaboratable):
    """A component with streams `i` and `o` that takes and gives as many items.

    `capacity` is the most items it can hold. With `prompt`, an item held is offered at once:
    `o.valid` is high whenever anything is inside.
    """

    def __init__(self, dut, *, capacity: int, prompt: bool = True) -> None:
        self.dut = dut
        self.capacity = capacity
        self.prompt = prompt

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut

        for signal in (dut.i.valid, dut.i.payload, dut.o.ready):
            drive(m, signal)
        holds(m, dut.i, Assume, name="i")
        holds(m, dut.o, Assert, name="o")

        held = Signal(range(self.capacity + 2))
        taken = dut.i.valid & dut.i.ready
        given = dut.o.valid & dut.o.ready
        m.d.sync += held.eq(held + taken - given)
        m.d.comb += Assert(held <= self.capacity)
        if self.prompt:
            m.d.comb += Assert((held != 0) == dut.o.valid)
        else:
            m.d.comb += Assert((held != 0) | ~dut.o.valid)
        m.d.comb += Cover(dut.o.valid & ~dut.o.ready & dut.i.valid)
        return m
