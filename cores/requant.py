"""Requantiser: rows of accumulators to int16 (or int8), scaled per channel or per row."""

from amaranth import Module, Signal, signed
from amaranth.hdl import ShapeLike
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from celosia.config import MachineConfig
from celosia.cores.arith import adder_tree, delayed
from celosia.cores.requant_lane import RequantiserLane, Scale

__all__ = ["AccumulatorRow", "LaneScale", "RequantisedRow", "Requantiser", "Scale"]


class AccumulatorRow(wiring.Signature):
    """A row to requantise.

    Members
    -------
    valid : Out(1)
        A row is presented.
    swap : Out(1)
        From this row on, the lanes use the parameters loaded last.
    acc : Out(data.ArrayLayout(signed(accumulator_width), columns))
        Accumulators.
    row_mode : Out(1)
        Multiplier and bias are those of `row`, not those of the lanes.
    row : Out(Scale)
        Parameters of the row; `shift` adds to that of the lane in both modes.
    exponents : Out(data.ArrayLayout(4, columns))
        Exponents of the stationary rows, taken off the shifts.
    residual : Out(data.ArrayLayout(signed(16), columns))
        Values to add.
    residual_enable : Out(1)
        Add them.
    r_shift : Out(5)
        Right shift of the residual.
    narrow : Out(1)
        Saturate to int8, not int16.
    lane_mask : Out(columns)
        Lanes that count; the others give 0.
    tag : Out(tag_shape)
        Whatever is to come out with the row.
    """

    def __init__(self, config: MachineConfig, tag_shape: ShapeLike) -> None:
        acc = signed(config.accumulator_width)
        super().__init__({
            "valid": Out(1),
            "swap": Out(1),
            "acc": Out(data.ArrayLayout(acc, config.columns)),
            "row_mode": Out(1),
            "row": Out(Scale),
            "exponents": Out(data.ArrayLayout(4, config.columns)),
            "residual": Out(data.ArrayLayout(signed(16), config.columns)),
            "residual_enable": Out(1),
            "r_shift": Out(5),
            "narrow": Out(1),
            "lane_mask": Out(config.columns),
            "tag": Out(tag_shape),
        })


class LaneScale(wiring.Signature):
    """Parameters for one lane.

    Members
    -------
    valid : Out(1)
        Parameters are presented.
    lane : Out(range(columns))
        For which lane.
    multiplier, shift, bias : Out(15), Out(signed(8)), Out(signed(16))
        As in `Scale`.
    """

    def __init__(self, config: MachineConfig) -> None:
        super().__init__({
            "valid": Out(1),
            "lane": Out(range(config.columns)),
            "multiplier": Out(15),
            "shift": Out(signed(8)),
            "bias": Out(signed(16)),
        })


class RequantisedRow(wiring.Signature):
    """A requantised row.

    Members
    -------
    valid : Out(1)
        A row is presented.
    data : Out(data.ArrayLayout(signed(16), columns))
        Results.
    saturations : Out(range(columns + 1))
        Lanes that were clipped; only of use while `valid` is set.
    tag : Out(tag_shape)
        Tag of the row.
    """

    def __init__(self, config: MachineConfig, tag_shape: ShapeLike) -> None:
        super().__init__({
            "valid": Out(1),
            "data": Out(data.ArrayLayout(signed(16), config.columns)),
            "saturations": Out(range(config.columns + 1)),
            "tag": Out(tag_shape),
        })


class Requantiser(wiring.Component):
    """Scales, shifts, offsets and saturates one row of accumulators per cycle.

    For each lane `o.data = sat(rnd(acc * multiplier, shift) + bias + rnd(residual, r_shift))`, with
    `shift = clip(lane.shift + row.shift, 0, 47)`; multiplier and bias are the lane's, or the row's
    in `row_mode`. Rounding is half up; `sat` is to 16 bits, or 8 if `narrow`. Nothing overflows
    before `sat`. The result comes exactly `latency` = 11 cycles after its row; one row per cycle,
    no stall.

    **Parameters of the lanes** are double-buffered: `load` writes one lane's shadow a cycle, and a
    row with `swap` puts all shadows in use, from itself on. A load presented before the cycle of
    the swap belongs to the rows from the swap on; one presented in that cycle or later, to the next
    swap. A lane that is not loaded keeps its shadow. After reset they are undefined.

    Parameters
    ----------
    config : MachineConfig
        Columns and width of the accumulators.
    tag_shape : ShapeLike
        Shape of the tag that travels with a row.

    Members
    -------
    load : In(LaneScale(config))
        Parameters of the lanes.
    i : In(AccumulatorRow(config, tag_shape))
        Rows.
    o : Out(RequantisedRow(config, tag_shape))
        Results, in order.
    """

    load: wiring.PureInterface
    i: wiring.PureInterface
    o: wiring.PureInterface

    #: Cycles from a row to its result: one register before the lanes, one after.
    latency = RequantiserLane.latency + 2

    def __init__(self, config: MachineConfig, tag_shape: ShapeLike) -> None:
        self.config = config
        super().__init__({
            "load": In(LaneScale(config)),
            "i": In(AccumulatorRow(config, tag_shape)),
            "o": Out(RequantisedRow(config, tag_shape)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        columns = self.config.columns
        swap = Signal()
        m.d.comb += swap.eq(self.i.valid & self.i.swap)

        # Side information: what all lanes share, and what they need only at the end.
        early = {
            name: delayed(m, getattr(self.i, name), 1, name)
            for name in ("row_mode", "row", "residual_enable", "r_shift")
        }
        narrow = delayed(m, self.i.narrow, RequantiserLane.latency, "narrow")
        enables = delayed(m, self.i.lane_mask, RequantiserLane.latency, "enables")
        m.d.comb += [
            self.o.tag.eq(delayed(m, self.i.tag, self.latency, "tag")),
            self.o.valid.eq(delayed(m, self.i.valid, self.latency, "valid", reset_less=False)),
        ]

        clipped = []
        for column in range(columns):
            lane = m.submodules[f"lane_{column}"] = RequantiserLane(self.config.accumulator_width)
            m.d.comb += [
                lane.acc.eq(delayed(m, self.i.acc[column], 1, f"acc_{column}")),
                lane.residual.eq(delayed(m, self.i.residual[column], 1, f"residual_{column}")),
                lane.lane.eq(self._add_parameters(m, column, swap)),
                lane.exponent.eq(delayed(m, self.i.exponents[column], 1, f"exponent_{column}")),
                lane.narrow.eq(narrow),
                lane.enable.eq(enables[column]),
                self.o.data[column].eq(delayed(m, lane.y, 1, f"y_{column}")),
            ]
            m.d.comb += [getattr(lane, name).eq(value) for name, value in early.items()]
            clipped.append(lane.clipped)
        saturations = Signal(range(columns + 1), reset_less=True)
        m.d.sync += saturations.eq(adder_tree(clipped))
        m.d.comb += self.o.saturations.eq(saturations)

        return m

    def _add_parameters(self, m: Module, column: int, swap: Signal) -> Signal:
        """Shadow and active parameters of a lane; returns the active ones."""
        shadow = Signal(Scale, name=f"shadow_{column}", reset_less=True)
        active = Signal(Scale, name=f"active_{column}", reset_less=True)
        with m.If(self.load.valid & (self.load.lane == column)):
            m.d.sync += [
                shadow.multiplier.eq(self.load.multiplier),
                shadow.shift.eq(self.load.shift),
                shadow.bias.eq(self.load.bias),
            ]
        with m.If(swap):
            m.d.sync += active.eq(shadow)
        return active
