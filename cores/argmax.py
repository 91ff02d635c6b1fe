"""The largest element of each row, and where it is."""

from amaranth import Cat, Module, Mux, Signal, Value, signed
from amaranth.hdl import ValueLike
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from celosia.cores.arith import delayed
from celosia.cores.layernorm_chunks import Chunk

__all__ = ["RESULT_LANES", "RowArgmax"]

#: Lanes of a result: the element, and the low and the high half of its index.
RESULT_LANES = 3
#: Bits of a place in a row.
_PLACE_BITS = 16


def _raised(x: Value) -> Value:
    """Add 32768, modulo 2^16: signed numbers to unsigned ones in the same order, and back."""
    return Cat(x[:15], ~x[15])


class RowArgmax(wiring.Component):
    """Finds the largest element of a row, a chunk per cycle; the first where several are as large.

    The result stays from `found`, `latency` cycles after the last chunk, until the next row is
    begun. Chunks never wait.

    Parameters
    ----------
    lanes : int
        Elements of a chunk, a power of two.

    Members
    -------
    valid : In(1)
        There is a chunk.
    chunk : In(Chunk(signed(16), lanes))
        Chunks, row by row; lanes that are not enabled do not count. The first one of a row has
        an enabled lane, and none is enabled behind one that is not.
    first : In(32)
        Index of a row's first element; constant while there are rows.
    continues : In(1)
        What `held` says takes part, as if it came before the row.
    held : In(data.ArrayLayout(signed(16), RESULT_LANES))
        A result to go on from; combinational to `result`.
    found : Out(1)
        The row has ended and its result is there.
    result : Out(data.ArrayLayout(signed(16), RESULT_LANES))
        The element, and the low and the high half of its index.
    """

    #: Rows that it can hold: the next one may begin when the result has been used.
    capacity = 1

    valid: Signal
    chunk: data.View
    first: Signal
    continues: Signal
    held: data.View
    found: Signal
    result: data.View

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        result = data.ArrayLayout(signed(16), RESULT_LANES)
        super().__init__({
            "valid": In(1),
            "chunk": In(Chunk(signed(16), lanes)),
            "first": In(32),
            "continues": In(1),
            "held": In(result),
            "found": Out(1),
            "result": Out(result),
        })

    @property
    def latency(self) -> int:
        """Cycles from the last chunk of a row to its result."""
        return exact_log2(self.lanes) + 2

    def elaborate(self, platform) -> Module:
        m = Module()
        levels = exact_log2(self.lanes)
        largest, lane, enabled = self._largest_of_chunk(m)
        valid = delayed(m, self.valid, levels, "valid", reset_less=False)
        begins = delayed(m, self.chunk.first, levels, "begins")
        ends = delayed(m, self.chunk.last, levels, "ends")

        # The best of the chunks so far, and which chunk it was in.
        best = Signal(16, reset_less=True)
        place = Signal(_PLACE_BITS, reset_less=True)
        chunks = Signal(_PLACE_BITS - levels, reset_less=True)
        current = Signal.like(chunks)
        m.d.comb += current.eq(Mux(begins, 0, chunks))
        with m.If(valid):
            m.d.sync += chunks.eq(current + 1)
        with m.If(valid & (begins | (enabled & (largest > best)))):
            m.d.sync += [best.eq(largest), place.eq(Cat(lane, current))]
        index = Signal(32, reset_less=True)
        m.d.sync += index.eq(self.first + place)

        # What is held is larger, or as large, and there: one comparison, with a bit on top.
        keeps = Signal()
        held = self.held.as_value()
        m.d.comb += [
            self.found.eq(delayed(m, valid & ends, 2, "found", reset_less=False)),
            keeps.eq(Cat(_raised(held[:16]), self.continues) >= Cat(best, 1)),
            self.result.as_value().eq(Mux(keeps, held, Cat(_raised(best), index))),
        ]
        return m

    def _largest_of_chunk(self, m: Module) -> tuple[ValueLike, ValueLike, ValueLike]:
        """Return the largest element, raised, its lane, and whether any counts; a level a cycle."""
        ranks = [
            (_raised(x), Cat(), enable)
            for x, enable in zip(self.chunk.lanes, self.chunk.enables, strict=True)
        ]
        level = 0
        while len(ranks) > 1:
            winners = []
            for number, (low, high) in enumerate(zip(ranks[::2], ranks[1::2], strict=True)):
                name = f"{level}_{number}"
                higher = Signal(name=f"higher_{name}")
                x = Signal(16, name=f"x_{name}", reset_less=True)
                lane = Signal(level + 1, name=f"lane_{name}", reset_less=True)
                counts = Signal(name=f"counts_{name}", reset_less=True)
                below = [Mux(higher, high[1], low[1])] if level else []
                m.d.comb += higher.eq(high[2] & (high[0] > low[0]))
                m.d.sync += [
                    x.eq(Mux(higher, high[0], low[0])),
                    lane.eq(Cat(*below, higher)),
                    counts.eq(low[2]),
                ]
                winners.append((x, lane, counts))
            ranks = winners
            level += 1
        return ranks[0]
