"""Takes an ATTEND apart into passes and drains."""

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from celosia.config import MachineConfig
from celosia.isa import Flag, Opcode
from celosia.rtl.decode import operand_layout
from celosia.rtl.passes import AccumulateMode, DrainKind, Step, address_bits
from celosia.rtl.walk_matmul import has_flag

__all__ = ["AttendWalker"]

#: Accumulator banks of the scores and of the output.
SCORES, OUTPUT = 0, 1


class AttendWalker(wiring.Component):
    """Loops over the key blocks of an ATTEND, the scores one block ahead of the output.

    The order is S(0), S(1), O(0), S(2), O(1), …: while the softmax works on the scores of one
    block, the array forms those of the next and the output of the one before. Two blocks of
    probabilities exist at a time, told apart by `parity`. A step leaves every cycle at most.

    Members
    -------
    i : In(stream.Signature(operand_layout(ATTEND)))
        Instructions; taken when their last step has left.
    o : Out(stream.Signature(Step(config)))
        Steps, in order.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        address = address_bits(config)
        # State of the loop over blocks, for the scores and for the output.
        self.begun = Signal()
        self.scoring = Signal(init=1)
        self.keys_left = Signal(16)
        self.key_base = Signal(address)
        self.key_slot = Signal(16)
        self.score_parity = Signal()
        self.output_block = Signal(16)
        self.output_parity = Signal()
        # State of the two inner loops: over tiles of results and over tiles of the reduction.
        self.outer = Signal(16)
        self.inner = Signal(16)
        self.tile_base = Signal(address)
        self.accumulator = Signal(16)
        super().__init__({
            "i": In(stream.Signature(operand_layout(Opcode.ATTEND))),
            "o": Out(stream.Signature(Step(config))),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self.config
        ins = self.i.payload
        parts = config.lanes // config.columns
        k_parts = config.lanes // config.rows

        moves = Signal()
        inner_last = Signal()
        outer_last = Signal()
        keys_last = Signal()  # the scores are those of the last block
        scores_first = Signal()
        output_last = Signal()
        m.d.comb += [
            self.o.valid.eq(self.i.valid & self.begun),
            moves.eq(self.o.valid & self.o.ready),
            inner_last.eq(self.inner == Mux(self.scoring, ins.d_tiles, k_parts) - 1),
            outer_last.eq(self.outer == Mux(self.scoring, parts, ins.v_tiles) - 1),
            keys_last.eq(self.keys_left <= config.lanes),
            scores_first.eq(self.keys_left == ins.t),
            output_last.eq(keys_last & (self.output_block == self._last_block(m))),
            self.i.ready.eq(moves & inner_last & outer_last & ~self.scoring & output_last),
        ]

        with m.If(self.i.valid & ~self.begun):
            self._start(m)
        with m.If(moves):
            m.d.sync += self.inner.eq(self.inner + 1)
            with m.If(inner_last):
                stride = Mux(self.scoring, ins.w_stride, ins.v_stride)
                m.d.sync += [
                    self.inner.eq(0),
                    self.outer.eq(self.outer + 1),
                    self.tile_base.eq(self.tile_base + (stride << exact_log2(config.columns))),
                    self.accumulator.eq(self.accumulator + ins.m),
                ]
                with m.If(outer_last):
                    self._end_block(m, keys_last, scores_first, output_last)

        # What neither scores nor output set is 0. (A constant alone would become a Verilog block
        # without inputs, which some simulators never run.)
        with m.If(self.i.valid):
            m.d.comb += Value.cast(self.o.payload).eq(0)
        self._describe_tile(m)
        self._describe_rows(m, inner_last, outer_last, output_last)
        self._describe_drain(m, keys_last, scores_first, output_last, outer_last)
        return m

    def _last_block(self, m: Module) -> Signal:
        """Return the index of the last block of keys."""
        last = Signal(16)
        m.d.comb += last.eq((self.i.payload.t - 1) >> exact_log2(self.config.lanes))
        return last

    def _start(self, m: Module) -> None:
        ins = self.i.payload
        m.d.sync += [
            self.begun.eq(1),
            self.scoring.eq(1),
            self.keys_left.eq(ins.t),
            self.key_base.eq(ins.w_base),
            self.key_slot.eq(ins.w_slot),
            self.output_block.eq(0),
            self.tile_base.eq(ins.w_base),
            self.accumulator.eq(0),
        ]

    def _end_block(self, m: Module, keys_last, scores_first, output_last) -> None:
        """Go on to the next block: of the output after scores, except after the first ones."""
        config = self.config
        ins = self.i.payload
        next_key_base = Signal.like(self.key_base)
        m.d.comb += next_key_base.eq(self.key_base + (ins.w_stride << exact_log2(config.lanes)))
        next_scores = Signal()
        m.d.comb += next_scores.eq(Mux(self.scoring, scores_first, 1) & ~keys_last)

        m.d.sync += [self.outer.eq(0), self.accumulator.eq(0)]
        with m.If(self.scoring):
            m.d.sync += self.score_parity.eq(~self.score_parity)
        with m.Else():
            m.d.sync += [
                self.output_parity.eq(~self.output_parity),
                self.output_block.eq(self.output_block + 1),
            ]
        with m.If(next_scores):
            m.d.sync += [
                self.scoring.eq(1),
                self.keys_left.eq(self.keys_left - config.lanes),
                self.key_base.eq(next_key_base),
                self.key_slot.eq(self.key_slot + config.lanes),
                self.tile_base.eq(next_key_base),
            ]
        with m.Else():
            after = Mux(self.scoring, self.output_block, self.output_block + 1)
            m.d.sync += [self.scoring.eq(0), self.tile_base.eq(ins.v_base + after)]
            with m.If(~self.scoring & output_last):
                m.d.sync += self.begun.eq(0)

    def _describe_tile(self, m: Module) -> None:
        config = self.config
        ins = self.i.payload
        tile = self.o.p.tile
        k_bits = exact_log2(config.lanes // config.rows)
        channel = self.outer << exact_log2(config.columns)
        keys = Signal(16)  # keys from the tile's first one on, of use if there are any
        m.d.comb += keys.eq(self.keys_left - channel)
        with m.If(self.scoring):
            m.d.comb += [
                tile.base.eq(self.tile_base + (self.inner >> k_bits)),
                tile.stride.eq(ins.w_stride),
                tile.slot.eq(self.key_slot + channel),
                tile.columns.eq(
                    Mux(
                        self.keys_left <= channel,
                        0,
                        Mux(keys >= config.columns, config.columns, keys),
                    )
                ),
            ]
        with m.Else():
            m.d.comb += [
                tile.base.eq(self.tile_base),
                tile.stride.eq(ins.v_stride),
                tile.slot.eq(ins.v_slot + channel),
                tile.columns.eq(config.columns),
            ]
        m.d.comb += tile.part.eq(self.inner)

    def _describe_rows(self, m: Module, inner_last, outer_last, output_last) -> None:
        ins = self.i.payload
        rows = self.o.p.rows
        k_bits = exact_log2(self.config.lanes // self.config.rows)
        m.d.comb += [
            rows.part.eq(self.inner),
            rows.m.eq(ins.m),
            rows.accumulator.eq(self.accumulator),
            rows.parity.eq(self.output_parity),
            rows.base.eq(ins.x_base + (self.inner >> k_bits)),
            rows.stride.eq(ins.x_stride),
            rows.slot.eq(ins.x_slot),
        ]
        first_inner = Signal()
        m.d.comb += first_inner.eq(self.inner == 0)
        with m.If(self.scoring):
            m.d.comb += [
                rows.bank.eq(SCORES),
                rows.mode.eq(Mux(first_inner, AccumulateMode.FIRST, AccumulateMode.ADD)),
                rows.opens.eq(first_inner & (self.outer == 0)),
                rows.closes.eq(inner_last & outer_last),
                self.o.p.drains.eq(inner_last & outer_last),
            ]
        with m.Else():
            begins = Mux(self.output_block == 0, AccumulateMode.FIRST, AccumulateMode.RESCALE)
            m.d.comb += [
                rows.from_probabilities.eq(1),
                rows.releases.eq(inner_last & outer_last),
                rows.bank.eq(OUTPUT),
                rows.mode.eq(Mux(first_inner, begins, AccumulateMode.ADD)),
                rows.opens.eq(first_inner & (self.outer == 0) & (self.output_block == 0)),
                rows.closes.eq(inner_last & output_last),
                self.o.p.drains.eq(inner_last & output_last),
            ]

    def _describe_drain(self, m: Module, keys_last, scores_first, output_last, outer_last) -> None:
        config = self.config
        ins = self.i.payload
        drain = self.o.p.drain
        n_bits = exact_log2(config.lanes // config.columns)
        channel = self.outer << exact_log2(config.columns)
        m.d.comb += [
            drain.m.eq(ins.m),
            drain.row_slot.eq(ins.x_slot),
            drain.lane_exponents.eq(1),
            drain.multiplier.eq(ins.multiplier),
            drain.shift.eq(ins.shift),
            drain.parity.eq(self.score_parity),
            drain.first.eq(scores_first),
            drain.last.eq(keys_last),
            drain.base.eq(ins.y_base + (self.outer >> n_bits)),
            drain.stride.eq(ins.y_stride),
            drain.part.eq(self.outer),
            drain.slot.eq(ins.y_slot),
            drain.resets_exponent.eq((self.outer == 0) & ~has_flag(ins, Flag.KEEP_EXPONENT)),
        ]
        with m.If(self.scoring):
            m.d.comb += [
                drain.kind.eq(DrainKind.SCORES),
                drain.bank.eq(SCORES),
                drain.lane_slot.eq(self.key_slot),
                drain.columns.eq(Mux(keys_last, self.keys_left, config.lanes)),
            ]
        with m.Else():
            m.d.comb += [
                drain.kind.eq(DrainKind.OUTPUT),
                drain.bank.eq(OUTPUT),
                drain.accumulator.eq(self.accumulator),
                drain.lane_slot.eq(ins.v_slot + channel),
                drain.columns.eq(config.columns),
                drain.ends.eq(outer_last & output_last),
            ]
