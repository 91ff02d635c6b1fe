"""From the rows of LOAD and STORE to memory requests."""

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from celosia.config import MachineConfig
from celosia.isa import Space
from celosia.rtl.bursts import MAX_BURST, MemoryRequest

__all__ = ["MemoryRows", "RowRequests"]

#: Bytes of a parameter entry and of a table entry.
ENTRY_BYTES = {Space.PARAMETERS: 8, Space.TABLE: 4}


class MemoryRows(data.Struct):
    """Rows of memory: operands of LOAD and STORE."""

    space: 2
    address: 32
    pitch: 32
    rows: 16
    words: 16


class RowRequests(wiring.Component):
    """Asks for every row, and for rows that follow each other at once.

    Contiguous rows are joined until a request has as many beats as the longest burst. Two cycles
    per request and one more per row joined to it; two cycles to start.

    Parameters
    ----------
    config : MachineConfig
        Lanes and memory width.

    Members
    -------
    i : In(stream.Signature(MemoryRows))
        Rows; nothing is asked for if `rows` or `words` is 0. Parameters and tables have one row.
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
                row_beats.eq(self._row_beats(rows)),
                left.eq(Mux(rows.space[1], 1, rows.rows)),
                pending.eq(0),
                comparing.eq(self.i.valid & (rows.rows != 0) & (rows.words != 0)),
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

    def _row_beats(self, rows: data.View) -> Value:
        """Beats of one row, those of entries rounded up."""
        width = self.config.memory_width
        row16 = rows.words << exact_log2(2 * self.config.lanes // width)
        # Two words of int8 may share a beat; a row begins with a new one.
        shared = max(width // self.config.lanes, 1)
        row8 = (rows.words << exact_log2(max(self.config.lanes // width, 1))) + (shared - 1)
        row8 >>= exact_log2(shared)
        entries = [
            ((rows.words << exact_log2(ENTRY_BYTES[space])) + (width - 1)) >> exact_log2(width)
            for space in (Space.PARAMETERS, Space.TABLE)
        ]
        return Mux(
            rows.space[1],
            Mux(rows.space[0], entries[1], entries[0]),
            Mux(rows.space[0], row8, row16),
        )
