"""Memory reader: requests of several clients become AXI4 read bursts."""

from collections.abc import Sequence

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from celosia.config import MachineConfig
from celosia.isa import Cause
from celosia.rtl.axi import BURST_INCR, AXI4Read
from celosia.rtl.bursts import MAX_BURST, MemoryRequest, Watchdog
from celosia.rtl.read_client import ReadClient
from celosia.rtl.stream import StreamFIFO

__all__ = ["MemoryReader"]

#: Longest latency of the memory, in cycles, that is told from longer ones.
LATENCY_LIMIT = 255


class MemoryReader(wiring.Component):
    """Reads memory for several clients over one AXI4 port.

    Requests become incrementing bursts of at most 32 beats that never cross 4 KB, up to
    `config.outstanding_reads` at once, of one ID. A burst is issued only when the queue of its
    client has room for it, so `rready` is always high and no client can block another. Clients
    that have less than their reserve go first, and of equal ones that with the lowest index. One
    beat per cycle; a burst per cycle, every other cycle of the same client.

    No more beats are under way than the memory takes cycles to answer, and a burst: what is asked
    for sooner than needed would only wait at the memory, and what is urgent behind it. That
    latency is measured whenever nothing else is under way.

    A request that leaves the window is dropped and reads nothing. That, an error response, or
    `config.watchdog_cycles` cycles without progress is a fault: it is held until reset, and
    nothing is issued or given to a client after it.

    Parameters
    ----------
    config : MachineConfig
        Memory width, outstanding reads, watchdog.
    depths : sequence of int
        For each client, the beats its queue holds, at least 4. Its bursts are at most a quarter
        of it; the depth should cover the memory's latency at the client's rate.
    reserves : sequence of int, optional
        For each client, the beats that it should always have in its queue or under way; by
        default none.

    Members
    -------
    requests : In(stream.Signature(MemoryRequest)).array(clients)
        What to read; addresses relative to the window.
    data : Out(stream.Signature(8 * memory_width)).array(clients)
        The beats, in order.
    window_base, window_size : In(32)
        The window in bytes; the base is a multiple of the memory width.
    stop : In(1)
        Issue nothing new.
    bus : Out(AXI4Read(config))
        Memory.
    fault : Out(3)
        Cause of the first fault, 0 while there is none.
    fault_client : Out(range(clients))
        Whose fault it is.
    idle : Out(1)
        All that was asked for has come; never after a fault.
    quiet : Out(1)
        No burst is under way: after a fault, or with `stop`, the reader can be reset.
    beat : Out(1)
        A beat is transferred.
    """

    requests: list[stream.Interface]
    data: list[stream.Interface]
    bus: wiring.PureInterface

    def __init__(
        self, config: MachineConfig, depths: Sequence[int], reserves: Sequence[int] = ()
    ) -> None:
        self.config = config
        self.depths = tuple(depths)
        self.reserves = tuple(reserves) or (0,) * len(depths)
        clients = len(self.depths)
        super().__init__({
            "requests": In(stream.Signature(MemoryRequest)).array(clients),
            "data": Out(stream.Signature(8 * config.memory_width)).array(clients),
            "window_base": In(32),
            "window_size": In(32),
            "stop": In(1),
            "bus": Out(AXI4Read(config)),
            "fault": Out(3),
            "fault_client": Out(range(max(clients, 2))),
            "idle": Out(1),
            "quiet": Out(1),
            "beat": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        clients = []
        for index, sizes in enumerate(zip(self.depths, self.reserves, strict=True)):
            m.submodules[f"client_{index}"] = client = ReadClient(self.config, *sizes)
            connect(m, flipped(self.requests[index]), client.requests)
            connect(m, client.data, flipped(self.data[index]))
            m.d.comb += [
                client.window_base.eq(self.window_base),
                client.window_size.eq(self.window_size),
            ]
            clients.append(client)
        number = self.fault_client.shape()
        m.submodules.order = order = StreamFIFO(number, max(3, self.config.outstanding_reads))

        enough = Signal()  # beats are under way
        self._issue(m, clients, order, enough)
        self._receive(m, clients, order)
        self._measure(m, order, enough)
        return m

    def _issue(
        self, m: Module, clients: list[ReadClient], order: StreamFIFO, enough: Signal
    ) -> None:
        """Send the bursts, and note whose they are."""
        bus = self.bus
        may_issue = Signal()
        m.d.comb += [
            may_issue.eq(
                (bus.arready | ~bus.arvalid)
                & (order.level < self.config.outstanding_reads)
                & ~enough
                & (self.fault == 0)
                & ~self.stop
            ),
            bus.arid.eq(0),
            bus.arsize.eq(exact_log2(self.config.memory_width)),
            bus.arburst.eq(BURST_INCR),
        ]
        with m.If(bus.arready):
            m.d.sync += bus.arvalid.eq(0)
        # Urgent bursts, then the rest; the first of all goes.
        urgent = [client.bursts.valid & client.urgent for client in clients]
        wanted = Signal(2 * len(clients))
        first = Signal.like(wanted)
        m.d.comb += [
            wanted.eq(Cat(urgent, (client.bursts.valid for client in clients))),
            first.eq(wanted & -wanted),
        ]
        for index, client in enumerate(clients):
            goes = Signal(name=f"goes_{index}")
            m.d.comb += [
                goes.eq(may_issue & (first[index] | first[index + len(clients)])),
                client.bursts.ready.eq(goes),
            ]
            with m.If(goes):
                m.d.comb += [order.i.valid.eq(1), order.i.payload.eq(index)]
                m.d.sync += [
                    bus.arvalid.eq(1),
                    bus.araddr.eq(client.bursts.p.address),
                    bus.arlen.eq(client.bursts.p.beats - 1),
                ]

    def _measure(self, m: Module, order: StreamFIFO, enough: Signal) -> None:
        """Count the beats under way, and the cycles from a burst to its first beat."""
        bus = self.bus
        limit = self.config.outstanding_reads * MAX_BURST
        under_way = Signal(range(limit + 1))
        asked = Signal(range(MAX_BURST + 1))
        allowed = Signal(range(LATENCY_LIMIT + MAX_BURST + 1), init=LATENCY_LIMIT + MAX_BURST)
        alone = Signal()  # the only burst under way has not been answered
        elapsed = Signal(range(LATENCY_LIMIT + 1))
        known = Signal()
        m.d.comb += asked.eq(Mux(bus.arvalid & bus.arready, bus.arlen + 1, 0))
        m.d.sync += [
            under_way.eq(under_way + asked - self.beat),
            # A burst that is on its way to the bus counts a cycle late.
            enough.eq(under_way + asked >= allowed),
        ]
        with m.If(order.i.valid & ~order.o.valid):
            m.d.sync += [alone.eq(1), elapsed.eq(1)]
        with m.Elif(alone):
            m.d.sync += elapsed.eq(Mux(elapsed == LATENCY_LIMIT, elapsed, elapsed + 1))
        with m.If(alone & self.beat):
            m.d.sync += [alone.eq(0), known.eq(1)]
            with m.If(~known | (elapsed + MAX_BURST > allowed)):
                m.d.sync += allowed.eq(elapsed + MAX_BURST)

    def _receive(self, m: Module, clients: list[ReadClient], order: StreamFIFO) -> None:
        """Give the beats to the clients; hold the first fault."""
        bus = self.bus
        beat = Signal(8 * self.config.memory_width, reset_less=True)
        valid = Signal()
        error = Signal()
        last = Signal()
        m.submodules.watchdog = watchdog = Watchdog(self.config.watchdog_cycles)
        m.d.comb += [
            bus.rready.eq(1),
            self.beat.eq(valid),
            order.o.ready.eq(valid & last),
            watchdog.waiting.eq(~self.quiet),
            watchdog.progress.eq((bus.arvalid & bus.arready) | valid),
        ]
        m.d.sync += [
            beat.eq(bus.rdata),
            valid.eq(bus.rvalid),
            error.eq(bus.rresp[1]),
            last.eq(bus.rlast),
        ]
        for index, client in enumerate(clients):
            m.d.comb += [
                client.beat.eq(beat),
                client.beat_valid.eq(
                    valid & ~error & (order.o.payload == index) & (self.fault == 0)
                ),
            ]

        m.d.comb += [
            self.quiet.eq(~bus.arvalid & ~order.o.valid),
            self.idle.eq(
                self.quiet & (self.fault == 0) & ~Cat(client.busy for client in clients).any()
            ),
        ]

        with m.If(self.fault == 0):
            with m.If(valid & error):
                m.d.sync += [
                    self.fault.eq(Cause.MEMORY_ERROR),
                    self.fault_client.eq(order.o.payload),
                ]
            with m.Elif(watchdog.barks):
                m.d.sync += [
                    self.fault.eq(Cause.WATCHDOG),
                    self.fault_client.eq(order.o.payload),
                ]
            for index, client in enumerate(clients):
                with m.If(client.outside):
                    m.d.sync += [
                        self.fault.eq(Cause.OUTSIDE_WINDOW),
                        self.fault_client.eq(index),
                    ]
