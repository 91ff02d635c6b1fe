"""Event counters, read by the host."""

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from celosia.isa import COUNTERS

__all__ = ["EVENT_BITS", "Counters"]

#: Bits of an event: what a counter rises by in one cycle.
EVENT_BITS = 7


class Counters(wiring.Component):
    """Counters of 32 bits that rise while the machine runs, and keep their values after it.

    Members
    -------
    clear, run : In(1)
        Start over; count.
    events : In(EVENT_BITS).array(len(COUNTERS))
        How much each counter rises by in this cycle, in the order of `isa.COUNTERS`.
    values : Out(32).array(len(COUNTERS))
        The counters; each is one cycle late.
    """

    events: list[Signal]
    values: list[Signal]

    def __init__(self) -> None:
        super().__init__({
            "clear": In(1),
            "run": In(1),
            "events": In(EVENT_BITS).array(len(COUNTERS)),
            "values": Out(32).array(len(COUNTERS)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        for name, event, value in zip(COUNTERS, self.events, self.values, strict=True):
            pending = Signal(EVENT_BITS, name=f"pending_{name}")
            m.d.sync += pending.eq(0)
            with m.If(self.run):
                m.d.sync += pending.eq(event)
            m.d.sync += value.eq(value + pending)
            with m.If(self.clear):
                m.d.sync += [pending.eq(0), value.eq(0)]
        return m
