"""Event counters, read by the host."""

from amaranth import Array, Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from celosia.isa import COUNTERS

__all__ = ["EVENTS", "CounterRead", "Counters"]

#: How much each counter rises by in one cycle.
EVENTS = data.StructLayout({name: 7 if name == "saturations" else 1 for name in COUNTERS})


class CounterRead(wiring.Signature):
    """How a counter is read, as seen by the reader.

    Members
    -------
    index : Out(range(len(COUNTERS)))
        Which one, in the order of `isa.COUNTERS`; held until it is found.
    found : In(1)
        `value` is that of the counter asked for in the cycle before.
    value : In(32)
        Its value.
    """

    def __init__(self) -> None:
        super().__init__({
            "index": Out(range(len(COUNTERS))),
            "found": In(1),
            "value": In(32),
        })


class Counters(wiring.Component):
    """Counters of 32 bits that rise while the machine runs, and keep their values after it.

    They lie in a memory and take turns at one adder, a cycle each; between its turns a few bits
    hold what a counter has to rise by. An adder for every counter, and a selection among all, take
    480 LUTs of an ECP5 more. A value is found within `len(COUNTERS)` cycles and two more, and has
    all events up to three cycles before.

    Members
    -------
    clear, run : In(1)
        Start over; count.
    events : In(EVENTS)
        How much each counter rises by in this cycle.
    read : In(CounterRead())
        The host's port.
    """

    clear: Signal
    run: Signal
    events: data.View
    read: wiring.PureInterface

    def __init__(self) -> None:
        super().__init__({
            "clear": In(1),
            "run": In(1),
            "events": In(EVENTS),
            "read": In(CounterRead()),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        last = len(COUNTERS) - 1
        m.submodules.totals = totals = memory.Memory(shape=32, depth=len(COUNTERS), init=[])
        write, read = totals.write_port(), totals.read_port()

        # Whose turn it is. In the first round all are 0, whatever the memory holds.
        turn = Signal(range(len(COUNTERS)))
        first_round = Signal(init=1)
        m.d.sync += turn.eq(Mux(turn == last, 0, turn + 1))
        with m.If(turn == last):
            m.d.sync += first_round.eq(0)

        amounts = []
        for index, name in enumerate(COUNTERS):
            most = (1 << len(self.events[name])) - 1
            amount = Signal(range(most * len(COUNTERS) + 1), name=f"amount_{name}")
            m.d.sync += amount.eq(
                Mux(turn == index, 0, amount) + Mux(self.run, self.events[name], 0)
            )
            amounts.append(amount)

        # A turn: the total and what it rises by, then the sum.
        at = Signal.like(turn)
        amount = Signal(max(map(len, amounts)))
        from_zero = Signal(init=1)
        total = Signal(32)
        m.d.comb += [
            read.addr.eq(turn),
            read.en.eq(1),
            total.eq(Mux(from_zero, 0, read.data) + amount),
            write.addr.eq(at),
            write.en.eq(1),
            write.data.eq(total),
        ]
        m.d.sync += [
            at.eq(turn),
            amount.eq(Array(amounts)[turn]),
            from_zero.eq(first_round),
            self.read.value.eq(total),
            self.read.found.eq(at == self.read.index),
        ]

        with m.If(self.clear):
            m.d.sync += [turn.eq(0), first_round.eq(1), *(each.eq(0) for each in amounts)]
        return m
