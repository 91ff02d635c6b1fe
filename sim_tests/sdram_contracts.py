"""Rules of an SDRAM part and of its controller, for `harness.prove`."""

from amaranth import Array, Elaboratable, Module, Mux, Signal
from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Cover
from contracts import drive, holds

from celosia.rtl.sdram_bank import SDRAMBank
from celosia.rtl.sdram_commands import SDRAMCommands
from celosia.rtl.sdram_pins import ALL_BANKS, Command
from celosia.rtl.sdram_upkeep import SDRAMUpkeep

__all__ = ["BankKeepsTiming", "CommandsKeepRules", "RefreshesInTime", "Since"]


class Since:
    """How many cycles ago something happened: `age` is 1 a cycle after it, at most `most`."""

    def __init__(self, m: Module, event, most: int, name: str) -> None:
        self.age = Signal(range(most + 1), init=most, name=f"since_{name}")
        with m.If(event):
            m.d.sync += self.age.eq(1)
        with m.Elif(self.age != most):
            m.d.sync += self.age.eq(self.age + 1)


class BankKeepsTiming(Elaboratable):
    """`SDRAMBank` allows a command in no cycle in which the part does not, and in each other one.

    The commands are any that the bank allows; the ages of the last ones say what the part allows.
    """

    def __init__(self, settings, burst: int) -> None:
        self.settings = settings
        self.burst = burst

    def elaborate(self, platform):
        m = Module()
        settings, burst = self.settings, self.burst
        m.submodules.dut = dut = SDRAMBank(settings, burst)
        for signal in (dut.activate, dut.read, dut.write, dut.precharge, dut.row):
            drive(m, signal)
        m.d.comb += [
            Assume(dut.activate + dut.read + dut.write + dut.precharge <= 1),
            Assume(~dut.activate | dut.may_activate),
            Assume(~(dut.read | dut.write) | dut.may_access),
            Assume(~dut.precharge | dut.may_precharge),
        ]
        end = burst - 1 + settings.wr
        most = max(settings.rc, settings.rp, end) + 1
        activate = Since(m, dut.activate, most, "activate").age
        read = Since(m, dut.read, most, "read").age
        write = Since(m, dut.write, most, "write").age
        precharge = Since(m, dut.precharge, most, "precharge").age
        is_open, row = Signal(), Signal.like(dut.row)
        with m.If(dut.activate):
            m.d.sync += [is_open.eq(1), row.eq(dut.row)]
        with m.If(dut.precharge):
            m.d.sync += is_open.eq(0)
        m.d.comb += [
            Assert(dut.is_open == is_open),
            Assert(~is_open | (dut.open_row == row)),
            Assert(
                dut.may_activate
                == (~is_open & (activate >= settings.rc) & (precharge >= settings.rp))
            ),
            Assert(dut.may_access == (is_open & (activate >= settings.rcd))),
            Assert(
                dut.may_precharge == ((activate >= settings.ras) & (read >= burst) & (write >= end))
            ),
            Cover(dut.precharge & (write == end)),
            Cover(dut.activate & (precharge == settings.rp)),
        ]
        return m


class RefreshesInTime(Elaboratable):
    """`SDRAMUpkeep` never owes more than `postponed + 1` refreshes, however busy the banks are.

    All that it is told: PRECHARGE becomes possible within `wait` cycles while it holds the other
    commands back, and REFRESH within `wait` cycles after that. With `anew` what is
    owed is also counted anew, from the commands; that holds from reset, but is not inductive.
    """

    def __init__(self, settings, wait: int, *, anew: bool) -> None:
        self.settings = settings
        self.wait = wait
        self.anew = anew

    def elaborate(self, platform):
        m = Module()
        settings = self.settings
        m.submodules.dut = dut = SDRAMUpkeep(settings)
        for signal in (dut.busy, dut.may_close, dut.may_refresh):
            drive(m, signal)
        closed = Signal()
        with m.If(dut.command == Command.PRECHARGE):
            m.d.sync += closed.eq(1)
        with m.Elif(~dut.hold):
            m.d.sync += closed.eq(0)
        for name, waits in (
            ("close", dut.hold & ~closed & ~dut.may_close),
            ("refresh", closed & ~dut.may_refresh),
        ):
            waited = Signal(range(self.wait + 2), name=f"{name}_waited")
            m.d.sync += waited.eq(Mux(waits, waited + 1, 0))
            m.d.comb += Assume(waited <= self.wait)

        # What came due since the mode register was set, and has not been done.
        started = Signal()
        until_due = Signal(range(settings.interval), init=settings.interval - 1)
        owed = Signal(range(settings.postponed + 4))
        refresh = dut.command == Command.REFRESH
        since = Since(m, refresh, settings.rfc, "refresh").age
        with m.If(dut.command == Command.MODE):
            m.d.sync += started.eq(1)
        due = Signal()
        with m.If(started):
            m.d.comb += due.eq(until_due == 0)
            m.d.sync += until_due.eq(Mux(until_due == 0, settings.interval - 1, until_due - 1))
            m.d.sync += owed.eq(Mux(due, owed + 1, owed) - (refresh & (owed != 0)))
        m.d.comb += [
            Assert(dut.owed <= settings.postponed + 1),
            Assert(owed <= settings.postponed + 1) if self.anew else [],
            Assert((dut.command == Command.NOP) | (since >= settings.rfc)),
            Assert((dut.command == Command.NOP) | dut.hold) if self.anew else [],
            Cover((owed == settings.postponed) & refresh),
            Cover(started & ~dut.hold & (owed == 1) & due),
        ]
        return m


class CommandsKeepRules(Elaboratable):
    """Every command on the pins of `SDRAMCommands` is one that the part allows, any runs given."""

    def __init__(self, config, settings) -> None:
        self.config = config
        self.settings = settings

    def elaborate(self, platform):
        m = Module()
        settings = self.settings
        m.submodules.dut = dut = SDRAMCommands(self.config, settings)
        for signal in (dut.i.valid, dut.i.payload, dut.able):
            drive(m, signal)
        holds(m, dut.i, Assume, name="i")
        # A run does not leave its row.
        m.d.comb += Assume(dut.i.p.more <= ~dut.i.p.column)

        command = Signal(3)
        m.d.comb += command.eq(Mux(dut.cs, dut.ras << 2 | dut.cas << 1 | dut.we, 0))
        now = {kind: command == kind.value for kind in Command}
        every = dut.a[ALL_BANKS]
        burst, most = dut.burst, 7
        is_open, activates, precharges, ends = [], [], [], []
        for bank in range(4):
            here = dut.ba == bank
            opened = Signal(name=f"open_{bank}")
            activate = now[Command.ACTIVATE] & here
            precharge = now[Command.PRECHARGE] & (here | every)
            with m.If(activate):
                m.d.sync += opened.eq(1)
            with m.If(precharge):
                m.d.sync += opened.eq(0)
            is_open.append(opened)
            activates.append(Since(m, activate, most, f"activate_{bank}").age)
            precharges.append(Since(m, precharge, most, f"precharge_{bank}").age)
            read = Since(m, now[Command.READ] & here, most, f"read_{bank}").age
            write = Since(m, now[Command.WRITE] & here, most, f"write_{bank}").age
            ends.append((read >= burst) & (write >= burst - 1 + settings.wr))
            with m.If(precharge & opened):
                m.d.comb += [Assert(activates[bank] >= settings.ras), Assert(ends[bank])]
        refresh = Since(m, now[Command.REFRESH], most, "refresh").age
        mode = Since(m, now[Command.MODE], most, "mode").age
        activate = Since(m, now[Command.ACTIVATE], most, "activate").age
        read = Since(m, now[Command.READ], most, "read").age
        write = Since(m, now[Command.WRITE], most, "write").age
        begun, refreshed = Signal(), Signal(range(settings.postponed + 1))
        with m.If(now[Command.MODE]):
            m.d.sync += begun.eq(1)
            m.d.comb += Assert(refreshed == settings.postponed)
        with m.If(now[Command.REFRESH] & (refreshed != settings.postponed)):
            m.d.sync += refreshed.eq(refreshed + 1)

        with m.If(command != 0):
            m.d.comb += [Assert(refresh >= settings.rfc), Assert(mode >= settings.mrd)]
        with m.If(now[Command.ACTIVATE]):
            m.d.comb += [
                Assert(begun & ~Array(is_open)[dut.ba]),
                Assert(Array(activates)[dut.ba] >= settings.rc),
                Assert(Array(precharges)[dut.ba] >= settings.rp),
                Assert(activate >= settings.rrd),
            ]
        with m.If(now[Command.REFRESH] | now[Command.MODE]):
            for bank in range(4):
                m.d.comb += [
                    Assert(~is_open[bank]),
                    Assert(activates[bank] >= settings.rc),
                    Assert(precharges[bank] >= settings.rp),
                ]
        with m.If(now[Command.READ] | now[Command.WRITE]):
            m.d.comb += [
                Assert(Array(is_open)[dut.ba]),
                Assert(Array(activates)[dut.ba] >= settings.rcd),
                Assert((read >= burst) & (write >= burst)),
            ]
        with m.If(now[Command.WRITE]):
            m.d.comb += Assert(read >= settings.cas_latency + burst + 1)

        # The beats of one row and column, any: as many commands as were asked for.
        row, bank, column = (
            AnyConst(width) for width in (settings.row_bits, 2, len(dut.i.p.column))
        )
        rows = Array(Signal(settings.row_bits, name=f"row_{n}") for n in range(4))
        with m.If(now[Command.ACTIVATE]):
            m.d.sync += rows[dut.ba].eq(dut.a)
        asked, given = Signal(4), Signal(4)
        first = dut.i.p.column
        within = (first <= column) & (column - first <= dut.i.p.more)
        with m.If(
            dut.i.valid & dut.i.ready & (dut.i.p.row == row) & (dut.i.p.bank == bank) & within
        ):
            m.d.sync += asked.eq(asked + 1)
        reads = now[Command.READ] | now[Command.WRITE]
        hits = (dut.ba == bank) & (rows[bank] == row) & (dut.a == column * burst)
        with m.If(reads & hits):
            m.d.sync += given.eq(given + 1)
        m.d.comb += [
            # Never more than asked for, nor less but in two runs and on the way to the pins.
            Assert(asked - given <= 3),
            Cover(now[Command.REFRESH] & begun),
            Cover(reads & begun & (given == 1)),
        ]
        return m
