"""Second pass over a row: elements normalised, scaled and offset."""

from amaranth import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from celosia.cores.arith import delayed, saturate
from celosia.cores.layernorm_chunks import Chunk
from celosia.cores.layernorm_scale import RowScale
from celosia.cores.multiply import Multiplier
from celosia.cores.requant_scale import RoundingShifter

__all__ = ["MAX_SHIFT", "Element", "NormLane", "RowNormaliser"]

#: Larger shifts act as this one: it makes 0 of every product.
MAX_SHIFT = 36


class Element(data.Struct):
    """An element with the gain and the offset of its column."""

    x: signed(16)
    gamma: signed(16)
    beta: signed(16)


class ElementNormaliser(wiring.Component):
    """`zq = rnd(16·(x + 32768 - mean)·gain - offset, shift)`, `latency` cycles later.

    One element per cycle. The result fits 20 bits, since no element is further from the mean than
    `sqrt(n - 1)` deviations.

    Members
    -------
    x : In(signed(16))
        Element.
    scale : In(RowScale)
        Scale of its row, in the same cycle.
    zq : Out(signed(20))
        Normal form, 12 fraction bits.
    """

    #: Cycles from element to normal form.
    latency = 1 + Multiplier.latency + 4

    x: Signal
    scale: RowScale
    zq: Signal

    def __init__(self) -> None:
        super().__init__({
            "x": In(signed(16)),
            "scale": In(RowScale),
            "zq": Out(signed(20)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.multiplier = multiplier = Multiplier(17, len(self.scale.gain) + 1)

        # Stage 1: difference; then the multiplier.
        difference = Signal(signed(17), reset_less=True)
        raised = Cat(self.x[:15], ~self.x[15])
        m.d.sync += difference.eq(raised - self.scale.mean)
        m.d.comb += [
            multiplier.a.eq(difference),
            multiplier.b.eq(delayed(m, self.scale.gain, 1, "gain")),
            multiplier.b_enable.eq(1),
        ]

        # Stage 5: the mean's fraction. Below the point, a bit to round with.
        cycles = 1 + Multiplier.latency
        offset = delayed(m, self.scale.offset, cycles, "offset")
        shift = delayed(m, self.scale.shift, cycles + 1, "shift")
        exact = Signal(signed(len(multiplier.product) + 4), reset_less=True)
        m.d.sync += exact.eq(Cat(Const(0, 4), multiplier.product).as_signed() - offset)

        # Stages 6 and 7: shift by eights and by ones. The quotient fits 20 bits: above them, and
        # the 7 that can still be shifted out, nothing is needed.
        doubled = Cat(Const(0, 1), exact, exact[-1].replicate(24))
        coarse = Signal(28, reset_less=True)
        quotient = Signal(signed(21), reset_less=True)
        with m.Switch(shift[3:]):
            for eights in range(4):
                with m.Case(eights):
                    m.d.sync += coarse.eq(doubled[8 * eights :])
        m.d.sync += quotient.eq(coarse >> delayed(m, shift[:3], 1, "fine"))

        # Stage 8: round.
        zq = Signal(signed(20), reset_less=True)
        m.d.sync += zq.eq((quotient + 1) >> 1)
        m.d.comb += self.zq.eq(zq)

        return m


class NormLane(wiring.Component):
    """One lane: `y = sat16(rnd(zq·gamma, shift) + beta)`, `latency` cycles later; one per cycle.

    Two 18-bit multipliers.

    Members
    -------
    element : In(Element)
        Element, gain and offset.
    scale : In(RowScale)
        Scale of the row, in the same cycle.
    enable : In(1)
        The element lies inside the row; `y` is 0 otherwise.
    shift : In(range(MAX_SHIFT + 1))
        Right shift after the gain; constant while there are elements.
    y : Out(signed(16))
        Result.
    """

    #: Cycles from element to result.
    latency = ElementNormaliser.latency + Multiplier.latency + 1 + RoundingShifter.latency + 2

    element: Element
    scale: RowScale
    enable: Signal
    shift: Signal
    y: Signal

    def __init__(self) -> None:
        super().__init__({
            "element": In(Element),
            "scale": In(RowScale),
            "enable": In(1),
            "shift": In(range(MAX_SHIFT + 1)),
            "y": Out(signed(16)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.normaliser = normaliser = ElementNormaliser()
        # The upper 18 bits of zq go to a multiplier, the lower two do not need one.
        m.submodules.upper = upper = Multiplier(18, 16)
        m.submodules.shifter = shifter = RoundingShifter(36)

        zq = normaliser.zq
        gamma = delayed(m, self.element.gamma, normaliser.latency, "gamma")
        once = Mux(zq[0], gamma, 0)
        twice = Mux(zq[1], gamma, 0)
        lower = Signal(signed(18), reset_less=True)
        product = Signal(signed(36), reset_less=True)
        m.d.sync += [
            lower.eq(once + (twice << 1)),
            product.eq((upper.product << 2) + delayed(m, lower, upper.latency - 1, "lower")),
        ]
        m.d.comb += [
            normaliser.x.eq(self.element.x),
            normaliser.scale.eq(self.scale),
            upper.a.eq(zq[2:].as_signed()),
            upper.b.eq(gamma),
            upper.b_enable.eq(1),
            shifter.value.eq(product),
            shifter.shift.eq(self.shift),
        ]

        # Sum and saturation.
        total = Signal(signed(19), reset_less=True)
        y = Signal(signed(16), reset_less=True)
        beta = delayed(m, self.element.beta, self.latency - 2, "beta")
        enable = delayed(m, self.enable, self.latency - 1, "enable")
        m.d.sync += [
            total.eq(shifter.quotient + beta + shifter.half),
            y.eq(Mux(enable, saturate(total, 16), 0)),
        ]
        m.d.comb += self.y.eq(y)

        return m


class RowNormaliser(wiring.Component):
    """Normalises rows, one chunk per cycle, and gathers the results into words.

    A row is begun when its scale is there, which is taken with the last chunk. A word comes
    `latency` cycles after its last chunk, through a queue with room for all words under way;
    a word is only begun when there is room in it.

    Parameters
    ----------
    word_lanes, chunk_lanes : int
        Lanes of a word and of a chunk, powers of two.

    Members
    -------
    shift : In(range(MAX_SHIFT + 1))
        Right shift after the gain; constant while there are rows.
    scales : In(stream.Signature(RowScale))
        Scale of each row.
    i : In(stream.Signature(Chunk(Element, chunk_lanes)))
        Chunks, row by row.
    o : Out(stream.Signature(data.ArrayLayout(signed(16), word_lanes)))
        Words of the result; lanes that were not enabled are 0.
    """

    shift: Signal
    scales: stream.Interface
    i: stream.Interface
    o: stream.Interface

    #: Cycles from the last chunk of a word to the word.
    latency = NormLane.latency + 2

    def __init__(self, word_lanes: int, chunk_lanes: int) -> None:
        self.word_lanes = word_lanes
        self.chunk_lanes = chunk_lanes
        super().__init__({
            "shift": In(range(MAX_SHIFT + 1)),
            "scales": In(stream.Signature(RowScale)),
            "i": In(stream.Signature(Chunk(Element, chunk_lanes))),
            "o": Out(stream.Signature(data.ArrayLayout(signed(16), word_lanes))),
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
            allowed.eq(self.scales.valid & (begun | (free != 0))),
            self.i.ready.eq(allowed),
            take.eq(self.i.valid & allowed),
            self.scales.ready.eq(take & chunk.last),
        ]
        with m.If(take):
            m.d.sync += begun.eq(~chunk.last_in_word)
        m.d.sync += free.eq(free - (take & ~begun) + (self.o.valid & self.o.ready))

        results = []
        for index in range(self.chunk_lanes):
            m.submodules[f"lane_{index}"] = lane = NormLane()
            m.d.comb += [
                lane.element.eq(chunk.lanes[index]),
                lane.scale.eq(self.scales.payload),
                lane.enable.eq(chunk.enables[index]),
                lane.shift.eq(self.shift),
            ]
            results.append(lane.y)

        # The word moves down by a chunk at a time.
        valid = delayed(m, take, NormLane.latency, "valid", reset_less=False)
        last = delayed(m, chunk.last_in_word, NormLane.latency, "last")
        word = Signal(16 * self.word_lanes, reset_less=True)
        ended = Signal()
        with m.If(valid):
            m.d.sync += word.eq(Cat(word[16 * self.chunk_lanes :], *results))
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
