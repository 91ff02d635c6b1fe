"""Vector unit: executes NORM, MULTIPLY and ARGMAX between scratchpad and RowFunctions."""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from celosia.config import MachineConfig
from celosia.cores.arith import delayed
from celosia.cores.row_functions import RowFunction, RowFunctions
from celosia.isa import Flag, Opcode
from celosia.rtl.decode import has_flag, header_layout, operand_layout
from celosia.rtl.exponents import ScratchpadWord, ScratchpadWrite
from celosia.rtl.row_walker import RowWalker
from celosia.rtl.stream import StreamFIFO
from celosia.rtl.vector_requests import VectorReader, VectorRequests
from celosia.rtl.vector_words import VectorWords

__all__ = ["VectorUnit"]


class VectorUnit(wiring.Component):
    """Executes NORM, MULTIPLY and ARGMAX instructions, one after the other.

    A word of a NORM needs four reads, one for its sum and three for its result: a row takes
    `max(4·words, words·L/V, RowFunctions.ROW_CYCLES)` cycles, an instruction some 150 more. A word
    of a MULTIPLY takes `max(2, L/V)` cycles, and one of an ARGMAX `L/V`, a row of it some 25 more;
    the first result of a MULTIPLY comes after some 30. A row may be overwritten by its own result.

    Parameters
    ----------
    config : MachineConfig
        Lanes and scratchpad.
    write_latency : int
        Cycles from a write taken to the first request that finds its word; at least 1.

    Members
    -------
    instruction : In(stream.Signature(header_layout()))
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
            "instruction": In(stream.Signature(header_layout())),
            "requests": Out(stream.Signature(range(config.scratchpad_words))),
            "words": In(stream.Signature(ScratchpadWord(config))),
            "writes": Out(stream.Signature(ScratchpadWrite(config))),
            "done": Out(1),
            "busy": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.requests = requests = VectorRequests(self.config)
        m.submodules.readers = readers = StreamFIFO(VectorReader, self.WORDS_ASKED_FOR)
        m.submodules.words = words = VectorWords(self.config)
        m.submodules.functions = functions = RowFunctions(self.config)
        m.submodules.results = results = RowWalker(self.config)

        wiring.connect(m, requests.requests, wiring.flipped(self.requests))
        wiring.connect(m, requests.readers, readers.i)
        wiring.connect(m, wiring.flipped(self.words), words.words)
        wiring.connect(m, readers.o, words.readers)
        wiring.connect(m, words.rows, functions.rows)
        wiring.connect(m, words.elements, functions.elements)

        # The instruction stays where it is until all is written.
        begin = Signal()
        start = Signal()
        resets_exponent = Signal()
        m.d.sync += start.eq(begin)
        m.d.comb += [
            begin.eq(self.instruction.valid & ~self.busy),
            requests.start.eq(start),
            requests.scaled.eq(functions.scaled),
            requests.applied.eq(functions.applied),
            results.start.eq(start),
            results.base.eq(requests.operands.y_base),
            results.stride.eq(requests.operands.y_stride),
            results.rows.eq(requests.operands.rows),
            results.words.eq(requests.operands.words),
        ]
        self._decode(m, requests.operands, functions.parameters, resets_exponent)
        with m.If(requests.operands.function == RowFunction.ARGMAX):
            m.d.comb += results.words.eq(1)

        # Results and their addresses.
        write = self.writes.payload
        slot = Signal.like(write.slot, reset_less=True)
        row_written = Signal()
        all_written = Signal()
        m.d.comb += [
            self.writes.valid.eq(functions.o.valid & results.o.valid),
            functions.o.ready.eq(self.writes.ready & results.o.valid),
            results.o.ready.eq(self.writes.ready & functions.o.valid),
            write.address.eq(results.o.p.address),
            write.data.eq(functions.o.payload),
            write.mask.eq(~0),
            write.slot.eq(slot),
            write.first.eq(results.o.p.first & resets_exponent),
            row_written.eq(self.writes.valid & self.writes.ready & results.o.p.last),
            all_written.eq(row_written & results.o.p.final),
            self.done.eq(
                delayed(m, all_written, self.write_latency, "all_written", reset_less=False)
            ),
            self.instruction.ready.eq(self.done),
        ]
        with m.If(begin):
            m.d.sync += [slot.eq(self._as(Opcode.NORM).y_slot), self.busy.eq(1)]
        with m.Elif(row_written):
            m.d.sync += slot.eq(slot + 1)
        with m.If(self.done):
            m.d.sync += self.busy.eq(0)

        return m

    def _as(self, opcode: Opcode) -> data.View:
        """View the instruction as one with this opcode."""
        return operand_layout(opcode)(self.instruction.payload.as_value())

    def _decode(self, m: Module, operands, parameters, resets_exponent: Signal) -> None:
        """Say what is read and computed; what has one place in all instructions is read from it."""
        norm, product, argmax = (
            self._as(opcode) for opcode in (Opcode.NORM, Opcode.MULTIPLY, Opcode.ARGMAX)
        )
        # Decoded in the cycle in which it begins.
        is_product = Signal(reset_less=True)
        function = Signal(RowFunction, reset_less=True)
        m.d.sync += [is_product.eq(norm.opcode == Opcode.MULTIPLY), function.eq(RowFunction.NORM)]
        with m.Switch(norm.opcode):
            with m.Case(Opcode.MULTIPLY):
                m.d.sync += function.eq(RowFunction.MULTIPLY)
            with m.Case(Opcode.ARGMAX):
                m.d.sync += function.eq(RowFunction.ARGMAX)
        words = Mux(is_product, product.words, norm.words)
        m.d.comb += [
            operands.function.eq(function),
            operands.rows.eq(norm.m),
            operands.words.eq(words),
            *(
                operands[name].eq(norm[name])
                for name in ("x_base", "x_stride", "y_base", "y_stride")
            ),
            operands.w_base.eq(product.w_base),
            operands.w_stride.eq(product.w_stride),
            operands.period.eq(product.period),
            parameters.function.eq(function),
            parameters.n.eq(norm.n),
            parameters.words.eq(words),
            parameters.shift.eq(norm.shift),
            parameters.epsilon.eq(norm.epsilon),
            parameters.first.eq(argmax.first),
            parameters.rms.eq(has_flag(norm, Flag.RMS)),
            parameters.complex.eq(has_flag(norm, Flag.COMPLEX)),
            parameters.narrow.eq(has_flag(norm, Flag.NARROW)),
            parameters.continues.eq(has_flag(norm, Flag.CONTINUE)),
            resets_exponent.eq(~(is_product & has_flag(norm, Flag.KEEP_EXPONENT))),
        ]
