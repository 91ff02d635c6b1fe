"""The array alone behind the host's port, for chips that are too small for a machine."""

from typing import Any

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from celosia.array_map import SUMS
from celosia.config import MachineConfig
from celosia.cores.systolic import SystolicArray
from celosia.rtl.axi import AXI4Lite

__all__ = ["LoneArray"]

_SLVERR = 2


class LoneArray(wiring.Component):
    """Registers around a systolic array of int8 weights: load columns, stream rows, read sums.

    Words are written whole, whatever the strobes say. Writes beyond the registers get an error.
    An access waits until no row is under way, but that of a row's elements.

    Parameters
    ----------
    config : MachineConfig
        Rows and columns.

    Members
    -------
    s_axi_lite : In(AXI4Lite())
        The registers, one access at a time.
    """

    s_axi_lite: Any

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({"s_axi_lite": In(AXI4Lite())})

    def elaborate(self, platform) -> Module:
        m = Module()
        bus, config = self.s_axi_lite, self.config
        m.submodules.array = array = SystolicArray(config)
        words = -(-config.rows // 4)
        staged = Signal(32 * words)
        loads, streams, swaps = Signal(), Signal(), Signal()
        column = Signal(range(config.columns))
        flying = Signal(range(array.latency + 2))  # rows under way

        word = bus.awaddr[2:6]
        to_weights, to_row = bus.awaddr[12:14] == 1, bus.awaddr[12:14] == 2
        idle = Signal()
        outside = Signal()
        m.d.comb += [
            idle.eq((flying == 0) & ~streams),
            outside.eq(
                (bus.awaddr[14:] != 0)
                | ~(to_weights | to_row)
                | (word >= words)
                | (to_weights & (bus.awaddr[6:12] >= config.columns))
            ),
            bus.awready.eq(bus.awvalid & bus.wvalid & ~bus.bvalid & (idle | to_row)),
            bus.wready.eq(bus.awready),
        ]
        m.d.sync += [loads.eq(0), streams.eq(0)]
        with m.If(bus.awready):
            m.d.sync += [bus.bvalid.eq(1), bus.bresp.eq(outside * _SLVERR)]
            with m.If(~outside):
                m.d.sync += [
                    staged.word_select(word, 32).eq(bus.wdata),
                    column.eq(bus.awaddr[6:12]),
                    swaps.eq(bus.awaddr[8]),
                    loads.eq(to_weights & (word == words - 1)),
                    streams.eq(to_row & (word == words - 1)),
                ]
        with m.Elif(bus.bready):
            m.d.sync += bus.bvalid.eq(0)

        m.d.comb += [
            array.load.valid.eq(loads),
            array.load.column.eq(column),
            array.i.valid.eq(streams),
            array.i.swap.eq(swaps),
        ]
        for row in range(config.rows):
            element = staged[8 * row : 8 * row + 8].as_signed()
            m.d.comb += [array.load.data[row].eq(element), array.i.data[row].eq(element)]
        sums = [Signal.like(total) for total in array.o.data]
        m.d.sync += flying.eq(flying + streams - array.o.valid)
        with m.If(array.o.valid):
            m.d.sync += [kept.eq(total) for kept, total in zip(sums, array.o.data, strict=True)]

        m.d.comb += bus.arready.eq(bus.arvalid & ~bus.rvalid & idle)
        with m.If(bus.arready):
            m.d.sync += [bus.rvalid.eq(1), bus.rdata.eq(config.rows | config.columns << 8)]
            with m.If(bus.araddr[12:14] == SUMS >> 12), m.Switch(bus.araddr[2:8]):
                for index, total in enumerate(sums):
                    with m.Case(index):
                        m.d.sync += bus.rdata.eq(total)
        with m.Elif(bus.rready):
            m.d.sync += bus.rvalid.eq(0)
        return m
