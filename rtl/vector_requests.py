"""The order in which the vector unit reads words of the scratchpad."""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from celosia.config import MachineConfig
from celosia.cores.argmax import RowArgmax
from celosia.cores.row_functions import RowFunction, RowFunctions
from celosia.rtl.row_walker import RowWalker

__all__ = ["VectorOperands", "VectorReader", "VectorRequests"]


class VectorOperands(data.Struct):
    """Rows that are read, and what for.

    `rows` rows of `words` words each, from `x_base` on, `x_stride` apart; result rows from
    `y_base` on, `y_stride` apart. `w_base` is the gain of a norm and `w_stride` its offset, or
    where rows of the second factor lie, of `period` words.
    """

    function: RowFunction
    rows: 16
    words: 16
    x_base: 16
    x_stride: 16
    y_base: 16
    y_stride: 16
    w_base: 16
    w_stride: 16
    period: 16


class VectorReader(enum.Enum, shape=2):
    """What a word that was asked for is, of those that `RowFunctions` takes."""

    SUMS = 0
    ELEMENTS = 1
    GAMMA = 2
    BETA = 3


#: What is read first, of what makes up a word of elements.
_FIRST = {
    RowFunction.NORM: VectorReader.ELEMENTS,
    RowFunction.MULTIPLY: VectorReader.GAMMA,
    RowFunction.ARGMAX: VectorReader.BETA,
}


class VectorRequests(wiring.Component):
    """Asks for the words of an instruction: those of the sums, and those of the elements, in turn.

    A word of elements of a norm is followed by that of gamma and that of beta. Of a product, gamma
    is the second factor, beta the first; there are no sums. Of a largest element, the first pass
    is that of the sums, and then the result word of the row is read as beta. Elements of a row are
    only asked for when the first pass has given what they need, and a row of the first pass only
    when the core has room for it: then no word can wait for one behind it. One request per cycle.

    Parameters
    ----------
    config : MachineConfig
        Depth of the scratchpad.

    Members
    -------
    operands : In(VectorOperands)
        The instruction; constant from `start` to the last request.
    start : In(1)
        Begin; only when the requests before have ended.
    scaled, applied : In(1)
        Those of `RowFunctions`.
    requests : Out(stream.Signature(range(scratchpad_words)))
        Addresses.
    readers : Out(stream.Signature(VectorReader))
        What each word is for; given no later than its address.
    """

    operands: VectorOperands
    start: Signal
    scaled: Signal
    applied: Signal
    requests: stream.Interface
    readers: stream.Interface

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "operands": In(VectorOperands),
            "start": In(1),
            "scaled": In(1),
            "applied": In(1),
            "requests": Out(stream.Signature(range(config.scratchpad_words))),
            "readers": Out(stream.Signature(VectorReader)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        operands = self.operands
        is_norm = operands.function == RowFunction.NORM
        is_product = operands.function == RowFunction.MULTIPLY
        is_argmax = operands.function == RowFunction.ARGMAX
        m.submodules.sums = sums = RowWalker(self.config)
        m.submodules.elements = elements = RowWalker(self.config)
        m.d.comb += [
            sums.start.eq(self.start & ~is_product),
            sums.base.eq(operands.x_base),
            sums.stride.eq(operands.x_stride),
            sums.words.eq(operands.words),
            elements.start.eq(self.start),
            elements.base.eq(Mux(is_argmax, operands.y_base, operands.x_base)),
            elements.stride.eq(Mux(is_argmax, operands.y_stride, operands.x_stride)),
            elements.words.eq(Mux(is_argmax, 1, operands.words)),
            *(walker.rows.eq(operands.rows) for walker in (sums, elements)),
        ]

        # Rows between the passes, and those of them of which the elements can come.
        first_reader = Signal(VectorReader)
        with m.Switch(operands.function):
            for function, first in _FIRST.items():
                with m.Case(function):
                    m.d.comb += first_reader.eq(first)
        reader = Signal(VectorReader)  # of the elements' next request
        at_first = Signal()  # it is the first one of a word
        multiplies, finds = Signal(), Signal()  # products, or the largest; once requests begin
        sums_turn = Signal()
        elements_turn = Signal()
        sums_wanted = Signal()
        elements_wanted = Signal()
        begin_elements = Signal()
        capacity = Mux(finds, RowArgmax.capacity, RowFunctions.capacity)
        between = Signal(range(RowFunctions.capacity + 1))
        scaled = Signal(range(RowFunctions.capacity + 1))
        m.d.comb += [
            begin_elements.eq(elements.o.p.first & at_first & ~multiplies),
            sums_wanted.eq(sums.o.valid & (~sums.o.p.first | (between != capacity))),
            elements_wanted.eq(elements.o.valid & (~begin_elements | (scaled != 0))),
        ]
        m.d.sync += [
            multiplies.eq(is_product),
            finds.eq(is_argmax),
            between.eq(between + (sums_turn & sums.o.p.first) - (self.applied & ~multiplies)),
            scaled.eq(scaled + self.scaled - (elements_turn & begin_elements)),
        ]

        # Whose turn it is. The requests for a word of elements stay together.
        free = Signal()
        sums_before = Signal()  # the last turn was that of the sums
        sums_first = Signal()
        m.d.comb += [
            free.eq(self.readers.ready & (self.requests.ready | ~self.requests.valid)),
            sums_first.eq(sums_wanted & at_first & ~(sums_before & elements_wanted)),
            sums_turn.eq(free & sums_first),
            elements_turn.eq(free & elements_wanted & ~sums_first),
            sums.o.ready.eq(sums_turn),
            elements.o.ready.eq(elements_turn & (reader == VectorReader.BETA)),
            self.readers.valid.eq(sums_turn | elements_turn),
            self.readers.payload.eq(Mux(sums_turn, VectorReader.SUMS, reader)),
        ]
        with m.If(sums_turn | elements_turn):
            m.d.sync += sums_before.eq(sums_turn)
        with m.If(self.start):
            m.d.sync += [reader.eq(first_reader), at_first.eq(1)]
        with m.Elif(elements_turn):
            m.d.sync += at_first.eq(reader == VectorReader.BETA)
            with m.Switch(reader):
                with m.Case(VectorReader.ELEMENTS):
                    m.d.sync += reader.eq(VectorReader.GAMMA)
                with m.Case(VectorReader.GAMMA):
                    m.d.sync += reader.eq(VectorReader.BETA)
                with m.Default():
                    m.d.sync += reader.eq(first_reader)

        # Gains and offsets begin anew with each row; second factors in the next row, and also
        # after each period, which is never met if it is 0.
        column = Signal(16, reset_less=True)
        next_column = Signal.like(column)
        row = Signal.like(self.requests.payload, reset_less=True)
        m.d.comb += next_column.eq(column + 1)
        with m.If(self.start):
            m.d.sync += [column.eq(0), row.eq(operands.w_base)]
        with m.Elif(elements.o.ready):
            m.d.sync += column.eq(next_column)
            with m.If(elements.o.p.last | (multiplies & (next_column == operands.period))):
                m.d.sync += column.eq(0)
            with m.If(elements.o.p.last & multiplies):
                m.d.sync += row.eq(row + operands.w_stride)

        address = Signal.like(self.requests.payload)
        with m.If(sums_turn):
            m.d.comb += address.eq(sums.o.p.address)
        with m.Elif(reader == VectorReader.GAMMA):
            m.d.comb += address.eq(row + column)
        with m.Elif((reader == VectorReader.BETA) & is_norm):
            m.d.comb += address.eq(operands.w_stride + column)
        with m.Else():
            m.d.comb += address.eq(elements.o.p.address)
        with m.If(sums_turn | elements_turn):
            m.d.sync += [self.requests.payload.eq(address), self.requests.valid.eq(1)]
        with m.Elif(self.requests.ready):
            m.d.sync += self.requests.valid.eq(0)

        return m
