"""Two banks of accumulators: one sums what the array gives while the other drains."""

from amaranth import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from celosia.config import MachineConfig
from celosia.cores.arith import delayed, saturate
from celosia.isa import CHAINED_ROWS
from celosia.rtl.passes import AccumulateMode, index_bits
from celosia.rtl.row_streamer import SumRow

__all__ = ["AccumulatorRead", "Accumulators", "LaneSums"]


class LaneSums(wiring.Signature):
    """A row of sums to accumulate: `valid`, and `data`, one sum a column."""

    def __init__(self, config: MachineConfig) -> None:
        super().__init__({
            "valid": Out(1),
            "data": Out(data.ArrayLayout(signed(config.sum_width), config.columns)),
        })


class AccumulatorRead(wiring.Signature):
    """Read port for the drain, as seen by it.

    Members
    -------
    bank, accumulator : Out
        Row to read.
    half : Out(1)
        Of which half of the channels, where elements form two products.
    data : In(data.ArrayLayout(signed(A), C))
        The row, `Accumulators.read_latency` cycles later.
    """

    def __init__(self, config: MachineConfig) -> None:
        super().__init__({
            **({"half": Out(1)} if config.products > 1 else {}),
            "bank": Out(1),
            "accumulator": Out(index_bits(config.accumulator_rows)),
            "data": In(data.ArrayLayout(signed(config.accumulator_width), config.columns)),
        })


class Accumulators(wiring.Component):
    """Adds the array's sums to accumulators of A bits, saturating.

    With `s` the sum of a column (for `scaled` rows `(s << G) >> b`, G guard bits), the
    accumulator becomes `s` (FIRST), `acc + s` (ADD) or `(acc >> a) + s` (RESCALE). A `high` sum
    stays in the pipeline: 256 times it is added to the one in the next cycle. One row per
    cycle, no stall; the same row can come again `turnaround` cycles later, or 4 where C is 4.

    Parameters
    ----------
    config : MachineConfig
        Columns, depth and width.

    Members
    -------
    sums : In(LaneSums(config))
        Sums of one row of the array, scaled.
    to : In(SumRow(config))
        What becomes of them; with `sums`.
    closed : Out(1)
        The last sums of a group have been written, and can be read from the next cycle on.
    read : In(AccumulatorRead(config))
        Port of the drain.
    """

    #: Cycles from an address to its row.
    read_latency = 2
    #: Cycles until sums can be added to the same row again.
    turnaround = 5
    assert turnaround <= CHAINED_ROWS

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        self.row_layout = data.ArrayLayout(signed(config.accumulator_width), config.columns)
        super().__init__({
            "sums": In(LaneSums(config)),
            "to": In(SumRow(config)),
            "closed": Out(1),
            "read": In(AccumulatorRead(config)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        # Both banks lie in one memory, which has a port to read for either side.
        m.submodules.storage = storage = memory.Memory(
            shape=self.row_layout, depth=2 * self.config.accumulator_rows, init=[]
        )
        write, drained = storage.write_port(), storage.read_port()
        # Passes are C cycles apart: with few columns a row is read while it is written.
        forwards = self.config.columns < self.turnaround
        summed = storage.read_port(transparent_for=[write] if forwards else [])

        # Stage 0: address. Stage 1: memory. Stage 2: its row, registered.
        m.d.comb += [
            summed.addr.eq(Cat(self.to.accumulator, self.to.bank)),
            drained.addr.eq(Cat(self.read.accumulator, self.read.bank)),
            Value.cast(self.read.data).eq(delayed(m, Value.cast(drained.data), 1, "drained")),
        ]
        old = self.row_layout(delayed(m, Value.cast(summed.data), 1, "old"))
        high = Signal()
        m.d.comb += high.eq(self.sums.valid & self.to.high)
        valid = delayed(m, self.sums.valid & ~high, 2, "valid", reset_less=False)
        to = delayed(m, self.to, 2, "to")

        # Stage 1: the sum of high bytes, which is one row ahead, joins that of the low ones.
        sums = delayed(m, self.sums.data, 1, "sums")
        joins = delayed(m, high, 2, "high", reset_less=False)
        psum = self.config.sum_width
        totals = Signal(data.ArrayLayout(signed(psum + 8), self.config.columns), reset_less=True)
        for column in range(self.config.columns):
            low, total = sums[column], totals[column]
            ahead = Mux(joins, total[:psum], 0).as_signed()
            m.d.sync += total.eq(Cat(low[:8], (low >> 8) + ahead))

        row = Signal(self.row_layout, reset_less=True)
        for column in range(self.config.columns):
            self._add_lane(m, column, totals[column], old[column], to, row[column])

        # Stage 4: the new row is written.
        place = delayed(m, to, 2, "place")
        m.d.comb += [
            write.en.eq(delayed(m, valid, 2, "written", reset_less=False)),
            write.addr.eq(Cat(place.accumulator, place.bank)),
            write.data.eq(row),
            self.closed.eq(write.en & place.closes),
        ]
        return m

    def _add_lane(self, m: Module, column: int, total, old, to, result) -> None:
        width = self.config.accumulator_width
        guard = self.config.guard_bits

        # Stage 2: shifts.
        kept = Signal(signed(width), name=f"kept_{column}", reset_less=True)
        added = Signal.like(total, name=f"added_{column}", reset_less=True)
        guarded = Signal.like(added, name=f"guarded_{column}")
        m.d.comb += guarded.eq(total << guard)
        m.d.sync += added.eq(Mux(to.scaled, guarded >> to.b, total))
        with m.Switch(to.mode):
            with m.Case(AccumulateMode.FIRST):
                m.d.sync += kept.eq(0)
            with m.Case(AccumulateMode.ADD):
                m.d.sync += kept.eq(old)
            with m.Case(AccumulateMode.RESCALE):
                m.d.sync += kept.eq(old >> to.a)

        # Stage 3: sum.
        wide = Signal(signed(width + 1), name=f"wide_{column}")
        m.d.comb += wide.eq(kept + added)
        m.d.sync += result.eq(saturate(wide, width))
