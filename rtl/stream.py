"""Buffers between streams."""

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.hdl import ShapeLike
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["SkidBuffer", "StreamFIFO"]


class SkidBuffer(wiring.Component):
    """Register stage that cuts the paths of `valid`, payload and `ready`.

    The latency is one cycle and the throughput one item per cycle; it holds up to two items. All
    outputs come from registers.

    Parameters
    ----------
    shape : ShapeLike
        Shape of the payload.

    Members
    -------
    i : In(stream.Signature(shape))
        Items.
    o : Out(stream.Signature(shape))
        The same items, in order.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, shape: ShapeLike) -> None:
        self.shape = shape
        super().__init__({
            "i": In(stream.Signature(shape)),
            "o": Out(stream.Signature(shape)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        spare = Signal(self.shape, reset_less=True)
        spare_valid = Signal()
        front = Signal(self.shape, reset_less=True)

        m.d.comb += [
            self.i.ready.eq(~spare_valid),
            self.o.payload.eq(front),
        ]
        with m.If(self.i.ready):
            m.d.sync += spare.eq(self.i.payload)
        with m.If(self.o.ready | ~self.o.valid):
            m.d.sync += [
                front.eq(Mux(spare_valid, Value.cast(spare), Value.cast(self.i.payload))),
                self.o.valid.eq(spare_valid | self.i.valid),
                spare_valid.eq(0),
            ]
        with m.Elif(self.i.valid):
            m.d.sync += spare_valid.eq(1)

        return m


class StreamFIFO(wiring.Component):
    """Queue of exactly `depth` items.

    Up to `DISTRIBUTED_DEPTH` items lie in distributed RAM or registers, and an item is offered
    one cycle after it was taken; more items lie in block RAM, and it is offered two cycles
    after. The throughput is one item per cycle; `i.ready` and `o.valid` come from registers.

    Parameters
    ----------
    shape : ShapeLike
        Shape of the payload, at least one bit wide.
    depth : int
        Items it can hold, at least 3: with fewer, the throughput is lower.

    Members
    -------
    i : In(stream.Signature(shape))
        Items.
    o : Out(stream.Signature(shape))
        The same items, in order.
    level : Out(range(depth + 1))
        How many it holds.

    Raises
    ------
    ValueError
        If `depth` is less than 3.
    """

    #: Deeper queues lie in block RAM.
    DISTRIBUTED_DEPTH = 16

    i: stream.Interface
    o: stream.Interface
    level: Signal

    def __init__(self, shape: ShapeLike, depth: int) -> None:
        if depth < 3:
            raise ValueError(f"StreamFIFO depth must be at least 3, not {depth}")
        self.shape = shape
        self.depth = depth
        super().__init__({
            "i": In(stream.Signature(shape)),
            "o": Out(stream.Signature(shape)),
            "level": Out(range(depth + 1)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        kind = fifo.SyncFIFO if self.depth <= self.DISTRIBUTED_DEPTH else fifo.SyncFIFOBuffered
        m.submodules.queue = queue = kind(width=len(Value.cast(self.i.payload)), depth=self.depth)
        ready = queue.w_rdy
        if kind is fifo.SyncFIFO:
            # Found a cycle ahead: much of the control begins here.
            ready, stays = Signal(init=1, name="ready"), Signal()
            m.d.comb += stays.eq(~(self.o.valid & self.o.ready))
            last = (queue.level == self.depth - 1) & self.i.valid
            m.d.sync += ready.eq(~(stays & ((queue.level == self.depth) | last)))
        m.d.comb += [
            queue.w_data.eq(self.i.payload),
            queue.w_en.eq(self.i.valid),
            self.i.ready.eq(ready),
            Cat(Value.cast(self.o.payload)).eq(queue.r_data),
            self.o.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.o.ready),
            self.level.eq(queue.level),
        ]
        return m
