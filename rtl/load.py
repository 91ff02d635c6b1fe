"""Load unit: from memory to scratchpad, parameters and table."""

from amaranth import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from celosia.config import MachineConfig
from celosia.cores.activation import TableWrite
from celosia.cores.arith import delayed
from celosia.isa import Flag, Opcode, Space
from celosia.rtl.bursts import MemoryRequest
from celosia.rtl.decode import has_flag, operand_layout
from celosia.rtl.exponents import ScratchpadWrite
from celosia.rtl.load_rows import LoadJob, RowWriter
from celosia.rtl.parameters import ParameterWrite
from celosia.rtl.row_requests import RowRequests
from celosia.rtl.scratchpad import Scratchpad
from celosia.rtl.stream import StreamFIFO

__all__ = ["EntryWriter", "LoadUnit"]

#: Bytes of a parameter entry and of a table entry.
ENTRY_BYTES = {Space.PARAMETERS: 8, Space.TABLE: 4}


class EntryWriter(wiring.Component):
    """Writes entries of the parameter buffer or the table, one a cycle unless a beat is less.

    Members
    -------
    i : In(stream.Signature(LoadJob(config)))
        What to write; taken when its last entry is.
    data : In(stream.Signature(8 * memory_width))
        The beats that hold the entries.
    parameters : Out(ParameterWrite(config))
        Entries of the parameter buffer.
    table : Out(TableWrite())
        Entries of the table.
    """

    i: stream.Interface
    data: stream.Interface
    parameters: wiring.PureInterface
    table: wiring.PureInterface

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(LoadJob(config))),
            "data": In(stream.Signature(8 * config.memory_width)),
            "parameters": Out(ParameterWrite(config)),
            "table": Out(TableWrite()),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        parameters, table = self.parameters, self.table

        begun = Signal()
        entry = Signal(16, reset_less=True)
        left = Signal(16, reset_less=True)
        is_table = Signal()
        ends = Signal()  # this cycle ends an entry
        beat_ends = Signal()
        step = Signal()
        last = Signal()
        m.d.comb += [
            is_table.eq(self.i.p.space == Space.TABLE),
            step.eq(begun & self.data.valid),
            last.eq(ends & (left == 1)),
            self.data.ready.eq(step & (beat_ends | last)),
            self.i.ready.eq(step & last),
        ]
        with m.If(~begun):
            m.d.sync += [
                begun.eq(self.i.valid),
                entry.eq(self.i.p.base),
                left.eq(self.i.p.words),
            ]
        with m.Elif(step):
            m.d.sync += [begun.eq(~last), entry.eq(entry + ends), left.eq(left - ends)]

        word = Signal(32)  # of a table entry
        pair = Signal(64)  # of a parameter entry
        if self.config.memory_width == 4:
            self._join(m, word, pair, step, is_table, ends, beat_ends)
        else:
            self._split(m, word, pair, step, is_table, ends, beat_ends)

        m.d.sync += [
            parameters.valid.eq(step & ends & ~is_table),
            parameters.address.eq(entry),
            parameters.data.multiplier.eq(pair[:15]),
            parameters.data.shift.eq(pair[16:22]),
            parameters.data.bias.eq(pair[32:48]),
            table.valid.eq(step & is_table),
            table.address.eq(entry),
            table.value.eq(word[:16]),
            table.slope.eq(word[16:]),
        ]
        return m

    def _join(self, m: Module, word, pair, step, is_table, ends, beat_ends) -> None:
        """Make a parameter entry of two beats."""
        low = Signal(32, reset_less=True)
        half = Signal()  # the second half of a parameter entry
        m.d.comb += [
            word.eq(self.data.payload),
            pair.eq(Cat(low, word)),
            ends.eq(is_table | half),
            beat_ends.eq(1),
        ]
        with m.If(step):
            m.d.sync += [low.eq(word), half.eq(~ends)]

    def _split(self, m: Module, word, pair, step, is_table, ends, beat_ends) -> None:
        """Take entries from a beat one after the other."""
        words = self.config.memory_width // 4
        index = Signal(range(words))
        m.d.comb += [
            word.eq(self.data.payload.word_select(index, 32)),
            pair.eq(self.data.payload.word_select(index[1:], 64)),
            ends.eq(1),
            beat_ends.eq((index == words - 1) | (~is_table & (index == words - 2))),
        ]
        with m.If(step):
            m.d.sync += index.eq(Mux(self.data.ready, 0, index + Mux(is_table, 1, 2)))


class LoadUnit(wiring.Component):
    """Executes LOAD: asks for rows ahead of the data, and writes them as they come.

    One beat per cycle for rows, also across instructions; one entry per cycle. The
    requests run up to `AHEAD` instructions ahead of the data.

    Parameters
    ----------
    config : MachineConfig
        The machine.

    Members
    -------
    instruction : In(stream.Signature(operand_layout(Opcode.LOAD)))
        Instructions, taken when all their requests have been made.
    requests, data : memory client
        Out(stream.Signature(MemoryRequest)), In(stream.Signature(8 * memory_width)).
    writes : Out(stream.Signature(ScratchpadWrite(config)))
        Words for the scratchpad.
    parameters : Out(ParameterWrite(config))
        Entries for the parameter buffer.
    table : Out(TableWrite())
        Entries for the table.
    done : Out(1)
        An instruction has ended: all that it wrote can be read, exponents too. In order.
    busy : Out(1)
        An instruction is being executed.
    loaded : Out(1)
        A word of a chained LOAD can be asked for. Only of machines with chaining.
    """

    #: Instructions whose data may be under way.
    AHEAD = 4

    instruction: stream.Interface
    requests: stream.Interface
    data: stream.Interface
    writes: stream.Interface
    parameters: wiring.PureInterface
    table: wiring.PureInterface

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "instruction": In(stream.Signature(operand_layout(Opcode.LOAD))),
            "requests": Out(stream.Signature(MemoryRequest)),
            "data": In(stream.Signature(8 * config.memory_width)),
            "writes": Out(stream.Signature(ScratchpadWrite(config))),
            "parameters": Out(ParameterWrite(config)),
            "table": Out(TableWrite()),
            "done": Out(1),
            "busy": Out(1),
            **({"loaded": Out(1)} if config.chaining else {}),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        layout = LoadJob(self.config)
        m.submodules.asking = asking = RowRequests(self.config)
        m.submodules.jobs = jobs = StreamFIFO(layout, self.AHEAD)
        m.submodules.rows = rows = RowWriter(self.config)
        m.submodules.entries = entries = EntryWriter(self.config)
        connect(m, asking.requests, flipped(self.requests))
        connect(m, rows.writes, flipped(self.writes))
        connect(m, entries.parameters, flipped(self.parameters))
        connect(m, entries.table, flipped(self.table))

        # An instruction goes both ways at once.
        operands = self.instruction.p
        both = Signal()
        m.d.comb += [
            both.eq(asking.i.ready & jobs.i.ready),
            self.instruction.ready.eq(both),
            asking.i.valid.eq(self.instruction.valid & both),
            jobs.i.valid.eq(self.instruction.valid & both),
        ]
        m.d.comb += [
            asking.i.p.address.eq(operands.address),
            asking.i.p.pitch.eq(operands.pitch),
            asking.i.p.rows.eq(Mux(operands.space[1], operands.rows != 0, operands.rows)),
            asking.i.p.beats.eq(self._row_beats(operands, operands.words)),
        ]
        chained = has_flag(operands, Flag.CHAIN)
        if self.config.chaining:
            with m.If(chained):
                m.d.comb += [
                    asking.i.p.rows.eq(operands.words),
                    asking.i.p.beats.eq(self._row_beats(operands, operands.rows)),
                ]
        for name in layout.members:
            m.d.comb += jobs.i.p[name].eq(chained if name == "chained" else operands[name])

        # Its data goes to one of the writers.
        job = jobs.o.p
        empty = Signal()
        to_entries = Signal()
        m.d.comb += [
            empty.eq((job.rows == 0) | (job.words == 0)),
            to_entries.eq(job.space[1]),
            rows.i.valid.eq(jobs.o.valid & ~empty & ~to_entries),
            rows.i.payload.eq(job),
            entries.i.valid.eq(jobs.o.valid & ~empty & to_entries),
            entries.i.payload.eq(job),
            jobs.o.ready.eq(empty | rows.i.ready | entries.i.ready),
            rows.data.valid.eq(self.data.valid),
            rows.data.payload.eq(self.data.payload),
            entries.data.valid.eq(self.data.valid),
            entries.data.payload.eq(self.data.payload),
            self.data.ready.eq(rows.data.ready | entries.data.ready),
        ]

        if self.config.chaining:
            word = self.writes.valid & self.writes.ready & job.chained
            cycles = Scratchpad.write_latency - 1
            m.d.comb += self.loaded.eq(delayed(m, word, cycles, "loaded", reset_less=False))

        ending = Signal(unsigned(Scratchpad.write_latency))
        m.d.sync += ending.eq((ending << 1) | (jobs.o.valid & jobs.o.ready))
        m.d.comb += [
            self.done.eq(ending[-1]),
            self.busy.eq(asking.busy | jobs.o.valid | ending.any()),
        ]
        return m

    def _row_beats(self, operands: data.View, words: Value) -> Value:
        """Beats of so many words of a row, or of entries, rounded up."""
        width = self.config.memory_width
        row16 = words << exact_log2(2 * self.config.lanes // width)
        # Two words of int8 may share a beat; a row begins with a new one.
        shared = max(width // self.config.lanes, 1)
        row8 = (words << exact_log2(max(self.config.lanes // width, 1))) + (shared - 1)
        row8 >>= exact_log2(shared)
        entries = [
            ((words << exact_log2(ENTRY_BYTES[space])) + (width - 1)) >> exact_log2(width)
            for space in (Space.PARAMETERS, Space.TABLE)
        ]
        return Mux(
            operands.space[1],
            Mux(operands.space[0], entries[1], entries[0]),
            Mux(operands.space[0], row8, row16),
        )
