"""Memory writer: requests and beats become AXI4 write bursts."""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from celosia.config import MachineConfig
from celosia.isa import Cause
from celosia.rtl.axi import BURST_INCR, AXI4Write
from celosia.rtl.bursts import BurstSplitter, MemoryRequest, Watchdog, WindowCheck, burst_limit
from celosia.rtl.stream import StreamFIFO

__all__ = ["MemoryWriter", "WrittenBeat"]


class WrittenBeat(data.StructLayout):
    """A beat to write: `data`, and a bit of `strobe` for each byte that is written."""

    def __init__(self, config: MachineConfig) -> None:
        super().__init__({"data": 8 * config.memory_width, "strobe": config.memory_width})


class MemoryWriter(wiring.Component):
    """Writes memory over an AXI4 port.

    Requests become incrementing bursts of at most 16 beats that never cross 4 KB, up to
    `OUTSTANDING` at once, of one ID. A burst is issued only when all its beats are there, so the
    bus never waits for the machine and no fault leaves a burst half done. One beat per cycle.

    A request that leaves the window is dropped and writes nothing. That, an error response, or
    `config.watchdog_cycles` cycles without progress is a fault: it is held until reset, and no
    burst is issued after it.

    Parameters
    ----------
    config : MachineConfig
        Memory width, watchdog.

    Members
    -------
    requests : In(stream.Signature(MemoryRequest))
        Where to write; addresses relative to the window.
    data : In(stream.Signature(WrittenBeat(config)))
        The beats of the requests, in order.
    window_base, window_size : In(32)
        The window in bytes; the base is a multiple of the memory width.
    stop : In(1)
        Issue nothing new.
    bus : Out(AXI4Write(config))
        Memory.
    fault : Out(3)
        Cause of the first fault, 0 while there is none.
    idle : Out(1)
        Everything taken so far has been written and acknowledged; never after a fault.
    quiet : Out(1)
        No burst is under way: after a fault, or with `stop`, the writer can be reset.
    beat : Out(1)
        A beat is transferred.
    """

    #: Beats that wait to be written; bursts are at most a quarter of it.
    DEPTH = 64
    #: Bursts under way at once.
    OUTSTANDING = 16

    requests: stream.Interface
    data: stream.Interface
    bus: wiring.PureInterface

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "requests": In(stream.Signature(MemoryRequest)),
            "data": In(stream.Signature(WrittenBeat(config))),
            "window_base": In(32),
            "window_size": In(32),
            "stop": In(1),
            "bus": Out(AXI4Write(config)),
            "fault": Out(3),
            "idle": Out(1),
            "quiet": Out(1),
            "beat": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.check = check = WindowCheck(self.config)
        m.submodules.splitter = splitter = BurstSplitter(
            self.config, burst_limit(self.config, self.DEPTH)
        )
        m.submodules.queue = queue = StreamFIFO(WrittenBeat(self.config), self.DEPTH)
        m.submodules.lengths = lengths = StreamFIFO(splitter.o.p.beats.shape(), self.OUTSTANDING)
        connect(m, flipped(self.requests), check.i)
        connect(m, check.o, splitter.i)
        connect(m, flipped(self.data), queue.i)

        waiting = Signal(range(self.DEPTH + 1))  # beats in the queue that no burst has claimed
        under_way = Signal(range(self.OUTSTANDING + 1))
        m.d.comb += [
            check.window_base.eq(self.window_base),
            check.window_size.eq(self.window_size),
            self.quiet.eq(under_way == 0),
            self.idle.eq(
                self.quiet & (self.fault == 0) & ~(check.busy | splitter.busy | (waiting != 0))
            ),
        ]
        self._issue(m, splitter, lengths, waiting, under_way)
        self._send(m, queue, lengths)
        self._acknowledge(m, check, under_way)
        return m

    def _issue(
        self,
        m: Module,
        splitter: BurstSplitter,
        lengths: StreamFIFO,
        waiting: Signal,
        under_way: Signal,
    ) -> None:
        """Send the addresses of bursts whose beats are there."""
        bus = self.bus
        burst = splitter.o.p
        issue = Signal()
        # Found a cycle ahead: only issuing a burst makes `waiting` less.
        complete = Signal()
        m.d.sync += complete.eq(splitter.o.valid & ~issue & (burst.beats <= waiting))
        m.d.comb += [
            issue.eq(
                complete
                & ~bus.awvalid
                & (under_way != self.OUTSTANDING)
                & (self.fault == 0)
                & ~self.stop
            ),
            splitter.o.ready.eq(issue),
            lengths.i.valid.eq(issue),
            lengths.i.payload.eq(burst.beats),
            bus.awid.eq(0),
            bus.awsize.eq(exact_log2(self.config.memory_width)),
            bus.awburst.eq(BURST_INCR),
        ]
        m.d.sync += [
            waiting.eq(waiting + (self.data.valid & self.data.ready) - Mux(issue, burst.beats, 0)),
            under_way.eq(under_way + issue - (bus.bvalid & (under_way != 0))),
        ]
        with m.If(issue):
            m.d.sync += [
                bus.awvalid.eq(1),
                bus.awaddr.eq(burst.address),
                bus.awlen.eq(burst.beats - 1),
            ]
        with m.Elif(bus.awready):
            m.d.sync += bus.awvalid.eq(0)

    def _send(self, m: Module, queue: StreamFIFO, lengths: StreamFIFO) -> None:
        """Send the beats of the bursts."""
        bus = self.bus
        sent = Signal.like(lengths.o.payload)  # of the burst at hand
        m.d.comb += [
            bus.wdata.eq(queue.o.p.data),
            bus.wstrb.eq(queue.o.p.strobe),
            bus.wlast.eq(sent + 1 == lengths.o.payload),
            bus.wvalid.eq(lengths.o.valid & queue.o.valid),
            queue.o.ready.eq(lengths.o.valid & bus.wready),
            self.beat.eq(bus.wvalid & bus.wready),
            lengths.o.ready.eq(self.beat & bus.wlast),
        ]
        with m.If(self.beat):
            m.d.sync += sent.eq(Mux(bus.wlast, 0, sent + 1))

    def _acknowledge(self, m: Module, check: WindowCheck, under_way: Signal) -> None:
        """Take the responses; hold the first fault."""
        bus = self.bus
        acknowledged = Signal()
        m.submodules.watchdog = watchdog = Watchdog(self.config.watchdog_cycles)
        m.d.comb += [
            bus.bready.eq(1),
            acknowledged.eq(bus.bvalid & (under_way != 0)),
            watchdog.waiting.eq(under_way != 0),
            watchdog.progress.eq((bus.awvalid & bus.awready) | self.beat | acknowledged),
        ]
        with m.If(self.fault == 0):
            with m.If(check.outside):
                m.d.sync += self.fault.eq(Cause.OUTSIDE_WINDOW)
            with m.Elif(acknowledged & bus.bresp[1]):
                m.d.sync += self.fault.eq(Cause.MEMORY_ERROR)
            with m.Elif(watchdog.barks):
                m.d.sync += self.fault.eq(Cause.WATCHDOG)
