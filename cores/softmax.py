# amaranth: UnusedElaboratable=no
"""One-pass base-2 softmax over blocks of keys, with an exponent of its own for each block."""

from amaranth import Cat, Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from celosia.config import MachineConfig
from celosia.cores.arith import delayed
from celosia.cores.softmax_block import BlockExponent, LogitPart, PartQueue, parts_of
from celosia.cores.softmax_power import PROBABILITY_BITS, PartSum, PowersOfTwo
from celosia.cores.softmax_state import (
    RECIPROCAL_BITS,
    SHIFT_BITS,
    DenominatorReciprocal,
    RowState,
)

__all__ = ["LogitPart", "ProbabilityRow", "RowReciprocal", "StreamingSoftmax"]


class ProbabilityRow(wiring.Signature):
    """Probabilities of one row of a block, and how they join what came before.

    Members
    -------
    valid : Out(1)
        A row is presented.
    row : Out(range(attention_rows))
        Which.
    data : Out(data.ArrayLayout(8, lanes))
        Its probabilities, relative to the block's exponent.
    a : Out(5)
        Right shift of the accumulators before the block is added.
    b : Out(5)
        Right shift of what the block adds.
    """

    def __init__(self, config: MachineConfig) -> None:
        super().__init__({
            "valid": Out(1),
            "row": Out(range(config.attention_rows)),
            "data": Out(data.ArrayLayout(PROBABILITY_BITS, config.lanes)),
            "a": Out(SHIFT_BITS),
            "b": Out(SHIFT_BITS),
        })


class RowReciprocal(wiring.Signature):
    """What normalises the accumulators of one row after its last block.

    Members
    -------
    valid : Out(1)
        A row is presented.
    row : Out(range(attention_rows))
        Which.
    rcp : Out(15)
        Reciprocal of its denominator.
    shift : Out(6)
        Right shift after the product with it.
    """

    def __init__(self, config: MachineConfig) -> None:
        super().__init__({
            "valid": Out(1),
            "row": Out(range(config.attention_rows)),
            "rcp": Out(RECIPROCAL_BITS),
            "shift": Out(6),
        })


class StreamingSoftmax(wiring.Component):
    """Probabilities of base-2 logits, rescaled by shifts from block to block.

    Rows of L logits come in parts of C lanes, in order, with or without gaps. A row's
    probabilities and shifts follow its last part by `latency` cycles, the reciprocal of a row of
    the last block by `reciprocal_latency` cycles. One part per cycle, so one row each L / C
    cycles; it never stalls. The last parts of the same row in two blocks must be at least
    `turnaround` cycles apart.

    Exponent and denominator of each row stay inside. A row may have no key that counts, in some
    blocks or in all; the reciprocal of a row without any is not defined.

    Parameters
    ----------
    config : MachineConfig
        Rows, columns, attention rows and accumulator width.

    Members
    -------
    logits : In(LogitPart(config))
        Parts of rows.
    probabilities : Out(ProbabilityRow(config))
        Rows, in the order in which they came.
    reciprocals : Out(RowReciprocal(config))
        Rows of the last block, in the order in which they came.
    """

    logits: wiring.PureInterface
    probabilities: wiring.PureInterface
    reciprocals: wiring.PureInterface

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        self.block = BlockExponent(config)
        self.queue = PartQueue(config, self.block.latency)
        self.powers = PowersOfTwo(config)
        self.sum = PartSum(config)
        self.state = RowState(config, self.sum.latency)
        self.reciprocal = DenominatorReciprocal(config)
        super().__init__({
            "logits": In(LogitPart(config)),
            "probabilities": Out(ProbabilityRow(config)),
            "reciprocals": Out(RowReciprocal(config)),
        })

    @property
    def latency(self) -> int:
        """Cycles from a row's last part to its probabilities."""
        return self.block.latency + parts_of(self.config) + self.powers.latency

    @property
    def reciprocal_latency(self) -> int:
        """Cycles from a row's last part to its reciprocal."""
        return (
            self.latency - self.state.shift_latency + self.state.latency + self.reciprocal.latency
        )

    @property
    def turnaround(self) -> int:
        """Cycles between the last parts of the same row in two blocks, at least."""
        return self.state.turnaround

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.block = block = self.block
        m.submodules.queue = queue = self.queue
        m.submodules.powers = powers = self.powers
        m.submodules.sum = total = self.sum
        m.submodules.state = state = self.state
        m.submodules.reciprocal = reciprocal = self.reciprocal

        # The logits are compared and kept; when the exponent is known they come back.
        for port in (block.logits, queue.logits):
            connect(m, flipped(self.logits), port)
        m.d.comb += [
            queue.complete.eq(block.complete),
            powers.exponent.eq(block.exponent),
            powers.data.eq(queue.data),
            powers.lane_mask.eq(queue.lane_mask),
        ]

        # The state of a row is read so that its shifts come with its last probabilities.
        row_valid = queue.valid & queue.last_part
        wait = self.powers.latency - self.state.shift_latency
        m.d.comb += [
            state.valid.eq(delayed(m, row_valid, wait, "row_valid", reset_less=False)),
            state.row.eq(delayed(m, block.row, wait, "row")),
            state.first.eq(delayed(m, block.first, wait, "first")),
            state.exponent.eq(delayed(m, block.exponent, wait, "exponent")),
            state.total.eq(total.total),
        ]
        last = delayed(m, row_valid & block.last, wait, "last", reset_less=False)

        self._add_probabilities(m)

        # The denominator of the last block goes on to the divider.
        cycles = state.latency + reciprocal.latency
        m.d.comb += [
            reciprocal.denominator.eq(state.denominator),
            self.reciprocals.valid.eq(delayed(m, last, cycles, "last", reset_less=False)),
            self.reciprocals.row.eq(delayed(m, state.row, cycles, "reciprocal_row")),
            self.reciprocals.rcp.eq(reciprocal.rcp),
            self.reciprocals.shift.eq(reciprocal.shift),
        ]

        return m

    def _add_probabilities(self, m: Module) -> None:
        """Sum the parts and put them side by side."""
        latency = self.powers.latency
        valid = delayed(m, self.queue.valid, latency, "part_valid", reset_less=False)
        first_part = delayed(m, self.queue.first_part, latency, "first_part")
        parts = [self.powers.probabilities.as_value()]
        for part in range(1, parts_of(self.config)):
            parts.append(delayed(m, parts[-1], 1, f"part_{part}"))

        shift_latency = self.state.shift_latency
        m.d.comb += [
            self.sum.valid.eq(valid),
            self.sum.first_part.eq(first_part),
            self.sum.probabilities.eq(self.powers.probabilities),
            self.probabilities.valid.eq(
                delayed(m, self.state.valid, shift_latency, "row_out", reset_less=False)
            ),
            self.probabilities.row.eq(delayed(m, self.state.row, shift_latency, "row_out")),
            self.probabilities.data.eq(Cat(*reversed(parts))),
            self.probabilities.a.eq(self.state.a),
            self.probabilities.b.eq(self.state.b),
        ]
