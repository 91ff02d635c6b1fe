"""Drains accumulators into the requantiser, row after row."""

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from celosia.config import MachineConfig
from celosia.cores.arith import count, delayed
from celosia.cores.requant import AccumulatorRow, Scale
from celosia.rtl.accumulators import AccumulatorRead, Accumulators
from celosia.rtl.exponents import ExponentRead, ScratchpadWord
from celosia.rtl.lane_mask import LaneMask
from celosia.rtl.operand_select import select_part
from celosia.rtl.parameters import ParameterRead
from celosia.rtl.passes import Drain, DrainKind, address_bits, index_bits, part_bits
from celosia.rtl.reciprocals import ReciprocalRead
from celosia.rtl.row_groups import GroupedRows

__all__ = ["DrainRows", "DrainTag"]


class DrainTag(data.StructLayout):
    """What travels with a drained row: where the result goes, if it is written.

    `ends` marks the last row of an instruction, `completes` the last one of a block of scores.
    """

    def __init__(self, config: MachineConfig) -> None:
        super().__init__({
            "scores": 1,
            "writes": 1,
            "counts": 1,
            "activate": 1,
            "address": address_bits(config),
            "slot": index_bits(config.exponent_slots),
            "part": part_bits(config.lanes // config.columns),
            "resets_exponent": 1,
            "ends": 1,
            "row": index_bits(config.attention_rows),
            "mask": config.columns,
            "parity": 1,
            "first": 1,
            "last": 1,
            "completes": 1,
        })


class DrainRows(wiring.Component):
    """Reads the rows of a drain with all that the requantiser needs for them.

    A drain begins when its group is closed, or with chaining its first row; that row swaps in the
    parameters that the preparer has loaded. A row leaves each cycle unless its residual has not
    come, or (attention output) its reciprocal has not. A drain without rows begins when its
    instruction has read all its operands; a row without a result leaves in its place.

    Members
    -------
    i : In(stream.Signature(Drain(config)))
        Drains whose lanes are ready, in order.
    closed : In(1)
        A group of accumulators is complete, or with chaining a row of it.
    finished : In(1)
        An instruction that drains no rows has read all its operands.
    read : Out(AccumulatorRead(config))
        Accumulators.
    exponents : Out(ExponentRead(config))
        Exponents of the streamed rows.
    parameters : Out(ParameterRead(config))
        Parameters by row.
    reciprocals : Out(ReciprocalRead(config))
        Reciprocals by row.
    residuals : In(stream.Signature(ScratchpadWord(config)))
        Words with the residual, one a row, for drains that have one.
    lane_exponents : In(data.ArrayLayout(4, lanes))
        Exponents of the lanes, as prepared.
    swapped : Out(1)
        The prepared lanes come into use.
    drained : Out(2)
        A drain has read the last row of bank 0, 1.
    rows : Out(AccumulatorRow(config, DrainTag(config)))
        To the requantiser.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(Drain(config))),
            "closed": In(1),
            "finished": In(1),
            "read": Out(AccumulatorRead(config)),
            "exponents": Out(ExponentRead(config)),
            "parameters": Out(ParameterRead(config)),
            "reciprocals": Out(ReciprocalRead(config)),
            "residuals": In(stream.Signature(ScratchpadWord(config))),
            "lane_exponents": In(data.ArrayLayout(4, config.lanes)),
            "swapped": Out(1),
            "drained": Out(2),
            "rows": Out(AccumulatorRow(config, DrainTag(config))),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self.config
        drain = self.i.payload
        is_scores = Signal()
        is_output = Signal()
        is_end = Signal()
        m.d.comb += [
            is_scores.eq(drain.kind == DrainKind.SCORES),
            is_output.eq(drain.kind == DrainKind.OUTPUT),
            is_end.eq(drain.kind == DrainKind.END),
        ]

        # Stage 0: let a row go.
        # Groups, or rows, that are complete and not drained.
        closed = Signal(range(2 * config.accumulator_rows + 1) if config.chaining else 8)
        finished = Signal(5)  # instructions that have only to end
        m.submodules.place = place = GroupedRows(config)
        place.follow(m, drain)
        part = Signal(part_bits(config.lanes // config.columns))
        offset = Signal(index_bits(config.accumulator_rows))
        begins = Signal()
        part_last = Signal()
        go = Signal()
        last = Signal()
        releases = Signal()  # the group has drained
        m.d.comb += [
            begins.eq(place.first & (part == 0)),
            part_last.eq(part == Mux(is_scores, config.lanes // config.columns - 1, 0)),
            last.eq(place.last & part_last),
            place.step.eq(go & part_last),
            go.eq(
                self.i.valid
                & Mux(is_end, finished != 0, self._complete(closed))
                & (~drain.residual | self.residuals.valid)
                & (~is_output | (self.reciprocals.count >= drain.m))
            ),
            self.residuals.ready.eq(go & drain.residual),
            self.i.ready.eq(go & last),
            self.read.bank.eq(drain.bank),
            self.read.accumulator.eq(drain.accumulator + place.row + offset),
            self.exponents.address.eq(drain.row_slot + place.query),
            self.parameters.address.eq(drain.parameter + place.row),
            self.reciprocals.row.eq(place.row),
            self.reciprocals.taken.eq(Mux(go & last & is_output & drain.ends, drain.m, 0)),
            releases.eq(go & last & ~is_end),
            self.drained.eq(releases << drain.bank),
        ]
        if config.products > 1:
            m.d.comb += self.read.half.eq(drain.half)
            # The other half of the group has yet to drain.
            with m.If(drain.more):
                m.d.comb += releases.eq(0)
        leaves = releases
        if config.chaining:
            leaves = place.step & ~is_end
            if config.products > 1:
                leaves &= ~drain.half
        count(m, closed, self.closed, leaves)
        count(m, finished, self.finished, go & is_end)
        with m.If(go):
            m.d.sync += [part.eq(part + 1), offset.eq(offset + drain.m)]
            with m.If(part_last):
                m.d.sync += [part.eq(0), offset.eq(0)]

        m.submodules.mask = mask = LaneMask(config)
        m.d.comb += [mask.drain.eq(drain), mask.row.eq(place.query), mask.part.eq(part)]

        # Stage 1: exponent, parameters and reciprocal are there; choose the row's scale.
        now = delayed(m, drain, 1, "drain")
        exponent = Signal(4)
        scale = Signal(Scale)
        m.d.comb += exponent.eq(Mux(now.row_exponents, self.exponents.exponent, 0))
        with m.Switch(now.kind):
            with m.Case(DrainKind.ROWS):
                entry = self.parameters.data
                m.d.comb += [
                    scale.multiplier.eq(entry.multiplier),
                    scale.shift.eq(Mux(now.row_parameters, entry.shift, 0) - exponent),
                    scale.bias.eq(entry.bias),
                ]
            with m.Case(DrainKind.SCORES):
                m.d.comb += [
                    scale.multiplier.eq(now.multiplier),
                    scale.shift.eq(now.shift - exponent),
                ]
            with m.Default():
                m.d.comb += [
                    scale.multiplier.eq(self.reciprocals.rcp),
                    scale.shift.eq(self.reciprocals.shift - now.shift),
                ]

        # Stage 2: the accumulators are there.
        assert Accumulators.read_latency == LaneMask.latency == 2
        rows = self.rows
        late = delayed(m, now, 1, "drain_late")
        late_part = delayed(m, part, 2, "part")
        word = delayed(m, self.residuals.payload, 2, "residual")
        residual = Signal.like(rows.residual)
        select_part(m, word, late.part, residual)
        m.d.comb += [
            rows.valid.eq(delayed(m, go, 2, "go", reset_less=False)),
            rows.swap.eq(delayed(m, go & begins & ~is_end, 2, "begins", reset_less=False)),
            rows.acc.eq(self.read.data),
            rows.row_mode.eq((late.kind != DrainKind.ROWS) | late.row_parameters),
            rows.row.eq(delayed(m, scale, 1, "scale")),
            rows.residual.eq(residual),
            rows.residual_enable.eq(late.residual),
            rows.r_shift.eq(late.residual_shift),
            rows.narrow.eq(late.narrow),
            rows.lane_mask.eq(mask.mask),
            self.swapped.eq(rows.swap),
        ]
        self._select_lanes(m, late_part)
        self._describe_tag(m, late, late_part)
        m.d.comb += [
            rows.tag.address.eq(delayed(m, place.address, 2, "tag_address")),
            rows.tag.slot.eq(delayed(m, drain.slot + place.query, 2, "tag_slot")),
            rows.tag.row.eq(delayed(m, place.row, 2, "tag_row")),
            rows.tag.resets_exponent.eq(
                delayed(m, drain.resets_exponent & place.first_group, 2, "resets_exponent")
            ),
            rows.tag.ends.eq(delayed(m, last & drain.ends, 2, "ends")),
            rows.tag.completes.eq(delayed(m, last & is_scores, 2, "completes")),
        ]
        return m

    def _complete(self, closed: Signal) -> Value:
        """Whether the row can drain; those of the other half were complete before."""
        if self.config.chaining and self.config.products > 1:
            return (closed != 0) | self.i.p.half
        return closed != 0

    def _select_lanes(self, m: Module, part) -> None:
        """Exponents of the lanes; the prepared ones at a swap."""
        active = Signal(data.ArrayLayout(4, self.config.lanes), reset_less=True)
        used = Signal(data.ArrayLayout(4, self.config.lanes))
        m.d.comb += used.eq(
            Mux(self.rows.swap, Value.cast(self.lane_exponents), Value.cast(active))
        )
        m.d.sync += active.eq(used)
        select_part(m, used, part, self.rows.exponents)

    def _describe_tag(self, m: Module, drain, part) -> None:
        tag = self.rows.tag
        scores = drain.kind == DrainKind.SCORES
        m.d.comb += [
            tag.scores.eq(scores),
            tag.writes.eq(~scores & (drain.kind != DrainKind.END)),
            tag.counts.eq(drain.kind == DrainKind.ROWS),
            tag.activate.eq(drain.activate),
            tag.part.eq(Mux(scores, part, drain.part)),
            tag.mask.eq(self.rows.lane_mask),
            tag.parity.eq(drain.parity),
            tag.first.eq(drain.first),
            tag.last.eq(drain.last),
        ]
