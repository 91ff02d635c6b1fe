"""Accumulators of all channels: one for each column, or two where elements form two products."""

from typing import Any

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect

from celosia.config import MachineConfig
from celosia.cores.arith import delayed
from celosia.cores.systolic import ColumnSums
from celosia.rtl.accumulators import AccumulatorRead, Accumulators
from celosia.rtl.group_scales import GroupScaler
from celosia.rtl.row_streamer import SumRow
from celosia.rtl.tile_loader import GroupScales

__all__ = ["AccumulatorHalves"]


class AccumulatorHalves(wiring.Component):
    """Sums of the array to accumulators; those of 4-bit weights are scaled on the way.

    Members
    -------
    sums : In(ColumnSums(config, pe))
        Sums of one row of the array.
    to : In(SumRow(config))
        What becomes of them; with `sums`.
    scales : In(stream.Signature(GroupScales(config)))
        Scales of groups; only of packed elements.
    closed : Out(1)
        The last sums of a group have been written, and can be read from the next cycle on.
    read : In(AccumulatorRead(config))
        Port of the drain.
    """

    sums: Any
    to: Any
    scales: stream.Interface
    closed: Signal
    read: Any

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        scales = {"scales": In(stream.Signature(GroupScales(config)))}
        super().__init__({
            "sums": In(ColumnSums(config, config.pe)),
            "to": In(SumRow(config)),
            **(scales if config.products > 1 else {}),
            "closed": Out(1),
            "read": In(AccumulatorRead(config)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        halves = [Accumulators(self.config) for _ in range(self.config.products)]
        for index, half in enumerate(halves):
            m.submodules[f"half_{index}"] = half
            m.d.comb += [half.read.bank.eq(self.read.bank)]
            m.d.comb += [half.read.accumulator.eq(self.read.accumulator)]
        first = halves[0]
        m.d.comb += self.closed.eq(first.closed)
        if len(halves) == 1:
            m.d.comb += [
                first.sums.valid.eq(self.sums.valid),
                first.sums.data.eq(self.sums.data),
                first.to.eq(self.to),
                self.read.data.eq(first.read.data),
            ]
            return m

        m.submodules.scaler = scaler = GroupScaler(self.config)
        m.d.comb += [
            scaler.sums.valid.eq(self.sums.valid),
            scaler.sums.data.eq(self.sums.data),
            scaler.to.eq(self.to),
            scaler.scales.valid.eq(self.scales.valid),
            scaler.scales.payload.eq(self.scales.payload),
            self.scales.ready.eq(scaler.scales.ready),
        ]
        for index, half in enumerate(halves):
            connect(m, scaler.halves[index], half.sums)
            m.d.comb += half.to.eq(scaler.after)
        which = delayed(m, self.read.half, Accumulators.read_latency, "which")
        m.d.comb += Value.cast(self.read.data).eq(
            Mux(which, Value.cast(halves[1].read.data), Value.cast(first.read.data))
        )
        return m
