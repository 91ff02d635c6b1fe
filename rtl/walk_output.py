"""Takes the output of an ATTEND apart into passes and drains."""

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from celosia.config import MachineConfig
from celosia.rtl.passes import (
    AccumulateMode,
    DrainKind,
    KeyBlock,
    Step,
    address_bits,
    index_bits,
    part_bits,
)

__all__ = ["OutputWalker"]

#: Accumulator bank of the output.
BANK = 1


class OutputWalker(wiring.Component):
    """Loops over the tiles of Vᵀ of a key block: the passes that add its part of the output.

    After the last block of an attention each tile of the output drains as soon as it is complete.
    After the last block of an instruction whose attention goes on, an empty drain follows: it
    ends the instruction in order. A step leaves every cycle at most.

    Members
    -------
    i : In(stream.Signature(KeyBlock(config)))
        Blocks; taken when their last step has left.
    o : Out(stream.Signature(Step(config)))
        Steps, in order.
    last : Out(1)
        `o` is the last step of a block.
    """

    i: stream.Interface
    o: stream.Interface
    last: Signal

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        # Where the loops stand: over tiles of Vᵀ, over tiles of the block's keys.
        self.outer = Signal(index_bits(config.accumulator_rows))
        self.inner = Signal(part_bits(config.lanes // config.rows))
        self.tile_base = Signal(address_bits(config))
        self.accumulator = Signal(index_bits(config.accumulator_rows))
        self.parity = Signal()
        super().__init__({
            "i": In(stream.Signature(KeyBlock(config))),
            "o": Out(stream.Signature(Step(config))),
            "last": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self.config
        block = self.i.payload
        inner_last = Signal()
        tile_base = Signal.like(self.tile_base)
        m.d.comb += [
            self.o.valid.eq(self.i.valid),
            inner_last.eq(self.inner == config.lanes // config.rows - 1),
            self.last.eq(inner_last & (self.outer == block.tiles - 1)),
            self.i.ready.eq(self.o.ready & self.last),
            tile_base.eq(Mux(self.outer == 0, block.base, self.tile_base)),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += self.inner.eq(self.inner + 1)
            with m.If(inner_last):
                m.d.sync += [
                    self.inner.eq(0),
                    self.outer.eq(self.outer + 1),
                    self.tile_base.eq(tile_base + (block.stride << exact_log2(config.columns))),
                    self.accumulator.eq(self.accumulator + block.m),
                ]
            with m.If(self.last):
                m.d.sync += [
                    self.outer.eq(0),
                    self.accumulator.eq(0),
                    self.parity.eq(~self.parity),
                ]
        # What is not set is 0. (A constant alone would become a Verilog block without inputs, which
        # some simulators never run.)
        with m.If(self.i.valid):
            m.d.comb += Value.cast(self.o.payload).eq(0)
        self._describe_pass(m, tile_base, inner_last)
        self._describe_drain(m, inner_last)
        return m

    def _describe_pass(self, m: Module, tile_base: Signal, inner_last: Signal) -> None:
        config = self.config
        block = self.i.payload
        tile, rows = self.o.p.tile, self.o.p.rows
        first_inner = Signal()
        begins = Mux(block.first, AccumulateMode.FIRST, AccumulateMode.RESCALE)
        m.d.comb += [
            tile.columns.eq(config.columns),
            rows.from_probabilities.eq(1),
            rows.bank.eq(BANK),
            first_inner.eq(self.inner == 0),
            tile.base.eq(tile_base),
            tile.stride.eq(block.stride),
            tile.part.eq(self.inner),
            tile.slot.eq(block.slot + (self.outer << exact_log2(config.columns))),
            rows.part.eq(self.inner),
            rows.m.eq(block.m),
            rows.accumulator.eq(self.accumulator),
            rows.parity.eq(self.parity),
            rows.mode.eq(Mux(first_inner, begins, AccumulateMode.ADD)),
            rows.opens.eq(first_inner & (self.outer == 0) & block.first),
            rows.closes.eq(inner_last & block.last),
            rows.releases.eq(self.last),
            rows.finishes.eq(self.last & block.held),
            self.o.p.drains.eq((inner_last & block.last) | (self.last & block.held)),
        ]

    def _describe_drain(self, m: Module, inner_last: Signal) -> None:
        config = self.config
        block = self.i.payload
        drain = self.o.p.drain
        n_bits = exact_log2(config.lanes // config.columns)
        m.d.comb += [
            drain.bank.eq(BANK),
            drain.lane_exponents.eq(1),
            drain.columns.eq(config.columns),
            drain.kind.eq(Mux(block.held, DrainKind.END, DrainKind.OUTPUT)),
            drain.m.eq(Mux(block.held, 1, block.m)),
            drain.accumulator.eq(self.accumulator),
            drain.lane_slot.eq(block.slot + (self.outer << exact_log2(config.columns))),
            drain.shift.eq(block.y_shift),
            drain.base.eq(block.y_base + (self.outer >> n_bits)),
            drain.stride.eq(block.y_stride),
            drain.group.eq(block.y_group),
            drain.group_last.eq(block.group_last),
            drain.part.eq(self.outer),
            drain.slot.eq(block.y_slot),
            drain.resets_exponent.eq((self.outer == 0) & block.resets_exponent),
            drain.ends.eq(self.last),
        ]
