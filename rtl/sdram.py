"""SDRAM behind the AXI4 port, with a port for the host."""

from itertools import pairwise

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect
from amaranth.utils import exact_log2

from celosia.config import MachineConfig
from celosia.errors import ConfigError
from celosia.rtl.axi import AXI4Read, AXI4Write
from celosia.rtl.on_chip import DECODE_ERROR, HostAccess
from celosia.rtl.sdram_commands import SDRAMCommands
from celosia.rtl.sdram_pins import SDRAMPins
from celosia.rtl.sdram_runs import SDRAMRuns
from celosia.rtl.stream import StreamFIFO
from celosia.sdram_part import WORD_BYTES, SDRAMSettings

__all__ = ["SDRAMMemory"]

#: Beats that are asked for or wait for the bus; the longest way takes twelve cycles.
_ANSWERS = 8
#: Responses that wait for the bus.
_RESPONSES = 4


class SDRAMMemory(wiring.Component):
    """The memory of the machine and the host in an SDR SDRAM of 16 bits; as `OnChipMemory` is.

    Incrementing bursts of full beats. One word a cycle, also from burst to burst and from row to
    row of ascending addresses, but for refreshes and for turning from reading to writing and back.
    Bursts of reads and of writes are done in the order in which they are taken. The data of a
    write must not wait for a read that comes later. Beats beyond the end are answered with a
    decode error and not written.

    Parameters
    ----------
    config : MachineConfig
        Memory width: 4, 8 or 16 bytes.
    settings : SDRAMSettings
        The part at the clock.
    round_trip : int
        Cycles that the way over the pins and back takes beyond the CAS latency, at least -1: 0 if
        the SDRAM takes commands a cycle after they leave the registers here, and its data is
        sampled with the same delay; what registers at the pins and the phase of the SDRAM's clock
        add.

    Members
    -------
    read : In(AXI4Read(config))
        Read channels.
    write : In(AXI4Write(config))
        Write channels.
    host : In(stream.Signature(HostAccess))
        Accesses of the host.
    host_data : Out(stream.Signature(32))
        One answer for each access, in order: what was read, anything after a write.
    pins : Out(SDRAMPins(settings))
        The part.

    Raises
    ------
    ConfigError
        If the memory width does not suit the part.
    """

    read: wiring.PureInterface
    write: wiring.PureInterface
    host: stream.Interface
    host_data: stream.Interface
    pins: wiring.PureInterface

    def __init__(
        self, config: MachineConfig, settings: SDRAMSettings, *, round_trip: int = 0
    ) -> None:
        if config.memory_width not in (4, 8, 16):
            raise ConfigError(
                f"configuration {config.name!r}: memory_width must be 4, 8 or 16 with SDRAM, "
                f"not {config.memory_width}"
            )
        if round_trip < -1:
            raise ConfigError(f"round_trip must be at least -1, not {round_trip}")
        self.config = config
        self.settings = settings
        self.round_trip = round_trip
        self.burst = config.memory_width // WORD_BYTES
        super().__init__({
            "read": In(AXI4Read(config)),
            "write": In(AXI4Write(config)),
            "host": In(stream.Signature(HostAccess)),
            "host_data": Out(stream.Signature(32)),
            "pins": Out(SDRAMPins(settings)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.runs = runs = SDRAMRuns(self.config, self.settings)
        m.submodules.commands = commands = SDRAMCommands(self.config, self.settings)
        connect(m, runs.o, commands.i)
        for name in ("clk_en", "cs", "ras", "cas", "we", "ba", "a"):
            m.d.comb += getattr(self.pins, name).eq(getattr(commands, name))
        for port, bus, kind in ((runs.read, self.read, "ar"), (runs.write, self.write, "aw")):
            m.d.comb += [
                port.valid.eq(getattr(bus, f"{kind}valid")),
                port.p.address.eq(getattr(bus, f"{kind}addr")),
                port.p.more.eq(getattr(bus, f"{kind}len")),
                port.p.id.eq(getattr(bus, f"{kind}id")),
                getattr(bus, f"{kind}ready").eq(port.ready),
            ]
        host = self._host(m, runs, commands)
        able_to_read = self._read(m, commands, host)
        able_to_write = self._write(m, commands, host)
        beat = commands.beat
        m.d.comb += commands.able.eq(beat.host | Mux(beat.write, able_to_write, able_to_read))
        return m

    def _host(self, m: Module, runs: SDRAMRuns, commands: SDRAMCommands) -> Signal:
        """Take accesses of the host, one at a time; return the one under way."""
        access = Signal(HostAccess, reset_less=True)
        pending = Signal()
        asked = Signal()  # it has become a run
        m.d.comb += self.host.ready.eq(~pending)
        with m.If(self.host.valid & ~pending):
            m.d.sync += [access.eq(self.host.payload), pending.eq(1), asked.eq(0)]
        for port, wanted in ((runs.host_read, ~access.write), (runs.host_write, access.write)):
            m.d.comb += [
                port.valid.eq(pending & ~asked & wanted),
                port.p.address.eq(access.address),
            ]
            with m.If(port.valid & port.ready):
                m.d.sync += asked.eq(1)
        with m.If(commands.go & commands.beat.host & commands.beat.write):
            m.d.sync += self.host_data.valid.eq(1)
        with m.If(self.host_data.valid & self.host_data.ready):
            m.d.sync += [self.host_data.valid.eq(0), pending.eq(0)]
        return access

    def _read(self, m: Module, commands: SDRAMCommands, host: Signal) -> Value:
        """Put words together and answer; return whether there is room for another beat."""
        bus, beat = self.read, commands.beat
        width = 8 * self.config.memory_width
        # What is on its way from the part, by the cycle in which all of it is there.
        kind = data.StructLayout({"machine": 1, "host": 1, "id": 1, "last": 1, "outside": 1})
        cycles = self.settings.cas_latency + self.round_trip + self.burst + 1
        way = [Signal(kind, name=f"way_{n}") for n in range(cycles)]
        m.d.sync += [
            way[0].machine.eq(commands.go & ~beat.write & ~beat.host),
            way[0].host.eq(commands.go & ~beat.write & beat.host),
            way[0].id.eq(beat.id),
            way[0].last.eq(commands.last),
            way[0].outside.eq(beat.outside),
        ]
        m.d.sync += [after.eq(before) for before, after in pairwise(way)]
        arrived = way[-1]
        words = Signal(width, reset_less=True)
        m.d.sync += words.eq(Cat(words[16:], self.pins.dq_i))

        layout = data.StructLayout({"word": width, "id": 1, "last": 1, "outside": 1})
        m.submodules.answers = answers = StreamFIFO(layout, _ANSWERS)
        free = Signal(range(_ANSWERS + 1), init=_ANSWERS)
        taken = commands.go & ~beat.write & ~beat.host
        m.d.sync += free.eq(free - taken + (bus.rvalid & bus.rready))
        m.d.comb += [
            answers.i.valid.eq(arrived.machine),
            answers.i.p.word.eq(words),
            answers.i.p.id.eq(arrived.id),
            answers.i.p.last.eq(arrived.last),
            answers.i.p.outside.eq(arrived.outside),
            bus.rid.eq(answers.o.p.id),
            bus.rdata.eq(answers.o.p.word),
            bus.rlast.eq(answers.o.p.last),
            bus.rresp.eq(Mux(answers.o.p.outside, DECODE_ERROR, 0)),
            bus.rvalid.eq(answers.o.valid),
            answers.o.ready.eq(bus.rready),
        ]
        with m.If(arrived.host):
            m.d.sync += [
                self.host_data.valid.eq(1),
                self.host_data.payload.eq(words.word_select(self._lane(host), 32)),
            ]
        return free != 0

    def _write(self, m: Module, commands: SDRAMCommands, host: Signal) -> Value:
        """Take beats, drive their words and respond; return whether a beat may be written."""
        bus, beat = self.write, commands.beat
        width = self.config.memory_width
        layout = data.StructLayout({"id": 1, "outside": 1})
        m.submodules.responses = responses = StreamFIFO(layout, _RESPONSES)
        failed = Signal()
        go = Signal(name="write_go")
        m.d.comb += [
            go.eq(commands.go & beat.write & ~beat.host),
            bus.wready.eq(go),
            responses.i.valid.eq(go & commands.last),
            responses.i.p.id.eq(beat.id),
            responses.i.p.outside.eq(failed | beat.outside),
            bus.bid.eq(responses.o.p.id),
            bus.bresp.eq(Mux(responses.o.p.outside, DECODE_ERROR, 0)),
            bus.bvalid.eq(responses.o.valid),
            responses.o.ready.eq(bus.bready),
        ]
        with m.If(go):
            m.d.sync += failed.eq(~commands.last & (failed | beat.outside))

        # The first word leaves with the command; an outside beat is written with all bytes masked.
        words = Signal(8 * width, reset_less=True)
        masks = Signal(width)
        left = Signal(range(self.burst))
        strobe = Signal(width)
        m.d.comb += [
            strobe.eq(bus.wstrb),
            self.pins.dq_o.eq(words),
            self.pins.dqm.eq(masks),
        ]
        with m.If(beat.host):
            m.d.comb += strobe.eq(0)
            m.d.comb += strobe.word_select(self._lane(host), 4).eq(-1)
        m.d.sync += [
            words.eq(words >> 16),
            masks.eq(masks >> 2),
            left.eq(left - (left != 0)),
            self.pins.dq_oe.eq(left != 0),
        ]
        with m.If(commands.go & beat.write):
            m.d.sync += [
                words.eq(Mux(beat.host, host.data.replicate(width // 4), bus.wdata)),
                masks.eq(~strobe | beat.outside.replicate(width)),
                left.eq(self.burst - 1),
                self.pins.dq_oe.eq(1),
            ]
        return bus.wvalid & responses.i.ready

    def _lane(self, host: Signal) -> Value:
        """Return which 32 bits of a beat the host means."""
        return host.address[2 : exact_log2(self.config.memory_width)]
