"""Addresses of rows in the scratchpad, and the order in which LayerNorm reads them."""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from celosia.config import MachineConfig
from celosia.cores.layernorm import LayerNorm
from celosia.isa import Opcode
from celosia.rtl.decode import operand_layout

__all__ = ["NormReader", "NormRequests", "RowAddress", "RowWalker"]


class RowAddress(data.StructLayout):
    """Address of a word; `first` and `last` mark the ends of its row, `final` the last row."""

    def __init__(self, config: MachineConfig) -> None:
        super().__init__({
            "address": range(config.scratchpad_words),
            "first": 1,
            "last": 1,
            "final": 1,
        })


class RowWalker(wiring.Component):
    """Addresses of the words of rows, one per cycle, from the cycle after `start` on.

    Parameters
    ----------
    config : MachineConfig
        Depth of the scratchpad.

    Members
    -------
    start : In(1)
        Begin with the first row; only when the walk before has ended.
    base, stride, rows, words : In(16)
        First word, words from row to row, rows, words of a row; constant from `start` on. There
        is at least one row and one word.
    o : Out(stream.Signature(RowAddress(config)))
        Addresses, row by row.
    """

    start: Signal
    base: Signal
    stride: Signal
    rows: Signal
    words: Signal
    o: stream.Interface

    def __init__(self, config: MachineConfig) -> None:
        super().__init__({
            "start": In(1),
            "base": In(16),
            "stride": In(16),
            "rows": In(16),
            "words": In(16),
            "o": Out(stream.Signature(RowAddress(config))),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        address = self.o.p.address
        row = Signal.like(address, reset_less=True)
        next_row = Signal.like(address)
        rows_left = Signal(16, reset_less=True)
        words_left = Signal(16, reset_less=True)
        m.d.comb += [
            next_row.eq(row + self.stride),
            self.o.p.last.eq(words_left == 1),
            self.o.p.final.eq(rows_left == 1),
        ]
        with m.If(self.start):
            m.d.sync += [
                row.eq(self.base),
                address.eq(self.base),
                rows_left.eq(self.rows),
                words_left.eq(self.words),
                self.o.p.first.eq(1),
                self.o.valid.eq(1),
            ]
        with m.Elif(self.o.ready & self.o.valid):
            m.d.sync += [
                address.eq(address + 1),
                words_left.eq(words_left - 1),
                self.o.p.first.eq(self.o.p.last),
            ]
            with m.If(self.o.p.last):
                m.d.sync += [
                    row.eq(next_row),
                    address.eq(next_row),
                    rows_left.eq(rows_left - 1),
                    words_left.eq(self.words),
                    self.o.valid.eq(~self.o.p.final),
                ]

        return m


class NormReader(enum.Enum, shape=2):
    """What a word that was asked for is."""

    SUMS = 0
    ELEMENTS = 1
    GAMMA = 2
    BETA = 3


class NormRequests(wiring.Component):
    """Asks for the words of a NORM: those of the sums, and those of the elements, in turn.

    A word of elements is followed by that of gamma and that of beta. Elements of a row are only
    asked for when its scale is there, and sums of a row only when the core has room for it: then
    no word can wait for one behind it. One request per cycle.

    Parameters
    ----------
    config : MachineConfig
        Depth of the scratchpad.

    Members
    -------
    operands : In(operand_layout(Opcode.NORM))
        The instruction; constant from `start` to the last request.
    start : In(1)
        Begin; only when the requests before have ended.
    scaled, applied : In(1)
        Those of `LayerNorm`.
    requests : Out(stream.Signature(range(scratchpad_words)))
        Addresses.
    readers : Out(stream.Signature(NormReader))
        What each word is for; given no later than its address.
    """

    operands: data.View
    start: Signal
    scaled: Signal
    applied: Signal
    requests: stream.Interface
    readers: stream.Interface

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "operands": In(operand_layout(Opcode.NORM)),
            "start": In(1),
            "scaled": In(1),
            "applied": In(1),
            "requests": Out(stream.Signature(range(config.scratchpad_words))),
            "readers": Out(stream.Signature(NormReader)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.sums = sums = RowWalker(self.config)
        m.submodules.elements = elements = RowWalker(self.config)
        for walker in (sums, elements):
            m.d.comb += [
                walker.start.eq(self.start),
                walker.base.eq(self.operands.x_base),
                walker.stride.eq(self.operands.x_stride),
                walker.rows.eq(self.operands.m),
                walker.words.eq(self.operands.words),
            ]

        # Rows between the passes, and those of them whose scale is there.
        reader = Signal(NormReader, init=NormReader.ELEMENTS)  # of the elements' next request
        sums_turn = Signal()
        elements_turn = Signal()
        sums_wanted = Signal()
        elements_wanted = Signal()
        begin_elements = Signal()
        between = Signal(range(LayerNorm.capacity + 1))
        scaled = Signal(range(LayerNorm.capacity + 1))
        m.d.comb += [
            begin_elements.eq(elements.o.p.first & (reader == NormReader.ELEMENTS)),
            sums_wanted.eq(sums.o.valid & (~sums.o.p.first | (between != LayerNorm.capacity))),
            elements_wanted.eq(elements.o.valid & (~begin_elements | (scaled != 0))),
        ]
        m.d.sync += [
            between.eq(between + (sums_turn & sums.o.p.first) - self.applied),
            scaled.eq(scaled + self.scaled - (elements_turn & begin_elements)),
        ]

        # Whose turn it is. The three requests for a word of elements stay together.
        free = Signal()
        sums_before = Signal()  # the last turn was that of the sums
        sums_first = Signal()
        m.d.comb += [
            free.eq(self.readers.ready & (self.requests.ready | ~self.requests.valid)),
            sums_first.eq(
                sums_wanted & (reader == NormReader.ELEMENTS) & ~(sums_before & elements_wanted)
            ),
            sums_turn.eq(free & sums_first),
            elements_turn.eq(free & elements_wanted & ~sums_first),
            sums.o.ready.eq(sums_turn),
            elements.o.ready.eq(elements_turn & (reader == NormReader.BETA)),
            self.readers.valid.eq(sums_turn | elements_turn),
            self.readers.payload.eq(Mux(sums_turn, NormReader.SUMS, reader)),
        ]

        # Gains and offsets begin anew with each row.
        column = Signal(16, reset_less=True)
        with m.If(self.start):
            m.d.sync += column.eq(0)
        with m.Elif(elements.o.ready):
            m.d.sync += column.eq(Mux(elements.o.p.last, 0, column + 1))

        address = Signal.like(self.requests.payload)
        with m.If(sums_turn):
            m.d.comb += address.eq(sums.o.p.address)
        with m.Elif(reader == NormReader.ELEMENTS):
            m.d.comb += address.eq(elements.o.p.address)
        with m.Elif(reader == NormReader.GAMMA):
            m.d.comb += address.eq(self.operands.gamma + column)
        with m.Else():
            m.d.comb += address.eq(self.operands.beta + column)

        with m.If(sums_turn | elements_turn):
            m.d.sync += [self.requests.payload.eq(address), self.requests.valid.eq(1)]
        with m.Elif(self.requests.ready):
            m.d.sync += self.requests.valid.eq(0)
        with m.If(sums_turn | elements_turn):
            m.d.sync += sums_before.eq(sums_turn)
        with m.If(elements_turn):
            with m.Switch(reader):
                with m.Case(NormReader.ELEMENTS):
                    m.d.sync += reader.eq(NormReader.GAMMA)
                with m.Case(NormReader.GAMMA):
                    m.d.sync += reader.eq(NormReader.BETA)
                with m.Default():
                    m.d.sync += reader.eq(NormReader.ELEMENTS)

        return m
