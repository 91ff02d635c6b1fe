"""Store unit: from scratchpad to memory."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from celosia.config import MachineConfig
from celosia.isa import Opcode, Space
from celosia.rtl.bursts import MemoryRequest
from celosia.rtl.decode import operand_layout
from celosia.rtl.exponents import ScratchpadWord
from celosia.rtl.row_requests import RowRequests

__all__ = ["StoreUnit"]


class StoreUnit(wiring.Component):
    """Executes STORE: reads rows and hands them to the memory writer.

    One beat per cycle within an instruction; the next one begins when this one has ended.

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
    data : Out(stream.Signature(8 * memory_width))
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
            "data": Out(stream.Signature(8 * config.memory_width)),
            "writer_idle": In(1),
            "done": Out(1),
            "busy": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        operands = self.instruction.p
        m.submodules.asking = asking = RowRequests(self.config)
        connect(m, asking.requests, flipped(self.requests))

        # Begin, walk, then wait for memory.
        begin = Signal()
        begun = Signal()
        reading = Signal()
        read = Signal()  # a word is asked for
        sent = Signal()  # a word has been handed over
        owed = Signal(4)  # words asked for and not handed over
        m.d.comb += [
            begin.eq(self.instruction.valid & ~begun),
            asking.i.valid.eq(begin),
            read.eq(self.addresses.valid & self.addresses.ready),
            self.done.eq(begun & ~reading & (owed == 0) & ~asking.busy & self.writer_idle),
            self.instruction.ready.eq(self.done),
            self.busy.eq(begun),
        ]
        m.d.sync += owed.eq(owed + read - sent)
        with m.If(begin):
            m.d.sync += begun.eq(1)
        with m.Elif(self.done):
            m.d.sync += begun.eq(0)
        for name in ("address", "pitch", "rows", "words"):
            m.d.comb += asking.i.p[name].eq(operands[name])
        m.d.comb += asking.i.p.space.eq(operands.space[0])

        self._walk(m, begin, reading, read)
        m.d.comb += self.addresses.valid.eq(reading & ~owed[-1])
        self._send(m, sent)
        return m

    def _walk(self, m: Module, begin: Signal, reading: Signal, read: Signal) -> None:
        """Step through the words of the rows."""
        operands = self.instruction.p
        address = Signal(range(self.config.scratchpad_words), reset_less=True)
        row = Signal.like(address, reset_less=True)
        next_row = Signal.like(address)
        words = Signal(16, reset_less=True)
        rows = Signal(16, reset_less=True)
        m.d.comb += [
            next_row.eq(row + operands.stride),
            self.addresses.payload.eq(address),
        ]
        with m.If(begin):
            m.d.sync += [
                address.eq(operands.base),
                row.eq(operands.base),
                words.eq(operands.words),
                rows.eq(operands.rows),
                reading.eq((operands.rows != 0) & (operands.words != 0)),
            ]
        with m.Elif(read):
            m.d.sync += [address.eq(address + 1), words.eq(words - 1)]
            with m.If(words == 1):
                m.d.sync += [
                    address.eq(next_row),
                    row.eq(next_row),
                    words.eq(operands.words),
                    rows.eq(rows - 1),
                    reading.eq(rows != 1),
                ]

    def _send(self, m: Module, sent: Signal) -> None:
        """Make beats of words."""
        lanes, width = self.config.lanes, self.config.memory_width
        is_rows8 = Signal()
        low_bytes = Cat(element[:8] for element in self.words.payload)
        whole = self.words.payload.as_value()
        m.d.comb += is_rows8.eq(self.instruction.p.space == Space.ROWS8)
        if width > lanes:
            # Two words of int8 are one beat.
            lower = Signal(8 * lanes, reset_less=True)
            half = Signal()
            m.d.comb += [
                self.data.valid.eq(self.words.valid & (~is_rows8 | half)),
                self.data.payload.eq(Mux(is_rows8, Cat(lower, low_bytes), whole)),
                sent.eq(self.words.valid & self.words.ready),
                self.words.ready.eq((is_rows8 & ~half) | self.data.ready),
            ]
            with m.If(sent):
                m.d.sync += [lower.eq(low_bytes), half.eq(is_rows8 & ~half)]
            return

        index = Signal(range(2 * lanes // width))
        last = Signal()
        m.d.comb += [
            last.eq(index == Mux(is_rows8, lanes // width - 1, 2 * lanes // width - 1)),
            self.data.valid.eq(self.words.valid),
            self.data.payload.eq(Mux(is_rows8, low_bytes, whole).word_select(index, 8 * width)),
            sent.eq(self.data.valid & self.data.ready & last),
            self.words.ready.eq(self.data.ready & last),
        ]
        with m.If(self.data.valid & self.data.ready):
            m.d.sync += index.eq(Mux(last, 0, index + 1))
