"""Takes a MATMUL apart into passes and drains."""

from amaranth import Const, Module, Mux, Signal, Value, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from celosia.config import MachineConfig
from celosia.isa import Flag, Opcode
from celosia.rtl.decode import has_flag, has_pairs, operand_layout, run_log
from celosia.rtl.passes import (
    AccumulateMode,
    DrainKind,
    Rescale,
    Step,
    address_bits,
    index_bits,
)

__all__ = ["MatmulWalker"]


class MatmulWalker(wiring.Component):
    """Loops over the tiles of a MATMUL: channels outside, reduction inside.

    The sums of successive channel tiles go to the two accumulator banks in turn, so one drains
    while the other fills. Tiles of 4-bit weights have two channels a column, which drain one after
    the other. A step leaves every cycle at most.

    With `hold` the sums of all channel tiles stay in one bank, one behind the other, and with
    `continue` they are added to.

    Members
    -------
    i : In(stream.Signature(operand_layout(MATMUL)))
        Instructions; taken when their last step has left.
    o : Out(stream.Signature(Step(config)))
        Steps, in order.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(operand_layout(Opcode.MATMUL))),
            "o": Out(stream.Signature(Step(config))),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self.config
        ins = self.i.payload

        pair = Signal()  # 2C channels a tile
        sparse = Signal()
        run_mask = Signal(16)  # of the bits of a tile's number that say where in its run it is
        m.d.comb += [
            pair.eq(has_pairs(config, ins)),
            run_mask.eq((Const(1, 16) << run_log(ins)) - 1),
        ]
        if config.sparsity > 1:
            m.d.comb += sparse.eq(has_flag(ins, Flag.SPARSE))

        # Where the loops stand. `begun` is 0 only for the first step of an instruction.
        begun = Signal()
        bank = Signal()
        k_tile = Signal(16)
        k_next = Signal(16)
        after = Signal(16)  # the tile behind k_tile
        fresh = Signal(init=1)  # the next tile is the first one along the reduction
        n_tile = Signal(16)
        left = Signal(16)
        row_base = Signal(address_bits(config))
        left_now = Signal(16)
        row_base_now = Signal.like(row_base)
        k_last = Signal()
        n_last = Signal()
        second = Signal()  # the step of the second half of a pair, which only drains
        more = Signal()  # this one is followed by such a step
        done = Signal()
        m.d.comb += [
            left_now.eq(Mux(begun, left, ins.n)),
            row_base_now.eq(Mux(begun, row_base, ins.w_base)),
            more.eq(pair & ~second & (left_now > config.columns)),
            n_last.eq((left_now <= (config.columns << pair)) & ~more),
            done.eq(k_last & ~more),
            self.o.valid.eq(self.i.valid),
            self.i.ready.eq(self.o.valid & self.o.ready & k_last & n_last),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [begun.eq(1), second.eq(k_last & more)]
            with m.If(~k_last):
                m.d.sync += [k_next.eq(after), fresh.eq(0)]
            with m.If(~begun):
                m.d.sync += [left.eq(ins.n), row_base.eq(ins.w_base)]
            with m.If(done):
                m.d.sync += [
                    fresh.eq(1),
                    bank.eq(~bank),
                    n_tile.eq(n_tile + (Const(1, 2) << pair)),
                    left.eq(left_now - (config.columns << pair)),
                    row_base.eq(row_base_now + (ins.w_stride << exact_log2(config.columns))),
                ]
                with m.If(n_last):
                    m.d.sync += [begun.eq(0), n_tile.eq(0)]

        self._walk_reduction(m, fresh, k_next, k_tile, after, k_last, run_mask)
        columns = Signal(range(config.columns + 1))
        rest = Signal(signed(17))
        m.d.comb += [
            rest.eq(left_now - Mux(second, config.columns, 0)),
            columns.eq(Mux(rest < config.columns, rest, config.columns)),
        ]
        self._describe_pass(m, k_tile, n_tile, row_base_now, columns, bank, fresh, k_last)
        self._describe_rows(m, k_tile, sparse)
        self._describe_drain(m, n_tile | second, columns, bank, n_last)
        if config.products > 1:
            self._describe_pair(m, (k_tile & run_mask) == 0, pair)
            m.d.comb += [
                self.o.p.drain_only.eq(second),
                self.o.p.drain.half.eq(second),
                self.o.p.drain.more.eq(more),
            ]
        if config.chaining:
            self._chain(m, k_tile, n_tile, fresh, k_last, n_last, bank, done)
        return m

    def _chain(self, m, k_tile, n_tile, k_first, k_last, n_last, bank, done) -> None:
        """Keep sums from one MATMUL to the next, and say which rows come straight from memory."""
        ins = self.i.payload
        rows, drain = self.o.p.rows, self.o.p.drain
        held, goes_on = has_flag(ins, Flag.HOLD), has_flag(ins, Flag.CONTINUE)
        parts = self.config.lanes // self.config.rows
        ends = Signal()  # the last step
        accumulator = Signal(index_bits(self.config.accumulator_rows))
        m.d.comb += [
            ends.eq(k_last & n_last),
            rows.chained.eq(has_flag(ins, Flag.CHAIN) & (n_tile == 0) & (k_tile % parts == 0)),
            rows.accumulator.eq(accumulator),
            rows.mode.eq(Mux(k_first & ~goes_on, AccumulateMode.FIRST, AccumulateMode.ADD)),
            rows.opens.eq(k_first & ~goes_on & ~(held & (n_tile != 0))),
            rows.closes.eq(k_last & ~held),
            rows.finishes.eq(ends & held),
            drain.kind.eq(Mux(held, DrainKind.END, DrainKind.ROWS)),
            drain.m.eq(Mux(held, 1, ins.m)),
            drain.accumulator.eq(accumulator),
            drain.residual.eq(has_flag(ins, Flag.RESIDUAL) & ~held),
            self.o.p.drains.eq(k_last & (n_last | ~held)),
        ]
        with m.If(self.o.valid & self.o.ready & done):
            kept = held | goes_on
            m.d.sync += [
                accumulator.eq(Mux(kept & ~n_last, accumulator + ins.m, 0)),
                bank.eq(bank ^ (~kept | (n_last & ~held))),
            ]

    def _describe_rows(self, m, k_tile, sparse) -> None:
        """Say where the rows of a pass are; a sparse tile takes twice as many elements of them."""
        ins = self.i.payload
        tile, rows = self.o.p.tile, self.o.p.rows
        k_bits = exact_log2(self.config.lanes // self.config.rows)
        part = Signal(17)
        m.d.comb += [
            part.eq(k_tile << sparse),
            rows.base.eq(ins.x_base + (part >> k_bits)),
            rows.part.eq(part),
        ]
        if self.config.sparsity > 1:
            m.d.comb += [tile.sparse.eq(sparse), rows.sparse.eq(sparse)]

    def _describe_pair(self, m, run_begins, pair) -> None:
        """Say what format weights of 4 bits have, and where their groups begin."""
        ins = self.i.payload
        tile, rows = self.o.p.tile, self.o.p.rows
        begins = Signal()
        grouped = Signal()
        m.d.comb += [
            grouped.eq(pair & (ins.group != 0)),
            begins.eq(grouped & run_begins),
            tile.code.eq(ins.code),
            tile.scales.eq(begins),
            rows.pair.eq(pair),
            rows.rescale.eq(Mux(begins, Rescale.NEXT, Mux(grouped, Rescale.KEEP, Rescale.ONE))),
        ]

    def _walk_reduction(self, m, fresh, k_next, k_tile, after, k_last, run_mask) -> None:
        """Find the tile, the one behind it, and whether it is the last; skipped runs cost none."""
        ins = self.i.payload
        plain_last = Signal()
        m.d.comb += [
            k_tile.eq(Mux(fresh, 0, k_next)),
            after.eq(k_tile + 1),
            plain_last.eq(k_tile == ins.k_tiles - 1),
            k_last.eq(plain_last),
        ]
        if self.config.sparsity == 1:
            return
        log = run_log(ins)
        later = Signal(32)  # runs behind that of the tile before, or all
        run_ends = Signal()
        with m.If(ins.skip != 0):
            first = _first_bit(m, ~ins.skip, "first")
            run = (k_tile >> log)[:5]
            following = _first_bit(m, later, "following")
            m.d.comb += [
                later.eq(~ins.skip & ~((Const(2, 33) << run) - 1)[:32]),
                run_ends.eq((((k_tile + 1) & run_mask) == 0) | plain_last),
                k_last.eq(run_ends & (later == 0)),
                k_tile.eq(Mux(fresh, first << log, k_next)),
                after.eq(Mux(run_ends, following << log, k_tile + 1)),
            ]

    def _describe_pass(self, m, k_tile, n_tile, row_base, columns, bank, k_first, k_last) -> None:
        config = self.config
        ins = self.i.payload
        tile, rows = self.o.p.tile, self.o.p.rows
        k_bits = exact_log2(config.lanes // config.rows)
        channel = n_tile << exact_log2(config.columns)
        in_memory = has_flag(ins, Flag.WEIGHTS_IN_MEMORY)
        m.d.comb += [
            tile.from_memory.eq(in_memory),
            tile.base.eq(row_base + (k_tile >> k_bits)),
            tile.stride.eq(ins.w_stride),
            tile.part.eq(k_tile),
            tile.slot.eq(ins.w_slot + channel),
            # Tiles in memory are always whole.
            tile.columns.eq(Mux(in_memory, config.columns, columns)),
            rows.wide.eq(has_flag(ins, Flag.WIDE)),
            rows.stride.eq(ins.x_stride),
            rows.group_last.eq(-1),  # one group
            rows.slot.eq(ins.x_slot),
            rows.m.eq(ins.m),
            rows.bank.eq(bank),
            rows.mode.eq(Mux(k_first, AccumulateMode.FIRST, AccumulateMode.ADD)),
            rows.opens.eq(k_first),
            rows.closes.eq(k_last),
            self.o.p.drains.eq(k_last),
        ]

    def _describe_drain(self, m, n_tile, columns, bank, n_last) -> None:
        config = self.config
        ins = self.i.payload
        drain = self.o.p.drain
        n_bits = exact_log2(config.lanes // config.columns)
        channel = n_tile << exact_log2(config.columns)
        by_row = has_flag(ins, Flag.ROW_PARAMETERS)
        m.d.comb += [
            drain.kind.eq(DrainKind.ROWS),
            drain.m.eq(ins.m),
            drain.bank.eq(bank),
            drain.group_last.eq(-1),
            drain.row_slot.eq(ins.x_slot),
            drain.row_exponents.eq(~has_flag(ins, Flag.WIDE)),
            drain.lane_slot.eq(ins.w_slot + channel),
            drain.lane_exponents.eq(~has_flag(ins, Flag.WEIGHTS_IN_MEMORY)),
            drain.columns.eq(columns),
            drain.parameter.eq(ins.p_base + Mux(by_row, 0, channel)),
            drain.row_parameters.eq(by_row),
            drain.base.eq(ins.y_base + (n_tile >> n_bits)),
            drain.stride.eq(ins.y_stride),
            drain.part.eq(n_tile),
            drain.slot.eq(ins.y_slot),
            drain.resets_exponent.eq((n_tile == 0) & ~has_flag(ins, Flag.KEEP_EXPONENT)),
            drain.residual.eq(has_flag(ins, Flag.RESIDUAL)),
            drain.residual_base.eq(ins.r_base + (n_tile >> n_bits)),
            drain.residual_stride.eq(ins.r_stride),
            # From 16 on, nothing is left of a residual.
            drain.residual_shift.eq(Mux(ins.r_shift > 31, 31, ins.r_shift)),
            drain.activate.eq(has_flag(ins, Flag.ACTIVATE)),
            drain.narrow.eq(has_flag(ins, Flag.NARROW)),
            drain.ends.eq(n_last),
        ]


def _first_bit(m: Module, word: Value, name: str) -> Signal:
    """Return the index of the lowest set bit of 32."""
    index = Signal(5, name=name)
    for bit in reversed(range(32)):
        with m.If(word[bit]):
            m.d.comb += index.eq(bit)
    return index
