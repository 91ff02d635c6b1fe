"""Takes the scores of an ATTEND apart into passes and drains."""

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from celosia.config import MachineConfig
from celosia.cores.arith import saturate
from celosia.isa import Flag, Opcode
from celosia.rtl.decode import has_flag, operand_layout
from celosia.rtl.passes import (
    AccumulateMode,
    DrainKind,
    KeyBlock,
    Step,
    address_bits,
    index_bits,
    limit_bits,
    part_bits,
)

__all__ = ["ScoreWalker"]

#: Accumulator bank of the scores.
BANK = 0


class ScoreWalker(wiring.Component):
    """Loops over the key blocks of a run: the passes that form their scores, and their drains.

    Where a bank holds two blocks they take turns in its halves, and one drains behind the next.
    A step leaves every cycle at most, but none in the cycle after an instruction came.

    Members
    -------
    i : In(stream.Signature(operand_layout(ATTEND)))
        Instructions; taken when their last step has left.
    o : Out(stream.Signature(Step(config)))
        Steps, in order.
    last : Out(1)
        `o` is the last step of a block.
    joins : In(1)
        Only scores have been summed since those of the block before; constant during a block.
    block : Out(KeyBlock(config))
        The block that `o` belongs to.
    """

    i: stream.Interface
    o: stream.Interface
    last: Signal
    joins: Signal

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        address = address_bits(config)
        # Where the loops stand: over blocks, over tiles of keys, over tiles of the reduction.
        self.begun = Signal()
        self.keys_done = Signal(16)
        self.block_base = Signal(address)
        self.outer = Signal(part_bits(config.lanes // config.columns))
        self.inner = Signal(8)
        self.tile_base = Signal(address)
        self.accumulator = Signal(index_bits(config.accumulator_rows) - config.score_halves)
        self.parity = Signal()
        half = self.parity if config.score_halves else Const(0, 0)
        self.half_base = Cat(Const(0, len(self.accumulator)), half)
        super().__init__({
            "i": In(stream.Signature(operand_layout(Opcode.ATTEND))),
            "o": Out(stream.Signature(Step(config))),
            "last": Out(1),
            "joins": In(1),
            "block": Out(KeyBlock(config)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self.config
        ins = self.i.payload

        moves = Signal()
        inner_last = Signal()
        block_last = Signal()  # no keys are left after this block
        keys_left = Signal(16)
        m.d.comb += [
            self.o.valid.eq(self.i.valid & self.begun),
            moves.eq(self.o.valid & self.o.ready),
            inner_last.eq(self.inner == ins.d_tiles - 1),
            self.last.eq(inner_last & (self.outer == config.lanes // config.columns - 1)),
            keys_left.eq(ins.t - self.keys_done),
            block_last.eq(keys_left <= config.lanes),
            self.i.ready.eq(moves & self.last & block_last),
        ]

        with m.If(self.i.valid & ~self.begun):
            m.d.sync += [
                self.begun.eq(1),
                self.keys_done.eq(0),
                self.block_base.eq(ins.w_base),
                self.tile_base.eq(ins.w_base),
            ]
        next_block = Signal(address_bits(config))
        m.d.comb += next_block.eq(self.block_base + (ins.w_stride << exact_log2(config.lanes)))
        with m.If(moves):
            m.d.sync += self.inner.eq(self.inner + 1)
            with m.If(inner_last):
                m.d.sync += [
                    self.inner.eq(0),
                    self.outer.eq(self.outer + 1),
                    self.tile_base.eq(
                        self.tile_base + (ins.w_stride << exact_log2(config.columns))
                    ),
                    self.accumulator.eq(self.accumulator + ins.m),
                ]
            with m.If(self.last):
                m.d.sync += [
                    self.begun.eq(~block_last),
                    self.keys_done.eq(self.keys_done + config.lanes),
                    self.block_base.eq(next_block),
                    self.tile_base.eq(next_block),
                    self.outer.eq(0),
                    self.accumulator.eq(0),
                    self.parity.eq(~self.parity),
                ]

        first = Signal()  # the first block of the attention; `final` is its last one
        final = Signal()
        m.d.comb += [
            first.eq((self.keys_done == 0) & ~has_flag(ins, Flag.CONTINUE)),
            final.eq(block_last & ~has_flag(ins, Flag.HOLD)),
        ]
        # What is not set is 0. (A constant alone would become a Verilog block without inputs, which
        # some simulators never run.)
        with m.If(self.i.valid):
            m.d.comb += Value.cast(self.o.payload).eq(0)
        self._describe_pass(m, keys_left)
        self._describe_drain(m, keys_left, first, final)
        self._describe_block(m, block_last, first, final)
        return m

    def _describe_pass(self, m: Module, keys_left: Signal) -> None:
        config = self.config
        ins = self.i.payload
        tile, rows = self.o.p.tile, self.o.p.rows
        k_bits = exact_log2(config.lanes // config.rows)
        key = self.outer << exact_log2(config.columns)
        keys = Signal(16)  # from the tile's first one on, of use if there are any
        in_word = Signal(8)
        m.d.comb += [
            keys.eq(keys_left - key),
            in_word.eq(self.inner >> k_bits),
            tile.base.eq(self.tile_base + in_word),
            tile.stride.eq(ins.w_stride),
            tile.part.eq(self.inner),
            tile.slot.eq(ins.w_slot + self.keys_done + key),
            tile.columns.eq(
                Mux(keys_left <= key, 0, Mux(keys >= config.columns, config.columns, keys))
            ),
            rows.wide.eq(has_flag(ins, Flag.WIDE)),
            rows.base.eq(ins.x_base + in_word),
            rows.stride.eq(ins.x_stride),
            rows.group.eq(ins.x_group),
            rows.group_last.eq(ins.period - 1),
            rows.part.eq(self.inner),
            rows.slot.eq(ins.x_slot),
            rows.m.eq(ins.m),
            rows.accumulator.eq(self.half_base | self.accumulator),
            rows.bank.eq(BANK),
            rows.mode.eq(Mux(self.inner == 0, AccumulateMode.FIRST, AccumulateMode.ADD)),
            rows.opens.eq((self.inner == 0) & (self.outer == 0)),
            rows.joins.eq(self.joins & config.score_halves),
            rows.closes.eq(self.last),
            self.o.p.drains.eq(self.last),
        ]

    def _describe_drain(self, m: Module, keys_left: Signal, first: Signal, final: Signal) -> None:
        config = self.config
        ins = self.i.payload
        drain = self.o.p.drain
        m.d.comb += [
            drain.kind.eq(DrainKind.SCORES),
            drain.lane_exponents.eq(1),
            drain.m.eq(ins.m),
            drain.bank.eq(BANK),
            drain.accumulator.eq(self.half_base),
            drain.group_last.eq(ins.period - 1),
            drain.row_slot.eq(ins.x_slot),
            drain.row_exponents.eq(~has_flag(ins, Flag.WIDE)),
            drain.lane_slot.eq(ins.w_slot + self.keys_done),
            drain.columns.eq(Mux(keys_left <= config.lanes, keys_left, config.lanes)),
            drain.multiplier.eq(ins.multiplier),
            drain.shift.eq(ins.shift),
            drain.parity.eq(self.parity),
            drain.first.eq(first),
            drain.last.eq(final),
            drain.causal.eq(has_flag(ins, Flag.CAUSAL)),
            drain.windowed.eq(has_flag(ins, Flag.WINDOW)),
        ]
        # Beyond the block's lanes and the rows of an attention, limits are all alike.
        last_lane = Signal(signed(18))
        first_lane = Signal(signed(18))
        m.d.comb += [
            last_lane.eq(ins.diagonal - self.keys_done),
            first_lane.eq(ins.window - self.keys_done),
            drain.last_lane.eq(saturate(last_lane, limit_bits(config))),
            drain.first_lane.eq(saturate(first_lane, limit_bits(config))),
        ]

    def _describe_block(self, m: Module, block_last: Signal, first: Signal, final: Signal) -> None:
        ins = self.i.payload
        block = self.block
        m.d.comb += [
            block.m.eq(ins.m),
            block.tiles.eq(ins.v_tiles),
            block.base.eq(ins.v_base + (self.keys_done >> exact_log2(self.config.lanes))),
            block.stride.eq(ins.v_stride),
            block.slot.eq(ins.v_slot),
            block.group_last.eq(ins.period - 1),
            block.y_base.eq(ins.y_base),
            block.y_stride.eq(ins.y_stride),
            block.y_group.eq(ins.y_group),
            block.y_slot.eq(ins.y_slot),
            block.y_shift.eq(ins.y_shift),
            block.resets_exponent.eq(~has_flag(ins, Flag.KEEP_EXPONENT)),
            block.first.eq(first),
            block.last.eq(final),
            block.held.eq(block_last & has_flag(ins, Flag.HOLD)),
        ]
