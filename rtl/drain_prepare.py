"""Gets ready for a drain: parameters and exponents of the lanes, behind the drain under way."""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from celosia.config import MachineConfig
from celosia.cores.requant import LaneScale
from celosia.rtl.exponents import ExponentRead
from celosia.rtl.parameters import ParameterRead
from celosia.rtl.passes import Drain, DrainKind

__all__ = ["DrainPreparer"]


class DrainPreparer(wiring.Component):
    """Loads the shadow parameters of the requantiser's lanes, then hands the drain on.

    L steps a drain, one lane each: C for the parameters, L for the exponents of scores. `o` must be
    taken before the drain swaps the lanes in. A drain without rows needs no lanes and passes.

    Members
    -------
    i : In(stream.Signature(Drain(config)))
        Drains, in order.
    o : Out(stream.Signature(Drain(config)))
        The same, their lanes being ready.
    swapped : In(1)
        The shadows have come into use and may be loaded again.
    parameters : Out(ParameterRead(config))
        Parameters by channel.
    exponents : Out(ExponentRead(config))
        Exponents of the stationary rows.
    load : Out(LaneScale(config))
        To the requantiser.
    lane_exponents : Out(data.ArrayLayout(4, lanes))
        Shadow of the exponents of the lanes.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(Drain(config))),
            "o": Out(stream.Signature(Drain(config))),
            "swapped": In(1),
            "parameters": Out(ParameterRead(config)),
            "exponents": Out(ExponentRead(config)),
            "load": Out(LaneScale(config)),
            "lane_exponents": Out(data.ArrayLayout(4, config.lanes)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self.config
        drain = self.i.payload

        # `free`: the shadows are not waiting to be used.
        free = Signal(init=1)
        lane = Signal(range(config.lanes))
        last = Signal()
        steps = Signal()
        done = Signal()
        is_end = Signal()
        m.d.comb += [
            is_end.eq(drain.kind == DrainKind.END),
            last.eq(lane == config.lanes - 1),
            steps.eq(self.i.valid & free & ~done & ~is_end),
            self.parameters.address.eq(drain.parameter + lane),
            self.exponents.address.eq(drain.lane_slot + lane),
        ]
        with m.If(steps):
            m.d.sync += [lane.eq(lane + 1), done.eq(last)]
        with m.If(self.swapped):
            m.d.sync += free.eq(1)

        # One cycle later the memories answer.
        loads = Signal()
        target = Signal(range(config.lanes), reset_less=True)
        m.d.sync += [loads.eq(steps), target.eq(lane)]
        by_lane = Signal()
        parameter = self.parameters.data
        m.d.comb += [
            by_lane.eq((drain.kind == DrainKind.ROWS) & ~drain.row_parameters),
            self.load.valid.eq(loads & (target < config.columns)),
            self.load.lane.eq(target),
            self.load.multiplier.eq(parameter.multiplier),
            self.load.shift.eq(Mux(by_lane, parameter.shift, 0)),
            self.load.bias.eq(parameter.bias),
        ]
        with m.If(loads):
            m.d.sync += self.lane_exponents[target].eq(
                Mux(drain.lane_exponents, self.exponents.exponent, 0)
            )

        # Hand on once the last lane has been loaded.
        m.d.comb += [
            self.o.payload.eq(drain),
            self.o.valid.eq(Mux(is_end, self.i.valid, done & ~loads)),
            self.i.ready.eq(self.o.valid & self.o.ready),
        ]
        with m.If(self.o.valid & self.o.ready & ~is_end):
            m.d.sync += [done.eq(0), free.eq(0)]

        return m
