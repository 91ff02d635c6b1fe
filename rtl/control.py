"""Start, end and faults of a run."""

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from celosia.isa import Cause

__all__ = ["RunControl"]


class RunControl(wiring.Component):
    """Carries one run from start to its end, or to its first fault.

    A start clears everything that the last run left behind in the units, memories apart. A fault
    is shown at once, and the machine stays busy until the memory bus is quiet; only a dead bus
    (watchdog) ends the run as it is, and then wants a reset.

    Members
    -------
    request : In(1)
        The host starts a run; has no effect on a busy machine.
    finished : In(1)
        The program has ended.
    quiet : In(1)
        Nothing is under way on the memory bus.
    fault, fault_address : In(3), In(32)
        Cause of a fault, 0 for none, and the instruction's address.
    clear, start, stop : Out(1)
        Clear the units; begin; begin nothing new.
    busy, done, failed : Out(1)
        State of the run.
    cause, cause_address : Out(3), Out(32)
        Cause and address of the fault.
    """

    def __init__(self) -> None:
        super().__init__({
            "request": In(1),
            "finished": In(1),
            "quiet": In(1),
            "fault": In(3),
            "fault_address": In(32),
            "clear": Out(1),
            "start": Out(1),
            "stop": Out(1),
            "busy": Out(1),
            "done": Out(1),
            "failed": Out(1),
            "cause": Out(3),
            "cause_address": Out(32),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        running = Signal()
        m.d.comb += [self.stop.eq(self.failed), self.busy.eq(self.clear | self.start | running)]
        m.d.sync += [self.clear.eq(0), self.start.eq(self.clear)]
        with m.If(self.request & ~self.busy):
            m.d.sync += [
                self.clear.eq(1),
                self.done.eq(0),
                self.failed.eq(0),
                self.cause.eq(0),
                self.cause_address.eq(0),
            ]
        with m.If(self.start):
            m.d.sync += running.eq(1)
        with m.If(running):
            with m.If(self.failed):
                with m.If(self.quiet | (self.cause == Cause.WATCHDOG)):
                    m.d.sync += running.eq(0)
            with m.Elif(self.fault != 0):
                m.d.sync += [
                    self.failed.eq(1),
                    self.cause.eq(self.fault),
                    self.cause_address.eq(self.fault_address),
                ]
            with m.Elif(self.finished & self.quiet):
                m.d.sync += [running.eq(0), self.done.eq(1)]
        return m
