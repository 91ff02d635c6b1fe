"""Fetches the stationary tiles that come from memory, ahead of their use."""

from amaranth import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from celosia.config import MachineConfig
from celosia.isa import Flag, Opcode
from celosia.rtl.bursts import MemoryRequest
from celosia.rtl.decode import has_flag, has_pairs, operand_layout, run_log

__all__ = ["ColumnGearbox", "WeightFetcher"]


class WeightFetcher(wiring.Component):
    """Asks for the tiles of a MATMUL as soon as it is decoded: weights never change.

    One request for the tiles of C channels, or 2C with weights of 4 bits, with all that belongs to
    them: scales and indices.

    Members
    -------
    i : In(stream.Signature(operand_layout(MATMUL)))
        Instructions with weights in memory, as they are decoded.
    requests : Out(stream.Signature(MemoryRequest))
        To the memory reader.
    """

    i: stream.Interface
    requests: stream.Interface

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(operand_layout(Opcode.MATMUL))),
            "requests": Out(stream.Signature(MemoryRequest)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        config, ins = self.config, self.i.payload
        beat = exact_log2(config.memory_width)

        begun = Signal()
        left = Signal(16)
        address = Signal(32)
        size = Signal(32, reset_less=True)  # bytes of a request
        pair = Signal()
        last = Signal()
        m.d.comb += [
            last.eq(left <= (config.columns << pair)),
            self.requests.valid.eq(begun),
            self.requests.p.address.eq(address),
            self.requests.p.beats.eq(size >> beat),
            self.i.ready.eq(begun & self.requests.ready & last),
        ]
        m.d.comb += pair.eq(has_pairs(config, ins))
        with m.If(~begun):
            m.d.sync += [
                begun.eq(self.i.valid),
                left.eq(ins.n),
                address.eq(ins.w_address),
                size.eq(self._bytes(ins, pair)),
            ]
        with m.Elif(self.requests.ready):
            m.d.sync += [
                begun.eq(~last),
                left.eq(left - (config.columns << pair)),
                address.eq(address + size),
            ]
        return m

    def _bytes(self, ins, pair: Value) -> Value:
        """Return the bytes of the tiles along the reduction."""
        config, tiles = self.config, ins.k_tiles
        log = run_log(ins)
        last = Value.cast(ins.k_tiles - 1)[:16] >> log
        runs = last + 1
        sparse = 0
        if config.sparsity > 1:
            # Runs that are left out; the last one may be short.
            skips = ins.skip != 0
            there = ~ins.skip
            runs = Mux(skips, sum(there[bit] for bit in range(len(ins.skip))), runs)
            short = (((last + 1) << log) - ins.k_tiles)[:16]
            kept = (runs << log) - Mux(there.bit_select(last[:5], 1), short, 0)
            tiles = Mux(skips, kept[:16], tiles)
            sparse = Mux(has_flag(ins, Flag.SPARSE), tiles * config.index_bytes, 0)
        total = tiles * config.tile_bytes + sparse
        if config.products > 1:
            total += Mux(pair & (ins.group != 0), runs * config.scale_bytes, 0)
        return total


class ColumnGearbox(wiring.Component):
    """Turns beats of the memory into columns of R int8, whichever is wider.

    One beat, or one column, per cycle. Tiles are whole numbers of beats, so nothing is left over.

    Members
    -------
    i : In(stream.Signature(8 * memory_width))
        Beats.
    o : Out(stream.Signature(R * int8))
        Columns.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(8 * config.memory_width)),
            "o": Out(stream.Signature(data.ArrayLayout(signed(8), config.rows))),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        beat, column = self.config.memory_width, self.config.rows
        if beat >= column:
            self._split(m, beat // column)
        else:
            self._join(m, column // beat)
        return m

    def _split(self, m: Module, parts: int) -> None:
        part = Signal(range(max(2, parts)))
        last = Signal()
        whole = self.i.payload
        m.d.comb += [
            last.eq(part == parts - 1),
            self.o.payload.as_value().eq(
                whole if parts == 1 else whole.word_select(part, len(whole) // parts)
            ),
            self.o.valid.eq(self.i.valid),
            self.i.ready.eq(self.o.ready & last),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += part.eq(Mux(last, 0, part + 1))

    def _join(self, m: Module, parts: int) -> None:
        held = [
            Signal(len(self.i.payload), name=f"held_{i}", reset_less=True) for i in range(parts)
        ]
        count = Signal(range(parts + 1))
        takes = Signal()
        gives = Signal()
        m.d.comb += [
            self.o.valid.eq(count == parts),
            self.o.payload.as_value().eq(Cat(held)),
            self.i.ready.eq(~self.o.valid | self.o.ready),
            takes.eq(self.i.valid & self.i.ready),
            gives.eq(self.o.valid & self.o.ready),
        ]
        with m.If(takes):
            for index, part in enumerate(held):
                with m.If(Mux(gives, 0, count) == index):
                    m.d.sync += part.eq(self.i.payload)
        m.d.sync += count.eq(Mux(gives, 0, count) + takes)
