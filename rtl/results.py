"""Sends drained rows on: results to the scratchpad, scores to the softmax."""

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from celosia.config import MachineConfig
from celosia.cores.activation import TableActivation, TableWrite
from celosia.cores.arith import delayed
from celosia.cores.requant import RequantisedRow
from celosia.cores.softmax import ProbabilityRow, RowReciprocal, StreamingSoftmax
from celosia.rtl.drain import DrainTag
from celosia.rtl.exponents import ScratchpadWrite
from celosia.rtl.scratchpad import Scratchpad

__all__ = ["ResultRouter"]


class ResultRouter(wiring.Component):
    """Results pass the activation and are written; scores pass the softmax. Nothing stalls.

    Members
    -------
    rows : In(RequantisedRow(config, DrainTag(config)))
        Requantised rows.
    table : In(TableWrite())
        The activation function.
    writes : Out(stream.Signature(ScratchpadWrite(config)))
        Results; must be taken at once.
    probabilities, parity, completes : Out(ProbabilityRow(config)), Out(1), Out(1)
        Rows of probabilities, their block's parity, and whether this is its last row.
    reciprocals : Out(RowReciprocal(config))
        Reciprocals of the denominators.
    done : Out(1)
        All results of an instruction can be read, exponents too.
    saturations : Out(range(columns + 1))
        Elements of a result clipped in this cycle.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "rows": In(RequantisedRow(config, DrainTag(config))),
            "table": In(TableWrite()),
            "writes": Out(stream.Signature(ScratchpadWrite(config))),
            "probabilities": Out(ProbabilityRow(config)),
            "parity": Out(1),
            "completes": Out(1),
            "reciprocals": Out(RowReciprocal(config)),
            "done": Out(1),
            "saturations": Out(range(config.columns + 1)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.activation = activation = TableActivation(self.config, DrainTag(self.config))
        m.submodules.softmax = softmax = StreamingSoftmax(self.config)
        rows, tag = self.rows, self.rows.tag
        connect(m, flipped(self.table), activation.table)
        connect(m, softmax.probabilities, flipped(self.probabilities))
        connect(m, softmax.reciprocals, flipped(self.reciprocals))

        with m.If(rows.valid & tag.counts):
            m.d.comb += self.saturations.eq(rows.saturations)

        # Scores.
        m.d.comb += [
            softmax.logits.valid.eq(rows.valid & tag.scores),
            softmax.logits.data.eq(rows.data),
            softmax.logits.lane_mask.eq(tag.mask),
            softmax.logits.row.eq(tag.row),
            softmax.logits.part.eq(tag.part),
            softmax.logits.first.eq(tag.first),
            softmax.logits.last.eq(tag.last),
            self.parity.eq(delayed(m, tag.parity, softmax.latency, "parity")),
            self.completes.eq(delayed(m, tag.completes, softmax.latency, "completes")),
        ]

        # Results.
        parts = self.config.lanes // self.config.columns
        late = activation.o.tag
        results = Signal.like(activation.o.data)
        write = self.writes.payload
        m.d.comb += [
            activation.i.valid.eq(rows.valid & ~tag.scores),
            activation.i.enable.eq(tag.activate),
            activation.i.data.eq(rows.data),
            activation.i.tag.eq(tag),
            self.writes.valid.eq(activation.o.valid & late.writes),
            write.address.eq(late.address),
            write.slot.eq(late.slot),
            write.first.eq(late.resets_exponent),
            write.mask.eq((1 << late.part) if parts > 1 else 1),
            Value.cast(write.data).eq(Cat([Value.cast(results)] * parts)),
        ]
        # A function of 0 need not be 0.
        for column, result in enumerate(activation.o.data):
            m.d.comb += results[column].eq(Mux(late.mask[column], result, 0))
        ends = Signal()
        m.d.comb += ends.eq(activation.o.valid & late.ends)
        cycles = Scratchpad.write_latency
        m.d.comb += self.done.eq(delayed(m, ends, cycles, "ends", reset_less=False))
        return m
