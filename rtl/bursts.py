"""From requests to bursts: what reading and writing memory have in common."""

from amaranth import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from celosia.config import MachineConfig

__all__ = ["Burst", "BurstSplitter", "MemoryRequest", "Watchdog", "WindowCheck", "burst_limit"]

#: Most beats of a burst, however long a request is: a client waits no longer for the one before.
MAX_BURST = 32
#: No burst crosses a multiple of this many bytes.
BOUNDARY = 4096


class MemoryRequest(data.Struct):
    """A run of memory: byte address (in the window, or absolute) and beats.

    The address is a multiple of the memory width; its low bits are ignored. A request of no beats
    has no effect.
    """

    address: 32
    beats: 24


class Burst(data.Struct):
    """One burst: absolute byte address, and beats, 1 to `MAX_BURST`."""

    address: 32
    beats: range(MAX_BURST + 1)


def burst_limit(config: MachineConfig, room: int) -> int:
    """Most beats of a burst, a power of two, such that four of them fit into `room` beats."""
    return min(MAX_BURST, BOUNDARY // config.memory_width, 1 << max(room // 4, 1).bit_length() - 1)


class WindowCheck(wiring.Component):
    """Lets requests pass that stay within the window, with absolute addresses.

    Others are dropped. Two cycles of latency; one request per cycle.

    Parameters
    ----------
    config : MachineConfig
        Memory width.

    Members
    -------
    i : In(stream.Signature(MemoryRequest))
        Requests, relative to the window.
    o : Out(stream.Signature(MemoryRequest))
        Requests, absolute.
    window_base, window_size : In(32)
        The window in bytes; must not change while there are requests.
    outside : Out(1)
        A request is dropped in this cycle.
    busy : Out(1)
        There are requests inside.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(MemoryRequest)),
            "o": Out(stream.Signature(MemoryRequest)),
            "window_base": In(32),
            "window_size": In(32),
            "outside": Out(1),
            "busy": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        shift = exact_log2(self.config.memory_width)

        # Stage 1: where the request ends. Beats and address together have 33 bits at most.
        request = Signal(MemoryRequest, reset_less=True)
        end = Signal(33, reset_less=True)
        valid = Signal()
        go_1 = Signal()
        m.d.comb += self.i.ready.eq(go_1 | ~valid)
        with m.If(self.i.ready):
            m.d.sync += [
                request.eq(self.i.payload),
                end.eq(
                    Cat(Const(0, shift), self.i.p.address[shift:])
                    + Cat(Const(0, shift), self.i.p.beats)
                ),
                valid.eq(self.i.valid & (self.i.p.beats != 0)),
            ]

        # Stage 2: drop it, or make it absolute.
        inside = Signal()
        m.d.comb += [
            go_1.eq(self.o.ready | ~self.o.valid),
            inside.eq(end <= self.window_size),
            self.outside.eq(valid & go_1 & ~inside),
            self.busy.eq(valid | self.o.valid),
        ]
        with m.If(go_1):
            m.d.sync += [
                self.o.p.address.eq(self.window_base + request.address),
                self.o.p.beats.eq(request.beats),
                self.o.valid.eq(valid & inside),
            ]

        return m


class BurstSplitter(wiring.Component):
    """Splits requests into bursts that end at multiples of `limit` beats.

    As `limit` beats divide 4096 bytes, no burst crosses such a boundary. One burst per cycle, but
    for one cycle between requests; the first one comes two cycles after its request.

    Parameters
    ----------
    config : MachineConfig
        Memory width.
    limit : int
        Most beats of a burst; a power of two from `burst_limit`.

    Members
    -------
    i : In(stream.Signature(MemoryRequest))
        Requests with absolute addresses and at least one beat.
    o : Out(stream.Signature(Burst))
        Their bursts, in order.
    busy : Out(1)
        There are requests inside.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, config: MachineConfig, limit: int) -> None:
        self.config = config
        self.limit = limit
        super().__init__({
            "i": In(stream.Signature(MemoryRequest)),
            "o": Out(stream.Signature(Burst)),
            "busy": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        shift = exact_log2(self.config.memory_width)
        bits = exact_log2(self.limit)

        # The part of the request that is left. `beat` counts beats from address 0; `left` is one
        # less than the beats that are left, so that the sign of a difference tells the last burst.
        beat = Signal(32 - shift, reset_less=True)
        left = Signal(24, reset_less=True)
        to_boundary = Signal(range(self.limit + 1), reset_less=True)
        active = Signal()
        rest = Signal(signed(25))
        last = Signal()
        step = Signal()
        m.d.comb += [
            rest.eq(left - to_boundary),
            last.eq(rest < 0),
            step.eq(active & (self.o.ready | ~self.o.valid)),
            self.i.ready.eq(~active),
            self.busy.eq(active | self.o.valid),
        ]
        with m.If(step):
            m.d.sync += [
                self.o.p.address.eq(Cat(Const(0, shift), beat)),
                self.o.p.beats.eq(Mux(last, left[: bits + 1] + 1, to_boundary)),
                self.o.valid.eq(1),
                beat.eq(Cat(Const(0, bits), beat[bits:] + 1)),
                left.eq(rest),
                to_boundary.eq(self.limit),
                active.eq(~last),
            ]
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.i.valid & self.i.ready):
            address = self.i.p.address[shift:]
            m.d.sync += [
                beat.eq(address),
                left.eq(self.i.p.beats - 1),
                to_boundary.eq(self.limit - address[:bits]),
                active.eq(1),
            ]

        return m


class Watchdog(wiring.Component):
    """Barks when something is awaited for `cycles` cycles without any progress.

    Members
    -------
    waiting : In(1)
        Something is awaited.
    progress : In(1)
        Some of it has come.
    barks : Out(1)
        It took too long; stays high until progress.
    """

    def __init__(self, cycles: int) -> None:
        self.cycles = cycles
        super().__init__({"waiting": In(1), "progress": In(1), "barks": Out(1)})

    def elaborate(self, platform) -> Module:
        m = Module()
        left = Signal(range(self.cycles + 1), init=self.cycles)
        m.d.comb += self.barks.eq(left == 0)
        with m.If(self.progress | ~self.waiting):
            m.d.sync += left.eq(self.cycles)
        with m.Elif(~self.barks):
            m.d.sync += left.eq(left - 1)
        return m
