"""What an SDRAM needs besides accesses: power-up, and refreshes."""

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from celosia.rtl.sdram_pins import Command
from celosia.sdram_part import SDRAMSettings

__all__ = ["SDRAMUpkeep"]


class SDRAMUpkeep(wiring.Component):
    """Starts the part up, and refreshes it: when nothing else is to be done, or when it must be.

    A refresh comes due every `settings.interval` cycles. What is due is done as soon as the part
    is idle; while it is busy up to `settings.postponed` refreshes are owed, which then are all
    done in a row: closing and opening rows again costs once instead of each time. No refresh is
    later than `settings.postponed + 1` intervals.

    Parameters
    ----------
    settings : SDRAMSettings
        Timing.

    Members
    -------
    busy : In(1)
        There is something to read or write.
    may_close : In(1)
        PRECHARGE is allowed in all banks.
    may_refresh : In(1)
        All banks are closed, and REFRESH is allowed.
    hold : Out(1)
        No other command may be given in this cycle.
    command : Out(Command)
        Command of this cycle; PRECHARGE is of all banks. Only while `hold` is 1.
    owed : Out(range(postponed + 3))
        Refreshes that are due, `postponed + 1` at most.
    """

    def __init__(self, settings: SDRAMSettings) -> None:
        self.settings = settings
        super().__init__({
            "busy": In(1),
            "may_close": In(1),
            "may_refresh": In(1),
            "hold": Out(1, init=1),  # pyright: ignore[reportCallIssue]
            "command": Out(Command),
            "owed": Out(range(settings.postponed + 3), init=settings.postponed),  # pyright: ignore[reportCallIssue]
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        settings = self.settings
        powered = Signal()
        must = Signal(init=1)  # refresh till nothing is owed
        started = Signal()  # the mode register has been set
        left = Signal(
            range(max(settings.power_up, settings.rfc, settings.mrd)), init=settings.power_up - 1
        )
        until_due = Signal(range(settings.interval), init=settings.interval - 1)
        due = Signal()
        m.d.comb += due.eq(powered & (until_due == 0))
        with m.If(powered):
            m.d.sync += until_due.eq(Mux(until_due == 0, settings.interval - 1, until_due - 1))
        refresh = Signal()
        m.d.sync += self.owed.eq(self.owed + due - refresh)

        with m.If(left != 0):
            m.d.sync += left.eq(left - 1)
        with m.FSM():
            with m.State("POWER-UP"), m.If(left == 0):
                m.d.sync += powered.eq(1)
                m.next = "CLOSE"
            with m.State("CLOSE"), m.If(self.may_close):
                m.d.comb += self.command.eq(Command.PRECHARGE)
                m.next = "REFRESH"
            with m.State("REFRESH"), m.If((left == 0) & self.may_refresh):
                with m.If((self.owed != 0) & (must | ~self.busy)):
                    m.d.comb += [self.command.eq(Command.REFRESH), refresh.eq(1)]
                    m.d.sync += left.eq(settings.rfc - 1)
                with m.Elif(~started):
                    m.d.comb += self.command.eq(Command.MODE)
                    m.d.sync += [started.eq(1), left.eq(settings.mrd - 1)]
                with m.Else():
                    m.d.sync += [must.eq(0), self.hold.eq(0)]
                    m.next = "RUN"
            with (
                m.State("RUN"),
                m.If((self.owed >= settings.postponed) | ((self.owed != 0) & ~self.busy)),
            ):
                m.d.sync += [must.eq(self.owed >= settings.postponed), self.hold.eq(1)]
                m.next = "CLOSE"
        return m
