"""Words of a row, cut into the chunks that a datapath takes in one cycle."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import ShapeLike
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

__all__ = ["Chunk", "RowChunker"]


class Chunk(data.StructLayout):
    """Some lanes of a word.

    `enables` says which of them lie inside the row; `first` and `last` mark the ends of the row
    and `last_in_word` that of the word.
    """

    def __init__(self, lane: ShapeLike, lanes: int) -> None:
        super().__init__({
            "lanes": data.ArrayLayout(lane, lanes),
            "enables": lanes,
            "first": 1,
            "last": 1,
            "last_in_word": 1,
        })


class RowChunker(wiring.Component):
    """Cuts words into chunks and counts the elements of the row.

    The first chunk of a word comes one cycle after it. One chunk per cycle, without a gap from
    word to word; all outputs but `last` come from registers.

    Parameters
    ----------
    lane : ShapeLike
        Shape of one lane.
    word_lanes, chunk_lanes : int
        Lanes of a word and of a chunk, powers of two.

    Members
    -------
    n : In(16)
        Elements of a row, at least 1; constant while there are rows.
    words : In(16)
        Words of a row, at least 1; constant while there are rows.
    i : In(stream.Signature(data.ArrayLayout(lane, word_lanes)))
        Words, row by row.
    o : Out(stream.Signature(Chunk(lane, chunk_lanes)))
        Chunks, the lowest lanes first.
    """

    n: Signal
    words: Signal
    i: stream.Interface
    o: stream.Interface

    def __init__(self, lane: ShapeLike, word_lanes: int, chunk_lanes: int) -> None:
        self.word_lanes = word_lanes
        self.chunk_lanes = chunk_lanes
        super().__init__({
            "n": In(16),
            "words": In(16),
            "i": In(stream.Signature(data.ArrayLayout(lane, word_lanes))),
            "o": Out(stream.Signature(Chunk(lane, chunk_lanes))),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        bits = exact_log2(self.chunk_lanes)
        chunks = self.word_lanes // self.chunk_lanes
        o = self.o.payload

        # The word moves down by a chunk at a time.
        word = Signal(data.ArrayLayout(o.lanes.as_value().shape(), chunks), reset_less=True)
        index = Signal(range(max(chunks, 2)))
        taken = Signal()
        m.d.comb += [
            o.lanes.eq(word[0]),
            o.last_in_word.eq(index == chunks - 1),
            taken.eq(self.o.valid & self.o.ready),
            self.i.ready.eq(~self.o.valid | (taken & o.last_in_word)),
        ]
        with m.If(self.i.ready):
            m.d.sync += [
                word.eq(self.i.payload),
                index.eq(0),
                self.o.valid.eq(self.i.valid),
            ]
        with m.Elif(taken):
            m.d.sync += [
                word.eq(word.as_value() >> len(o.lanes.as_value())),
                index.eq(index + 1),
            ]

        # Elements and words left in the row. Before a row, and before the first one in every cycle,
        # they are set anew.
        left = Signal(16, reset_less=True)
        words_left = Signal(16, reset_less=True)
        first = Signal(init=1)
        m.d.comb += [
            o.enables.eq(Cat(left > lane for lane in range(self.chunk_lanes))),
            o.first.eq(first),
            o.last.eq(o.last_in_word & (words_left == 1)),
        ]
        with m.If(taken):
            m.d.sync += [
                left.eq(Mux(left[bits:].any(), left - self.chunk_lanes, 0)),
                words_left.eq(words_left - o.last_in_word),
                first.eq(o.last),
            ]
        with m.If((taken & o.last) | (first & ~self.o.valid)):
            m.d.sync += [left.eq(self.n), words_left.eq(self.words)]

        return m
