"""From the rows of LOAD and STORE to memory requests."""

from amaranth import Cat, Const, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from celosia.config import MachineConfig
from celosia.rtl.bursts import MAX_BURST, MemoryRequest

__all__ = ["MemoryRows", "RowRequests"]


class MemoryRows(data.Struct):
    """Rows of memory: how many beats of each, from the first one's address, `pitch` bytes apart."""

    address: 32
    pitch: 32
    rows: 16
    beats: 24


class RowRequests(wiring.Component):
    """Asks for every row, and for rows that follow each other at once.

    Contiguous rows are joined until a request has as many beats as the longest burst. Two cycles
    per request and one more per row joined to it; two cycles to start.

    Parameters
    ----------
    config : MachineConfig
        Memory width.

    Members
    -------
    i : In(stream.Signature(MemoryRows))
        Rows; nothing is asked for if `rows` or `beats` is 0.
    requests : Out(stream.Signature(MemoryRequest))
        Requests, in order.
    busy : Out(1)
        Not all has been asked for.
    """

    i: stream.Interface
    requests: stream.Interface

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(MemoryRows)),
            "requests": Out(stream.Signature(MemoryRequest)),
            "busy": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        rows = self.i.p
        address = Signal(32, reset_less=True)  # of the next row
        pitch = Signal(32, reset_less=True)
        row_beats = Signal(24, reset_less=True)
        left = Signal(16, reset_less=True)
        joins = Signal(reset_less=True)  # rows follow each other without a gap
        pending = self.requests.p.beats

        # Compare the pitch once per job; then join rows and ask for them in turn.
        comparing = Signal()
        joining = Signal()
        joined = Signal(24)
        shift = exact_log2(self.config.memory_width)
        m.d.comb += [
            self.busy.eq(comparing | joining | self.requests.valid),
            self.i.ready.eq(~self.busy),
            joined.eq(pending + row_beats),
        ]
        with m.If(~self.busy):
            m.d.sync += [
                address.eq(rows.address),
                pitch.eq(rows.pitch),
                row_beats.eq(rows.beats),
                left.eq(rows.rows),
                pending.eq(0),
                comparing.eq(self.i.valid & (rows.rows != 0) & (rows.beats != 0)),
            ]
        with m.If(comparing):
            m.d.sync += [
                joins.eq(pitch == Cat(Const(0, shift), row_beats)),
                comparing.eq(0),
                joining.eq(1),
            ]
        with m.If(joining):
            m.d.sync += [
                address.eq(address + pitch),
                left.eq(left - 1),
                pending.eq(joined),
            ]
            with m.If(pending == 0):
                m.d.sync += self.requests.p.address.eq(address)
            with m.If(~joins | (left == 1) | (joined >= MAX_BURST)):
                m.d.sync += [joining.eq(0), self.requests.valid.eq(1)]
        with m.If(self.requests.valid & self.requests.ready):
            m.d.sync += [
                pending.eq(0),
                self.requests.valid.eq(0),
                joining.eq(left != 0),
            ]

        return m
