"""From words of the scratchpad to beats of memory, each with the bytes that are written."""

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from celosia.config import MachineConfig
from celosia.rtl.exponents import ScratchpadWord
from celosia.rtl.memory_writer import WrittenBeat

__all__ = ["BeatMaker", "StoredRow", "beat_of"]


class StoredRow(data.Struct):
    """Which elements of each row are stored: the first and the last one, and whether as bytes."""

    first: 16
    last: 22
    is_rows8: 1


def beat_of(config: MachineConfig, row: data.View, element: Value) -> Value:
    """Return the beat of its row in which an element lies."""
    shift = exact_log2(config.memory_width)
    return Mux(row.is_rows8, element >> shift, element >> (shift - 1))


class BeatMaker(wiring.Component):
    """Cuts words into beats, or puts two words of bytes into one.

    One beat per cycle. Only the words that hold elements of the range come, and only their beats
    go.

    Parameters
    ----------
    config : MachineConfig
        Lanes and memory width.

    Members
    -------
    begin : In(1)
        The next word is the first one of a row.
    row : In(StoredRow)
        What is stored of each row; must not change from `begin` to the last beat.
    words : In(stream.Signature(ScratchpadWord(config)))
        Words of one row after the other.
    data : Out(stream.Signature(WrittenBeat(config)))
        Their beats.
    """

    words: stream.Interface
    data: stream.Interface

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "begin": In(1),
            "row": In(StoredRow),
            "words": In(stream.Signature(ScratchpadWord(config))),
            "data": Out(stream.Signature(WrittenBeat(config))),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        lanes, width = self.config.lanes, self.config.memory_width
        row = self.row
        first = beat_of(self.config, row, row.first)
        last = beat_of(self.config, row, row.last)
        beat = Signal.like(last, reset_less=True)  # in its row
        is_last = Signal()
        goes = Signal()
        m.d.comb += [
            is_last.eq(beat == last),
            goes.eq(self.data.valid & self.data.ready),
            self.data.p.strobe.eq(self._strobe(row, beat == first, is_last)),
        ]
        with m.If(self.begin | goes):
            m.d.sync += beat.eq(Mux(self.begin | is_last, first, beat + 1))

        # Of each word take the beat, as bytes or as it is.
        low_bytes = Cat(element[:8] for element in self.words.payload)
        whole = self.words.payload.as_value()
        of_bytes = beat[: exact_log2(max(lanes // width, 1))]
        of_word = beat[: exact_log2(2 * lanes // width)]
        part = Mux(row.is_rows8, of_bytes, of_word)
        ends = is_last | Mux(row.is_rows8, of_bytes.all(), of_word.all())
        if width <= lanes:
            m.d.comb += [
                self.data.valid.eq(self.words.valid),
                self.data.p.data.eq(
                    Mux(row.is_rows8, low_bytes, whole).word_select(part, 8 * width)
                ),
                self.words.ready.eq(self.data.ready & ends),
            ]
            return m

        # Two words of bytes are one beat, unless the range begins or ends between them.
        shift = exact_log2(lanes)
        lower = Signal(8 * lanes, reset_less=True)
        upper = Signal()  # the upper half of a beat is next
        pushes = Signal()
        m.d.comb += [
            pushes.eq(~row.is_rows8 | upper | (is_last & ~row.last[shift])),
            self.data.valid.eq(self.words.valid & pushes),
            self.data.p.data.eq(
                Mux(row.is_rows8, Cat(Mux(upper, lower, low_bytes), low_bytes), whole)
            ),
            self.words.ready.eq(self.data.ready | ~pushes),
        ]
        with m.If(self.begin):
            m.d.sync += upper.eq(row.first[shift])
        with m.Elif(self.words.valid & self.words.ready):
            m.d.sync += [lower.eq(low_bytes), upper.eq(Mux(pushes, is_last & row.first[shift], 1))]
        return m

    def _strobe(self, row: data.View, is_first: Value, is_last: Value) -> Value:
        """Return which bytes of a beat lie in the range of their row."""
        width = self.config.memory_width
        shift = exact_log2(width)
        start = Mux(row.is_rows8, row.first, row.first << 1)[:shift]
        end = Mux(row.is_rows8, row.last, (row.last << 1) | 1)[:shift]
        every = Const(-1, width)
        before = ~(every << start)[:width]
        behind = (every << 1 << end)[:width]
        return ~(Mux(is_first, before, 0) | Mux(is_last, behind, 0))[:width]
