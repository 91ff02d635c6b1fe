"""On-chip memory: block RAM behind the AXI4 port, with a port for the host."""

from typing import NamedTuple

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from celosia.config import MachineConfig
from celosia.rtl.axi import AXI4Read, AXI4Write
from celosia.rtl.stream import StreamFIFO

__all__ = ["HostAccess", "OnChipMemory"]

#: AXI response to an address where there is nothing.
DECODE_ERROR = 3
#: Answers that wait for the bus; the path takes three cycles, so four sustain the rate.
_ANSWERS = 4


class HostAccess(data.Struct):
    """One access of the host: read or write, byte address (a multiple of 4), 32 bits."""

    write: 1
    address: 32
    data: 32


class _Beat(NamedTuple):
    """Where a burst is: one beat of it."""

    active: Signal
    id: Signal
    position: Signal
    last: Signal
    outside: Signal


class _Access(NamedTuple):
    """What the machine does with a port of the memory in this cycle."""

    valid: Signal
    position: Signal


class OnChipMemory(wiring.Component):
    """Memory of `config.on_chip_bytes` for the machine and the host.

    Incrementing bursts of full beats; reading and writing run at once, each one beat per cycle,
    also from burst to burst. Beats beyond the end are answered with a decode error and not
    written. A word is written in the cycle after its beat was taken, before its burst is answered.
    The host gets the cycles in which the machine does not read (or write): it can wait
    long while the machine streams, but bursts end.

    Parameters
    ----------
    config : MachineConfig
        Size and memory width.

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
    """

    read: wiring.PureInterface
    write: wiring.PureInterface
    host: stream.Interface
    host_data: stream.Interface

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "read": In(AXI4Read(config)),
            "write": In(AXI4Write(config)),
            "host": In(stream.Signature(HostAccess)),
            "host_data": Out(stream.Signature(32)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        width = self.config.memory_width
        words = self.config.on_chip_bytes // width
        m.submodules.storage = storage = memory.Memory(shape=8 * width, depth=words, init=[])
        write = storage.write_port(granularity=8)
        read = storage.read_port()
        shift = exact_log2(width)

        # The host has one access under way; its lane is a word of 32 bits.
        pending = Signal()
        outside = Signal()
        may = Signal()
        lanes = width // 4
        lane = Signal(range(max(lanes, 2)))
        machine_reads = self._read(m, read.data)
        machine_writes, enable = self._write(m)
        m.d.comb += [
            outside.eq(self.host.p.address[shift:] >= words),
            lane.eq(self.host.p.address[2:shift]),
            may.eq(~pending & ~Mux(self.host.p.write, machine_writes.valid, machine_reads.valid)),
            self.host.ready.eq(may),
        ]

        m.d.comb += [
            read.addr.eq(
                Mux(machine_reads.valid, machine_reads.position, self.host.p.address[shift:])
            ),
        ]
        # What is written waits for a cycle: it comes from block RAM, and goes to many.
        m.d.sync += [
            write.addr.eq(
                Mux(machine_writes.valid, machine_writes.position, self.host.p.address[shift:])
            ),
            write.data.eq(
                Mux(machine_writes.valid, self.write.wdata, self.host.p.data.replicate(lanes))
            ),
            write.en.eq(0),
        ]
        with m.If(machine_writes.valid):
            m.d.sync += write.en.eq(enable)
        with m.Elif(self.host.valid & may & self.host.p.write & ~outside):
            m.d.sync += write.en.word_select(lane, 4).eq(-1)

        reading = Signal()
        read_lane = Signal.like(lane)
        m.d.sync += reading.eq(self.host.valid & may)
        with m.If(self.host.valid & may):
            m.d.sync += [pending.eq(1), read_lane.eq(lane)]
        with m.If(reading):
            m.d.sync += [
                self.host_data.valid.eq(1),
                self.host_data.payload.eq(read.data.word_select(read_lane, 32)),
            ]
        with m.If(self.host_data.valid & self.host_data.ready):
            m.d.sync += [self.host_data.valid.eq(0), pending.eq(0)]

        return m

    def _step(self, m: Module, name: str, bus: wiring.PureInterface, go: Signal) -> _Beat:
        """Step through the beats of bursts on channel `name`, each when `go` says so."""
        address, length, number, valid, ready = (
            getattr(bus, name + part) for part in ("addr", "len", "id", "valid", "ready")
        )
        shift = exact_log2(self.config.memory_width)
        index = Signal(32 - shift, reset_less=True, name=f"{name}_index")
        more = Signal(8, reset_less=True, name=f"{name}_more")
        burst_id = Signal(reset_less=True, name=f"{name}_id")
        active = Signal(name=f"{name}_active")
        last = Signal(name=f"{name}_last")
        m.d.comb += [last.eq(more == 0), ready.eq(~active | (go & last))]
        with m.If(go):
            m.d.sync += [index.eq(index + 1), more.eq(more - 1), active.eq(~last)]
        with m.If(valid & ready):
            m.d.sync += [
                index.eq(address[shift:]),
                more.eq(length),
                burst_id.eq(number),
                active.eq(1),
            ]
        outside = Signal(name=f"{name}_outside")
        m.d.comb += outside.eq(index >= self.config.on_chip_bytes // self.config.memory_width)
        return _Beat(active=active, id=burst_id, position=index, last=last, outside=outside)

    def _read(self, m: Module, word: Value) -> _Access:
        """Answer bursts of reads, as long as there is room for the answers."""
        bus = self.read
        layout = data.StructLayout({"word": len(word), "id": 1, "last": 1, "outside": 1})
        m.submodules.answers = answers = StreamFIFO(layout, _ANSWERS)
        go = Signal(name="read_go")
        free = Signal(range(_ANSWERS + 1), init=_ANSWERS)
        beat = self._step(m, "ar", bus, go)
        m.d.comb += go.eq(beat.active & (free != 0))
        m.d.sync += [
            free.eq(free - go + (bus.rvalid & bus.rready)),
            answers.i.valid.eq(go),
            answers.i.p.id.eq(beat.id),
            answers.i.p.last.eq(beat.last),
            answers.i.p.outside.eq(beat.outside),
        ]
        m.d.comb += [
            answers.i.p.word.eq(word),
            bus.rid.eq(answers.o.p.id),
            bus.rdata.eq(answers.o.p.word),
            bus.rlast.eq(answers.o.p.last),
            bus.rresp.eq(Mux(answers.o.p.outside, DECODE_ERROR, 0)),
            bus.rvalid.eq(answers.o.valid),
            answers.o.ready.eq(bus.rready),
        ]
        return _Access(valid=go, position=beat.position)

    def _write(self, m: Module) -> tuple[_Access, Value]:
        """Take bursts of writes, as long as there is room; return also which bytes to write."""
        bus = self.write
        layout = data.StructLayout({"id": 1, "outside": 1})
        m.submodules.responses = responses = StreamFIFO(layout, _ANSWERS)
        go = Signal(name="write_go")
        failed = Signal()
        beat = self._step(m, "aw", bus, go)
        m.d.comb += [
            bus.wready.eq(beat.active & responses.i.ready),
            go.eq(bus.wvalid & bus.wready),
            responses.i.valid.eq(go & beat.last),
            responses.i.p.id.eq(beat.id),
            responses.i.p.outside.eq(failed | beat.outside),
            bus.bid.eq(responses.o.p.id),
            bus.bresp.eq(Mux(responses.o.p.outside, DECODE_ERROR, 0)),
            bus.bvalid.eq(responses.o.valid),
            responses.o.ready.eq(bus.bready),
        ]
        with m.If(go):
            m.d.sync += failed.eq(~beat.last & (failed | beat.outside))
        return _Access(valid=go, position=beat.position), Mux(beat.outside, 0, bus.wstrb)
