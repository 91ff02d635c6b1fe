"""Store unit: from scratchpad to memory."""

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from celosia.config import MachineConfig
from celosia.isa import Opcode, Space
from celosia.rtl.bursts import MemoryRequest
from celosia.rtl.decode import operand_layout
from celosia.rtl.exponents import ScratchpadWord
from celosia.rtl.memory_writer import WrittenBeat
from celosia.rtl.row_requests import RowRequests
from celosia.rtl.store_beats import BeatMaker, StoredRow, beat_of

__all__ = ["StoreUnit"]


class StoreUnit(wiring.Component):
    """Executes STORE: reads rows and hands them to the memory writer.

    One beat per cycle within an instruction; the next one begins when this one has ended. Words
    and beats of a row that hold nothing of its range are neither read nor written.

    Parameters
    ----------
    config : MachineConfig
        The machine.

    Members
    -------
    instruction : In(stream.Signature(operand_layout(Opcode.STORE)))
        Instructions, taken when they have ended.
    addresses : Out(stream.Signature(range(scratchpad_words)))
        Requests of the scratchpad's read port.
    words : In(stream.Signature(ScratchpadWord(config)))
        Its words.
    requests : Out(stream.Signature(MemoryRequest))
        Requests of the memory writer.
    data : Out(stream.Signature(WrittenBeat(config)))
        Its beats.
    writer_idle : In(1)
        The memory writer's `idle`.
    done : Out(1)
        An instruction has ended: memory has acknowledged all of it.
    busy : Out(1)
        An instruction is being executed.
    """

    instruction: stream.Interface
    addresses: stream.Interface
    words: stream.Interface
    requests: stream.Interface
    data: stream.Interface

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "instruction": In(stream.Signature(operand_layout(Opcode.STORE))),
            "addresses": Out(stream.Signature(range(config.scratchpad_words))),
            "words": In(stream.Signature(ScratchpadWord(config))),
            "requests": Out(stream.Signature(MemoryRequest)),
            "data": Out(stream.Signature(WrittenBeat(config))),
            "writer_idle": In(1),
            "done": Out(1),
            "busy": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        operands = self.instruction.p
        m.submodules.asking = asking = RowRequests(self.config)
        m.submodules.making = making = BeatMaker(self.config)
        connect(m, asking.requests, flipped(self.requests))
        connect(m, flipped(self.words), making.words)
        connect(m, making.data, flipped(self.data))

        # Find the range of the rows, begin, walk, then wait for memory.
        found = Signal()
        begun = Signal()
        begin = Signal()
        reading = Signal()
        read = Signal()  # a word is asked for
        sent = Signal()  # a word has been handed over
        owed = Signal(4)  # words asked for and not handed over
        m.d.comb += [
            begin.eq(found & ~begun),
            read.eq(self.addresses.valid & self.addresses.ready),
            sent.eq(self.words.valid & self.words.ready),
            self.done.eq(begun & ~reading & (owed == 0) & ~asking.busy & self.writer_idle),
            self.instruction.ready.eq(self.done),
            self.busy.eq(found),
        ]
        m.d.sync += [
            found.eq(self.instruction.valid & ~self.done),
            begun.eq(found & ~self.done),
            owed.eq(owed + read - sent),
        ]

        row = self._find_range(m)
        shift = exact_log2(self.config.memory_width)
        first, last = (beat_of(self.config, row, element) for element in (row.first, row.last))
        some = (operands.rows != 0) & (operands.words != 0)
        m.d.comb += [
            asking.i.valid.eq(begin & some),
            asking.i.p.address.eq(operands.address + (first << shift)),
            asking.i.p.pitch.eq(operands.pitch),
            asking.i.p.rows.eq(operands.rows),
            asking.i.p.beats.eq(last - first + 1),
            making.begin.eq(begin),
            making.row.eq(row),
            self.addresses.valid.eq(reading & ~owed[-1]),
        ]
        self._walk(m, begin, some, row, reading, read)
        return m

    def _find_range(self, m: Module) -> data.View:
        """Return which elements of each row are stored, a cycle after the instruction is there."""
        operands = self.instruction.p
        row = Signal(StoredRow, reset_less=True)
        ranged = operands.count != 0
        width = operands.words << exact_log2(self.config.lanes)
        m.d.sync += [
            row.first.eq(Mux(ranged, operands.first, 0)),
            row.last.eq(Mux(ranged, operands.first + operands.count, width) - 1),
            row.is_rows8.eq(operands.space == Space.ROWS8),
        ]
        return row

    def _walk(
        self, m: Module, begin: Signal, some: Value, row: data.View, reading: Signal, read: Signal
    ) -> None:
        """Step through the words of the rows."""
        operands = self.instruction.p
        shift = exact_log2(self.config.lanes)
        first, last = row.first >> shift, row.last >> shift
        address = Signal(range(self.config.scratchpad_words), reset_less=True)
        start = Signal.like(address, reset_less=True)
        next_start = Signal.like(address)
        words = Signal(16, reset_less=True)
        rows = Signal(16, reset_less=True)
        m.d.comb += [
            next_start.eq(Mux(begin, operands.base + first, start + operands.stride)),
            self.addresses.payload.eq(address),
        ]
        with m.If(begin):
            m.d.sync += [rows.eq(operands.rows), reading.eq(some)]
        with m.If(read):
            m.d.sync += [address.eq(address + 1), words.eq(words - 1)]
            with m.If(words == 0):
                m.d.sync += [rows.eq(rows - 1), reading.eq(rows != 1)]
        with m.If(begin | (read & (words == 0))):
            m.d.sync += [
                address.eq(next_start),
                start.eq(next_start),
                words.eq(last - first),
            ]
