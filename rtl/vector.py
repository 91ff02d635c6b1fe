"""Vector unit: executes NORM between scratchpad and LayerNorm."""

from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from celosia.config import MachineConfig
from celosia.cores.arith import delayed
from celosia.cores.layernorm import Element, LayerNorm
from celosia.isa import Opcode
from celosia.rtl.decode import operand_layout
from celosia.rtl.exponents import ScratchpadWord, ScratchpadWrite
from celosia.rtl.stream import StreamFIFO
from celosia.rtl.vector_requests import NormReader, NormRequests, RowWalker

__all__ = ["VectorUnit"]


class NormWords(wiring.Component):
    """Brings the words that were read to the pass of LayerNorm that they are for.

    Words of elements and of gamma are kept until that of beta comes, with which they go on.

    Parameters
    ----------
    config : MachineConfig
        Lanes of a word.

    Members
    -------
    words : In(stream.Signature(ScratchpadWord(config)))
        Words, in the order of the requests.
    readers : In(stream.Signature(NormReader))
        What each word is for.
    rows : Out(stream.Signature(ScratchpadWord(config)))
        Words for the sums.
    elements : Out(stream.Signature(data.ArrayLayout(Element, L)))
        Words for the results.
    """

    words: stream.Interface
    readers: stream.Interface
    rows: stream.Interface
    elements: stream.Interface

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        word = ScratchpadWord(config)
        super().__init__({
            "words": In(stream.Signature(word)),
            "readers": In(stream.Signature(NormReader)),
            "rows": Out(stream.Signature(word)),
            "elements": Out(stream.Signature(data.ArrayLayout(Element, config.lanes))),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        x = Signal(ScratchpadWord(self.config), reset_less=True)
        gamma = Signal(ScratchpadWord(self.config), reset_less=True)
        word = self.words.payload
        is_for = {
            reader: self.words.valid & self.readers.valid & (self.readers.payload == reader)
            for reader in NormReader
        }
        taken = Signal()
        m.d.comb += [
            self.rows.valid.eq(is_for[NormReader.SUMS]),
            self.rows.payload.eq(word),
            self.elements.valid.eq(is_for[NormReader.BETA]),
            taken.eq(
                is_for[NormReader.ELEMENTS]
                | is_for[NormReader.GAMMA]
                | (self.rows.valid & self.rows.ready)
                | (self.elements.valid & self.elements.ready)
            ),
            self.words.ready.eq(taken),
            self.readers.ready.eq(taken),
        ]
        for lane, element in enumerate(self.elements.payload):
            m.d.comb += [
                element.x.eq(x[lane]),
                element.gamma.eq(gamma[lane]),
                element.beta.eq(word[lane]),
            ]
        with m.If(is_for[NormReader.ELEMENTS]):
            m.d.sync += x.eq(word)
        with m.If(is_for[NormReader.GAMMA]):
            m.d.sync += gamma.eq(word)

        return m


class VectorUnit(wiring.Component):
    """Executes NORM instructions, one after the other.

    A word of a row needs four reads, one for its sum and three for its result: a row takes
    `max(4·words, words·L/V, LayerNorm.ROW_CYCLES)` cycles, an instruction some 150 more. A row may
    be overwritten by its own result.

    Parameters
    ----------
    config : MachineConfig
        Lanes and scratchpad.
    write_latency : int
        Cycles from a write taken to the first request that finds its word; at least 1.

    Members
    -------
    instruction : In(stream.Signature(operand_layout(Opcode.NORM)))
        Instructions; taken when all that they write can be read.
    requests : Out(stream.Signature(range(scratchpad_words)))
        Addresses of words to read.
    words : In(stream.Signature(ScratchpadWord(config)))
        The words, in order, at any time after their requests.
    writes : Out(stream.Signature(ScratchpadWrite(config)))
        Words of the results.
    done : Out(1)
        An instruction is taken in this cycle.
    busy : Out(1)
        An instruction is being executed.
    """

    #: Words that may be on their way from the scratchpad.
    WORDS_ASKED_FOR = 8

    instruction: stream.Interface
    requests: stream.Interface
    words: stream.Interface
    writes: stream.Interface
    done: Signal
    busy: Signal

    def __init__(self, config: MachineConfig, *, write_latency: int) -> None:
        if write_latency < 1:
            raise ValueError(f"VectorUnit write_latency must be at least 1, not {write_latency}")
        self.config = config
        self.write_latency = write_latency
        super().__init__({
            "instruction": In(stream.Signature(operand_layout(Opcode.NORM))),
            "requests": Out(stream.Signature(range(config.scratchpad_words))),
            "words": In(stream.Signature(ScratchpadWord(config))),
            "writes": Out(stream.Signature(ScratchpadWrite(config))),
            "done": Out(1),
            "busy": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.requests = requests = NormRequests(self.config)
        m.submodules.readers = readers = StreamFIFO(NormReader, self.WORDS_ASKED_FOR)
        m.submodules.words = words = NormWords(self.config)
        m.submodules.norm = norm = LayerNorm(self.config)
        m.submodules.results = results = RowWalker(self.config)

        wiring.connect(m, requests.requests, wiring.flipped(self.requests))
        wiring.connect(m, requests.readers, readers.i)
        wiring.connect(m, wiring.flipped(self.words), words.words)
        wiring.connect(m, readers.o, words.readers)
        wiring.connect(m, words.rows, norm.rows)
        wiring.connect(m, words.elements, norm.elements)

        # The instruction stays where it is until all is written.
        operands = self.instruction.payload
        start = Signal()
        m.d.comb += [
            start.eq(self.instruction.valid & ~self.busy),
            requests.start.eq(start),
            requests.operands.eq(operands),
            requests.scaled.eq(norm.scaled),
            requests.applied.eq(norm.applied),
            norm.parameters.n.eq(operands.n),
            norm.parameters.words.eq(operands.words),
            norm.parameters.shift.eq(operands.shift),
            norm.parameters.epsilon.eq(operands.epsilon),
            results.start.eq(start),
            results.base.eq(operands.y_base),
            results.stride.eq(operands.y_stride),
            results.rows.eq(operands.m),
            results.words.eq(operands.words),
        ]

        # Results and their addresses.
        write = self.writes.payload
        slot = Signal.like(write.slot, reset_less=True)
        row_written = Signal()
        all_written = Signal()
        m.d.comb += [
            self.writes.valid.eq(norm.o.valid & results.o.valid),
            norm.o.ready.eq(self.writes.ready & results.o.valid),
            results.o.ready.eq(self.writes.ready & norm.o.valid),
            write.address.eq(results.o.p.address),
            write.data.eq(norm.o.payload),
            write.mask.eq(~0),
            write.slot.eq(slot),
            write.first.eq(results.o.p.first),
            row_written.eq(self.writes.valid & self.writes.ready & results.o.p.last),
            all_written.eq(row_written & results.o.p.final),
            self.done.eq(
                delayed(m, all_written, self.write_latency, "all_written", reset_less=False)
            ),
            self.instruction.ready.eq(self.done),
        ]
        with m.If(start):
            m.d.sync += [slot.eq(operands.y_slot), self.busy.eq(1)]
        with m.Elif(row_written):
            m.d.sync += slot.eq(slot + 1)
        with m.If(self.done):
            m.d.sync += self.busy.eq(0)

        return m
