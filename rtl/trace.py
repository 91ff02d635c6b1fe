"""What a run looks like from outside: the port that simulations record for `celosia profile`."""

from amaranth import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from celosia.cores.arith import delayed
from celosia.cores.quantise import Quantiser
from celosia.isa import Unit

__all__ = ["Trace", "TraceDelay"]


class Trace(wiring.Signature):
    """Events of a run, cycle by cycle. In the vectors of units, bit `u` is that of `Unit(u)`.

    Members
    -------
    busy : Out(1)
        The machine runs; this is what the counter of cycles counts.
    starts, ends, waits : Out(len(Unit))
        A unit starts, ends an instruction; its next one waits for tokens.
    row, waits_tile, waits_bank : Out(1)
        A row enters the array; or the next one waits for its tile, for its accumulators.
    reads, writes : Out(1)
        A beat comes from memory, goes there.
    """

    def __init__(self) -> None:
        super().__init__({
            "busy": Out(1),
            "starts": Out(len(Unit)),
            "ends": Out(len(Unit)),
            "waits": Out(len(Unit)),
            "row": Out(1),
            "waits_tile": Out(1),
            "waits_bank": Out(1),
            "reads": Out(1),
            "writes": Out(1),
        })


class TraceDelay(wiring.Component):
    """Puts the events of one cycle side by side.

    A row enters the array `latency` cycles after nothing held it back any more; so everything
    else is that much delayed. Where nobody looks at `o`, synthesis leaves nothing of this.

    Members
    -------
    i : In(Trace())
        Events as they happen.
    o : Out(Trace())
        Events in step.
    """

    i: wiring.PureInterface
    o: wiring.PureInterface

    #: Cycles from a row's release to the array: a word's register, and the quantiser.
    latency = 1 + Quantiser.latency

    def __init__(self) -> None:
        super().__init__({"i": In(Trace()), "o": Out(Trace())})

    def elaborate(self, platform) -> Module:
        m = Module()
        names = [name for name in self.i.signature.members if name != "row"]
        now = Cat(getattr(self.i, name) for name in names)
        then = delayed(m, now, self.latency, "events", reset_less=False)
        m.d.comb += [
            Cat(getattr(self.o, name) for name in names).eq(then),
            self.o.row.eq(self.i.row),
        ]
        return m
