"""Multiplies the sums of 4-bit weights by the scales of their groups, behind the array."""

from typing import Any

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from celosia.config import MachineConfig
from celosia.cores.arith import delayed
from celosia.cores.multiply import Multiplier
from celosia.cores.systolic import ColumnSums
from celosia.rtl.accumulators import LaneSums
from celosia.rtl.passes import Rescale
from celosia.rtl.row_streamer import SumRow
from celosia.rtl.tile_loader import GroupScales

__all__ = ["GroupScaler"]


class GroupScaler(wiring.Component):
    """Brings the scales in after the array, once a group, never inside it.

    Source: MixPE (scales after the group). A row with `rescale` NEXT takes the next scales from
    the queue, one with ONE sets them to 1; they hold for the rows behind it. Sums that are no
    `pair` pass. One row per cycle, `latency` cycles.

    Parameters
    ----------
    config : MachineConfig
        One of packed elements.

    Members
    -------
    sums, to : In(ColumnSums(config, "packed")), In(SumRow(config))
        Sums of one row of the array, and what becomes of them.
    scales : In(stream.Signature(GroupScales(config)))
        Scales; there before the rows that need them.
    halves : Out(LaneSums(config)).array(2)
        Sums of the low and of the high halves of the weights.
    after : Out(SumRow(config))
        What becomes of them.
    """

    latency = Multiplier.latency

    sums: Any
    to: Any
    scales: stream.Interface
    halves: Any
    after: Any

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "sums": In(ColumnSums(config, "packed")),
            "to": In(SumRow(config)),
            "scales": In(stream.Signature(GroupScales(config))),
            "halves": Out(LaneSums(config)).array(2),
            "after": Out(SumRow(config)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        columns, latency = self.config.columns, self.latency
        changes = Signal()
        takes = Signal()
        m.d.comb += [
            changes.eq(self.sums.valid & (self.to.rescale != Rescale.KEEP)),
            takes.eq(self.sums.valid & (self.to.rescale == Rescale.NEXT)),
            self.scales.ready.eq(takes),
            self.after.eq(delayed(m, self.to, latency, "after")),
        ]
        valid = delayed(m, self.sums.valid, latency, "valid", reset_less=False)
        # 13 bits for the largest product of a 4-bit weight, and a sum of R.
        width = self.config.sum_width - 8
        for index in range(2 * columns):
            column, half = divmod(index, 2)
            scale = self.scales.payload[half * columns + column]
            one = self.sums.data[index]
            m.submodules[f"multiplier_{index}"] = multiplier = Multiplier(min(width, len(one)), 9)
            m.d.comb += [
                multiplier.a.eq(one),
                multiplier.b.eq(Mux(takes, scale, 1)),
                multiplier.b_enable.eq(changes),
            ]
            lane = self.halves[half].data[column]
            if half:
                m.d.comb += lane.eq(multiplier.product)
            else:
                late = delayed(m, Value.cast(one).as_signed(), latency, f"sum_{column}")
                m.d.comb += lane.eq(Mux(self.after.pair, multiplier.product, late))
        for half in self.halves:
            m.d.comb += half.valid.eq(valid)
        return m
