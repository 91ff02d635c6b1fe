"""Rows by lanes: elements normalised, scaled and offset, or multiplied by each other."""

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from celosia.cores.arith import delayed
from celosia.cores.layernorm_chunks import Chunk
from celosia.cores.layernorm_scale import RowScale
from celosia.cores.multiply_lane import Element, LaneMode, MultiplyLane

__all__ = ["RowMultiplier"]


class RowMultiplier(wiring.Component):
    """Multiplies rows, one chunk per cycle, and gathers the results into words.

    A row that is scaled is begun when its scale is there, which is taken with the last chunk. A
    word comes `latency` cycles after its last chunk, through a queue with room for all words
    under way; a word is only begun when there is room in it, and then its chunks follow without
    a gap.

    Parameters
    ----------
    word_lanes, chunk_lanes : int
        Lanes of a word and of a chunk, powers of two.

    Members
    -------
    mode : In(LaneMode)
        What is done with elements; constant while there are rows.
    scaled : In(1)
        Rows have a scale; constant while there are rows.
    scales : In(stream.Signature(RowScale))
        Scale of each row, if they have one.
    i : In(stream.Signature(Chunk(Element, chunk_lanes)))
        Chunks, row by row.
    o : Out(stream.Signature(data.ArrayLayout(signed(16), word_lanes)))
        Words of the result; lanes that were not enabled are 0, but for `products`.
    ended : Out(1)
        The last chunk of a row was taken.
    """

    mode: LaneMode
    scaled: Signal
    scales: stream.Interface
    i: stream.Interface
    o: stream.Interface
    ended: Signal

    #: Cycles from the last chunk of a word to the word.
    latency = MultiplyLane.latency + 2

    def __init__(self, word_lanes: int, chunk_lanes: int) -> None:
        self.word_lanes = word_lanes
        self.chunk_lanes = chunk_lanes
        super().__init__({
            "mode": In(LaneMode),
            "scaled": In(1),
            "scales": In(stream.Signature(RowScale)),
            "i": In(stream.Signature(Chunk(Element, chunk_lanes))),
            "o": Out(stream.Signature(data.ArrayLayout(signed(16), word_lanes))),
            "ended": Out(1),
        })

    @property
    def depth(self) -> int:
        """Words under way at full rate, and one that waits."""
        return -(-(self.latency + 1) * self.chunk_lanes // self.word_lanes) + 2

    def elaborate(self, platform) -> Module:
        m = Module()
        chunk = self.i.payload

        # The first chunk of a word reserves room for it.
        free = Signal(range(self.depth + 1), init=self.depth)
        begun = Signal()
        allowed = Signal()
        take = Signal()
        m.d.comb += [
            allowed.eq((self.scales.valid | ~self.scaled) & (begun | (free != 0))),
            self.i.ready.eq(allowed),
            take.eq(self.i.valid & allowed),
            self.ended.eq(take & chunk.last),
            self.scales.ready.eq(self.ended),
        ]
        with m.If(take):
            m.d.sync += begun.eq(~chunk.last_in_word)
        m.d.sync += free.eq(free - (take & ~begun) + (self.o.valid & self.o.ready))

        lanes = []
        for index in range(self.chunk_lanes):
            m.submodules[f"lane_{index}"] = lane = MultiplyLane()
            m.d.comb += [
                lane.mode.eq(self.mode),
                lane.element.eq(chunk.lanes[index]),
                lane.scale.eq(self.scales.payload),
                lane.enable.eq(chunk.enables[index] | self.mode.products),
            ]
            lanes.append(lane)
        if len(lanes) > 1:
            self._pair(m, lanes)
        else:
            self._pair_in_time(m, lanes[0], take)

        # The word moves down by a chunk at a time.
        valid = delayed(m, take, MultiplyLane.latency, "valid", reset_less=False)
        last = delayed(m, chunk.last_in_word, MultiplyLane.latency, "last")
        word = Signal(16 * self.word_lanes, reset_less=True)
        ended = Signal()
        with m.If(valid):
            m.d.sync += word.eq(Cat(word[16 * self.chunk_lanes :], *(lane.y for lane in lanes)))
        m.d.sync += ended.eq(valid & last)

        m.submodules.queue = queue = fifo.SyncFIFO(width=len(word), depth=self.depth)
        m.d.comb += [
            queue.w_data.eq(word),
            queue.w_en.eq(ended),
            self.o.payload.as_value().eq(queue.r_data),
            self.o.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.o.ready),
        ]

        return m

    def _pair(self, m: Module, lanes: list[MultiplyLane]) -> None:
        """Let the lanes of the two parts of a complex number see each other's factors."""
        for index, lane in enumerate(lanes):
            odd = index % 2
            m.d.comb += [
                lane.partner.eq(lanes[index ^ 1].factors[1]),
                lane.odd.eq(odd),
                lane.subtract.eq(0 if odd else self.mode.complex),
            ]

    def _pair_in_time(self, m: Module, lane: MultiplyLane, take: Signal) -> None:
        """Let the only lane see what is one cycle before or behind: the parts follow each other."""
        odd = Signal()
        with m.If(take):
            m.d.sync += odd.eq(~odd)  # a word has whole numbers
        odd_here = delayed(m, odd, lane.tap, "odd")
        m.d.comb += [
            lane.partner.eq(Mux(odd_here, lane.factors[2].as_value(), lane.factors[0].as_value())),
            lane.odd.eq(odd_here),
            lane.subtract.eq(self.mode.complex & ~delayed(m, odd_here, 3, "odd_there")),
        ]
