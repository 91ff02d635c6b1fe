"""One bank of an SDRAM: which row is open, and which commands it may be given."""

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from celosia.sdram_part import SDRAMSettings

__all__ = ["SDRAMBank"]


class SDRAMBank(wiring.Component):
    """Follows the commands that one bank is given, and says which may come next.

    Parameters
    ----------
    settings : SDRAMSettings
        Timing.
    burst : int
        Words of a READ or WRITE.

    Members
    -------
    activate, read, write, precharge : In(1)
        The command of this cycle, if it is for this bank.
    row : In(row_bits)
        The row to activate.
    is_open : Out(1)
        A row is open,
    open_row : Out(row_bits)
        and this is its address.
    may_activate, may_access, may_precharge : Out(1)
        The part allows ACTIVATE (or, if all banks say so, REFRESH), READ or WRITE of the open
        row, PRECHARGE in this cycle.
    """

    def __init__(self, settings: SDRAMSettings, burst: int) -> None:
        self.settings = settings
        self.burst = burst
        super().__init__({
            "activate": In(1),
            "read": In(1),
            "write": In(1),
            "precharge": In(1),
            "row": In(settings.row_bits),
            "is_open": Out(1),
            "open_row": Out(settings.row_bits),
            "may_activate": Out(1),
            "may_access": Out(1),
            "may_precharge": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        settings = self.settings
        # After a command, its time passes: n cycles later the next one may come.
        to_access = self._timer(m, "to_access", (self.activate, settings.rcd))
        to_close = self._timer(m, "to_close", (self.activate, settings.ras))
        to_cycle = self._timer(m, "to_cycle", (self.activate, settings.rc))
        to_open = self._timer(m, "to_open", (self.precharge, settings.rp))
        to_end = self._timer(
            m,
            "to_end",
            (self.read, self.burst),
            (self.write, self.burst - 1 + settings.wr),
        )
        with m.If(self.activate):
            m.d.sync += [self.is_open.eq(1), self.open_row.eq(self.row)]
        with m.Elif(self.precharge):
            m.d.sync += self.is_open.eq(0)
        m.d.comb += [
            self.may_activate.eq(~self.is_open & to_open & to_cycle),
            self.may_access.eq(self.is_open & to_access),
            self.may_precharge.eq(to_close & to_end),
        ]
        return m

    @staticmethod
    def _timer(m: Module, name: str, *events: tuple[Signal, int]) -> Signal:
        """Return a register that is 0 until the cycles after each event have passed."""
        longest = max(cycles for _, cycles in events)
        over = Signal(name=name, init=1)
        left = Signal(range(max(longest, 3) - 1), name=f"{name}_left")
        m.d.sync += over.eq(left == 0)
        with m.If(left != 0):
            m.d.sync += left.eq(left - 1)
        for event, cycles in events:
            start = max(cycles - 2, 0)
            # An event before a shorter one may have more time left.
            with m.If(event if cycles == longest else event & (left <= start)):
                m.d.sync += [left.eq(start), over.eq(cycles == 1)]
        return over
