"""One client of the memory reader."""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from celosia.config import MachineConfig
from celosia.rtl.bursts import Burst, BurstSplitter, MemoryRequest, WindowCheck, burst_limit
from celosia.rtl.stream import StreamFIFO

__all__ = ["ReadClient"]


class ReadClient(wiring.Component):
    """One client of the reader: its requests as bursts, and the queue of its data.

    Parameters
    ----------
    config : MachineConfig
        Memory width.
    depth : int
        Beats that the queue holds, at least 4. Bursts have a quarter of it at most.
    reserve : int
        Beats that the client should always have in its queue or under way.

    Members
    -------
    requests : In(stream.Signature(MemoryRequest))
        What to read.
    data : Out(stream.Signature(8 * memory_width))
        The beats, in order.
    window_base, window_size : In(32)
        The window.
    bursts : Out(stream.Signature(Burst))
        Bursts for which there is room, one every two cycles; taking one reserves it.
    beat, beat_valid : In(8 * memory_width), In(1)
        A beat that has come.
    outside : Out(1)
        A request is dropped in this cycle.
    urgent : Out(1)
        It has less than its reserve; right two cycles after a burst was taken.
    busy : Out(1)
        There are requests that have not become bursts.
    """

    requests: stream.Interface
    data: stream.Interface
    bursts: stream.Interface

    def __init__(self, config: MachineConfig, depth: int, reserve: int = 0) -> None:
        self.config = config
        self.depth = depth
        self.reserve = reserve
        width = 8 * config.memory_width
        super().__init__({
            "requests": In(stream.Signature(MemoryRequest)),
            "data": Out(stream.Signature(width)),
            "window_base": In(32),
            "window_size": In(32),
            "bursts": Out(stream.Signature(Burst)),
            "beat": In(width),
            "beat_valid": In(1),
            "outside": Out(1),
            "urgent": Out(1),
            "busy": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        limit = burst_limit(self.config, self.depth)
        m.submodules.check = check = WindowCheck(self.config)
        m.submodules.splitter = splitter = BurstSplitter(self.config, limit)
        m.submodules.queue = queue = StreamFIFO(8 * self.config.memory_width, self.depth)
        connect(m, flipped(self.requests), check.i)
        connect(m, check.o, splitter.i)
        connect(m, queue.o, flipped(self.data))
        m.d.comb += [
            check.window_base.eq(self.window_base),
            check.window_size.eq(self.window_size),
            self.outside.eq(check.outside),
            self.busy.eq(check.busy | splitter.busy),
            queue.i.valid.eq(self.beat_valid),
            queue.i.payload.eq(self.beat),
        ]

        # Room that is neither filled nor reserved. Whether a burst fits is found a cycle ahead:
        # only taking a burst makes less room.
        free = Signal(range(self.depth + 1), init=self.depth)
        fits = Signal()
        taken = Signal()
        left = Signal()  # a beat has left the queue: a cycle late, as its taker decides late
        m.d.comb += [
            taken.eq(fits & self.bursts.ready),
            self.bursts.valid.eq(fits),
            self.bursts.payload.eq(splitter.o.payload),
            splitter.o.ready.eq(taken),
        ]
        m.d.sync += [
            self.urgent.eq(free > self.depth - self.reserve),
            fits.eq(splitter.o.valid & ~taken & (splitter.o.p.beats <= free)),
            left.eq(self.data.valid & self.data.ready),
            free.eq(free - Mux(taken, splitter.o.p.beats, 0) + left),
        ]

        return m
