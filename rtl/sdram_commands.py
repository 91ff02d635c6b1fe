"""The commands of an SDRAM: one run is read or written while the next one's row is opened."""

from functools import reduce
from operator import and_

from amaranth import Array, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from celosia.config import MachineConfig
from celosia.rtl.sdram_bank import SDRAMBank
from celosia.rtl.sdram_pins import ALL_BANKS, Command, SDRAMPins, mode_register
from celosia.rtl.sdram_runs import SDRAMRun
from celosia.rtl.sdram_upkeep import SDRAMUpkeep
from celosia.sdram_part import BANKS, WORD_BYTES, SDRAMSettings

__all__ = ["SDRAMCommands"]


class SDRAMCommands(wiring.Component):
    """Carries out runs, in order, and the part's upkeep.

    A READ or WRITE moves one beat, with a burst of the part. They have the command bus first; as
    one of them is due every other cycle at most, there is room between for closing and opening
    the row of the next run. After a refresh, which may come within a run, its row is opened again.

    Parameters
    ----------
    config : MachineConfig
        Memory width: a beat is a burst of 2, 4 or 8 words.
    settings : SDRAMSettings
        Geometry and timing.

    Members
    -------
    i : In(stream.Signature(SDRAMRun(config, settings)))
        What to do.
    beat : Out(SDRAMRun(config, settings))
        The run at hand, for the next beat of which
    able : In(1)
        there is data to write, or room for what is read.
    go : Out(1)
        The beat's command is given in this cycle,
    last : Out(1)
        and it is the last beat of its burst.
    clk_en, cs, ras, cas, we, ba, a : Out
        As of `SDRAMPins`: the command of the cycle before.
    """

    i: stream.Interface

    def __init__(self, config: MachineConfig, settings: SDRAMSettings) -> None:
        self.settings = settings
        self.run = SDRAMRun(config, settings)
        self.burst = config.memory_width // WORD_BYTES
        pins = SDRAMPins(settings).members
        super().__init__(
            {
                "i": In(stream.Signature(self.run)),
                "beat": Out(self.run),
                "able": In(1),
                "go": Out(1),
                "last": Out(1),
            }
            | {name: pins[name] for name in ("clk_en", "cs", "ras", "cas", "we", "ba", "a")}
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        settings = self.settings
        m.submodules.upkeep = upkeep = SDRAMUpkeep(settings)
        banks = [SDRAMBank(settings, self.burst) for _ in range(BANKS)]
        for index, bank in enumerate(banks):
            m.submodules[f"bank_{index}"] = bank
        is_open, open_row, may_activate, may_access, may_precharge = (
            Array(getattr(bank, name) for bank in banks)
            for name in ("is_open", "open_row", "may_activate", "may_access", "may_precharge")
        )

        # The run at hand, and the one after it, whose row is made ready.
        now, following = self.beat, Signal(self.run, reset_less=True)
        now_valid, following_valid = Signal(), Signal()
        m.d.comb += [
            upkeep.busy.eq(now_valid | following_valid | self.i.valid),
            upkeep.may_close.eq(reduce(and_, may_precharge)),
            upkeep.may_refresh.eq(reduce(and_, may_activate)),
        ]

        command = Signal(Command)
        bank = Signal(2)
        address = Signal(len(self.a))
        self._access(m, now_valid, may_access[now.bank], upkeep.hold)

        # What is known of the row of the following run; found anew when anything changes.
        looked, hit, conflict = Signal(), Signal(), Signal()
        closed = Signal()  # a refresh has closed the row of the run at hand
        advance = Signal()
        since_open = self._countdown(m, "since_open", command == Command.ACTIVATE, settings.rrd)
        m.d.sync += [
            looked.eq(following_valid),
            hit.eq(is_open[following.bank] & (open_row[following.bank] == following.row)),
            conflict.eq(is_open[following.bank] & (open_row[following.bank] != following.row)),
        ]
        m.d.comb += [
            closed.eq(now_valid & ~is_open[now.bank]),
            advance.eq(looked & hit & (~now_valid | (self.go & (now.more == 0)))),
            self.i.ready.eq(~following_valid | advance),
        ]
        with m.If(self.i.ready):
            m.d.sync += [
                following.eq(self.i.payload),
                following_valid.eq(self.i.valid),
            ]
        with m.If(self.go):
            m.d.sync += [
                now.column.eq(now.column + 1),
                now.more.eq(now.more - 1),
                now_valid.eq(now.more != 0),
            ]
        with m.If(advance):
            m.d.sync += [now.eq(following), now_valid.eq(1)]

        # One command a cycle.
        row = Signal(settings.row_bits)
        m.d.comb += [bank.eq(following.bank), row.eq(following.row), address.eq(row)]
        with m.If(upkeep.hold):
            m.d.comb += [command.eq(upkeep.command), bank.eq(0)]
            m.d.comb += address.eq(1 << ALL_BANKS)
            with m.If(upkeep.command == Command.MODE):
                m.d.comb += address.eq(mode_register(settings, self.burst))
        with m.Elif(self.go):
            m.d.comb += [bank.eq(now.bank), command.eq(Command.READ)]
            m.d.comb += address.eq(now.column << exact_log2(self.burst))
            with m.If(now.write):
                m.d.comb += command.eq(Command.WRITE)
        with m.Elif(closed):
            m.d.comb += [bank.eq(now.bank), row.eq(now.row)]
            with m.If(since_open & may_activate[now.bank]):
                m.d.comb += command.eq(Command.ACTIVATE)
        with m.Elif(looked & conflict & may_precharge[following.bank]):
            # Not while the run at hand needs the row.
            with m.If(~now_valid | (now.bank != following.bank)):
                m.d.comb += [command.eq(Command.PRECHARGE), address.eq(0)]
        with m.Elif(looked & ~hit & ~conflict & since_open & may_activate[following.bank]):
            m.d.comb += command.eq(Command.ACTIVATE)
        with m.If(advance | upkeep.hold | (command == Command.ACTIVATE)):
            m.d.sync += looked.eq(0)
        with m.If(command == Command.PRECHARGE):
            m.d.sync += looked.eq(0)

        for index, one in enumerate(banks):
            here = bank == index
            every = upkeep.hold
            m.d.comb += [
                one.row.eq(row),
                one.activate.eq(here & (command == Command.ACTIVATE)),
                one.read.eq(here & (command == Command.READ)),
                one.write.eq(here & (command == Command.WRITE)),
                one.precharge.eq((here | every) & (command == Command.PRECHARGE)),
            ]
        m.d.sync += [
            self.clk_en.eq(1),
            self.cs.eq(1),
            self.ras.eq(command.as_value()[2]),
            self.cas.eq(command.as_value()[1]),
            self.we.eq(command.as_value()[0]),
            self.ba.eq(bank),
            self.a.eq(address),
        ]
        return m

    def _access(self, m: Module, valid: Signal, may_access, hold: Signal) -> None:
        """Give the command of the next beat when the row, the data bus and the data allow it."""
        now = self.beat
        read = self.go & ~now.write
        bus_free = self._countdown(m, "bus_free", self.go, self.burst)
        # A cycle in which nobody drives lies between what is read and what is written.
        turned = self._countdown(m, "turned", read, self.settings.cas_latency + self.burst + 1)
        m.d.comb += [
            self.go.eq(valid & ~hold & may_access & bus_free & (turned | ~now.write) & self.able),
            self.last.eq(now.last & (now.more == 0)),
        ]

    @staticmethod
    def _countdown(m: Module, name: str, event, cycles: int) -> Signal:
        """Return a register that is 0 until `cycles` cycles after the last event."""
        over = Signal(name=name, init=1)
        left = Signal(range(max(cycles, 3) - 1), name=f"{name}_left")
        m.d.sync += over.eq(left == 0)
        with m.If(event):
            m.d.sync += [left.eq(max(cycles - 2, 0)), over.eq(cycles == 1)]
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        return over
