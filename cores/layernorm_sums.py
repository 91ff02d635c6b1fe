"""Sums of the elements of a row and of their squares."""

from amaranth import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from celosia.cores.arith import adder_tree, delayed
from celosia.cores.layernorm_chunks import Chunk
from celosia.cores.multiply import Multiplier

__all__ = ["RowSums", "Sums"]


class Sums(data.Struct):
    """Sum of `x + 32768` over a row of up to 4096 elements, and sum of `x²`."""

    offset: 28
    squares: 43


def _registered_tree(m: Module, terms: list[Value], name: str) -> Value:
    """Sum of `terms`; a register after every two levels and after the last."""
    level = 0
    while len(terms) > 1 or level == 0:
        groups = [terms[index : index + 4] for index in range(0, len(terms), 4)]
        terms = []
        for index, group in enumerate(groups):
            total = adder_tree(group)
            register = Signal(total.shape(), name=f"{name}_{level}_{index}", reset_less=True)
            m.d.sync += register.eq(total)
            terms.append(register)
        level += 1
    return terms[0]


class RowSums(wiring.Component):
    """Adds up rows of up to 4096 elements, one chunk per cycle.

    Lanes that are not enabled do not count. The sums come `latency` cycles after the last chunk of
    their row, through a queue of `DEPTH` rows; a row is only begun when there is room in it.

    Parameters
    ----------
    lanes : int
        Elements of a chunk; as many 16-bit multipliers.

    Members
    -------
    i : In(stream.Signature(Chunk(signed(16), lanes)))
        Chunks, row by row.
    o : Out(stream.Signature(Sums))
        Sums of each row.
    """

    #: Rows whose sums can wait.
    DEPTH = 2

    i: stream.Interface
    o: stream.Interface

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__({
            "i": In(stream.Signature(Chunk(signed(16), lanes))),
            "o": Out(stream.Signature(Sums)),
        })

    @property
    def latency(self) -> int:
        """Cycles from the last chunk of a row to its sums."""
        return Multiplier.latency + self._tree_latency + 2

    @property
    def _tree_latency(self) -> int:
        return max(1, -(-(self.lanes - 1).bit_length() // 2))

    def elaborate(self, platform) -> Module:
        m = Module()
        chunk = self.i.payload
        free = Signal(range(self.DEPTH + 1), init=self.DEPTH)
        take = Signal()
        m.d.comb += [
            self.i.ready.eq(~chunk.first | (free != 0)),
            take.eq(self.i.valid & self.i.ready),
        ]
        m.d.sync += free.eq(free - (take & chunk.first) + (self.o.valid & self.o.ready))

        # Elements and squares; 0 where they do not count.
        elements, squares = [], []
        for lane, (x, enable) in enumerate(zip(chunk.lanes, chunk.enables, strict=True)):
            m.submodules[f"square_{lane}"] = square = Multiplier(16, 16)
            counted = Signal(signed(16), name=f"counted_{lane}")
            m.d.comb += [
                counted.eq(Mux(enable, x, 0)),
                square.a.eq(counted),
                square.b.eq(counted),
                square.b_enable.eq(1),
            ]
            squares.append(square.product[:31])  # never negative
            offset = Signal(16, name=f"offset_{lane}")
            m.d.comb += offset.eq(Cat(counted[:15], enable & ~counted[15]))
            elements.append(delayed(m, offset, Multiplier.latency, f"offset_{lane}"))
        element = _registered_tree(m, elements, "elements")
        square = _registered_tree(m, squares, "squares")

        # Accumulators.
        cycles = Multiplier.latency + self._tree_latency
        valid = delayed(m, take, cycles, "valid", reset_less=False)
        first = delayed(m, chunk.first, cycles, "first")
        last = delayed(m, chunk.last, cycles, "last")
        sums = Signal(Sums, reset_less=True)
        ended = Signal()
        m.d.sync += ended.eq(valid & last)
        with m.If(valid):
            m.d.sync += [
                sums.offset.eq(Mux(first, 0, sums.offset) + element),
                sums.squares.eq(Mux(first, 0, sums.squares) + square),
            ]

        m.submodules.queue = queue = fifo.SyncFIFO(width=len(sums.as_value()), depth=self.DEPTH)
        m.d.comb += [
            queue.w_data.eq(sums),
            queue.w_en.eq(ended),
            self.o.payload.as_value().eq(queue.r_data),
            self.o.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.o.ready),
        ]

        return m
