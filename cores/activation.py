"""Activation: any function of int16 from a table of straight segments."""

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.hdl import ShapeLike
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from celosia.config import MachineConfig
from celosia.cores.arith import delayed, saturate
from celosia.cores.shift_multiply import ShiftAddMultiplier

__all__ = ["ActivatedRow", "ActivationLane", "Segment", "TableActivation", "TableWrite"]

#: Segments of a table.
SEGMENTS = 256
#: Bits of the place within a segment.
FRACTION_BITS = 8


class Segment(data.Struct):
    """One straight piece: the result at its start, and the difference to the next start."""

    value: signed(16)
    slope: signed(16)


class TableWrite(wiring.Signature):
    """One segment for the table.

    Members
    -------
    valid : Out(1)
        A segment is presented.
    address : Out(8)
        Which; 0 is that of the most negative arguments.
    value, slope : Out(signed(16)), Out(signed(16))
        As in `Segment`.
    """

    def __init__(self) -> None:
        super().__init__({
            "valid": Out(1),
            "address": Out(range(SEGMENTS)),
            "value": Out(signed(16)),
            "slope": Out(signed(16)),
        })


class ActivatedRow(wiring.Signature):
    """A row of int16.

    Members
    -------
    valid : Out(1)
        A row is presented.
    enable : Out(1)
        Apply the function; the row passes unchanged if not.
    data : Out(data.ArrayLayout(signed(16), columns))
        Elements.
    tag : Out(tag_shape)
        Whatever travels with the row.
    """

    def __init__(self, config: MachineConfig, tag_shape: ShapeLike) -> None:
        super().__init__({
            "valid": Out(1),
            "enable": Out(1),
            "data": Out(data.ArrayLayout(signed(16), config.columns)),
            "tag": Out(tag_shape),
        })


class ActivationLane(wiring.Component):
    """One element per cycle: `y = sat16(value[s] + rnd(slope[s] * f, 8))`, or `y = x`.

    `s = (x >> 8) + 128` is the segment, `f = x & 255` the place in it. `y` comes `latency` cycles
    after `x` and `enable`. A segment may be written at any time; an element that reads it in the
    cycle of the write gets the old or the new one.

    Members
    -------
    table : In(TableWrite())
        Segments.
    x : In(signed(16))
        Argument.
    enable : In(1)
        Apply the function.
    y : Out(signed(16))
        Result.
    """

    #: Cycles from argument to result: memory and register, product, sum, saturation.
    latency = 2 + ShiftAddMultiplier.cycles(FRACTION_BITS) + 2

    table: wiring.PureInterface
    x: Signal
    enable: Signal
    y: Signal

    def __init__(self) -> None:
        super().__init__({
            "table": In(TableWrite()),
            "x": In(signed(16)),
            "enable": In(1),
            "y": Out(signed(16)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.memory = memory = Memory(shape=Segment, depth=SEGMENTS, init=[])
        m.submodules.multiplier = multiplier = ShiftAddMultiplier(16, FRACTION_BITS)

        # Stages 1 and 2: the segment. Memories answer late in the cycle, hence the register.
        write, read = memory.write_port(), memory.read_port()
        m.d.comb += [
            write.en.eq(self.table.valid),
            write.addr.eq(self.table.address),
            write.data.value.eq(self.table.value),
            write.data.slope.eq(self.table.slope),
            read.addr.eq(Cat(self.x[8:15], ~self.x[15])),
        ]
        segment = delayed(m, read.data, 1, "segment")
        x = delayed(m, self.x, 2, "x")
        enable = delayed(m, self.enable, 2, "enable")

        # Stages 3 to 5: the product. Bypass is a segment that starts at x, at its start.
        fraction = Signal(8)
        start = Signal(signed(16))
        m.d.comb += [
            fraction.eq(Mux(enable, x[:8], 0)),
            start.eq(Mux(enable, segment.value, x)),
            multiplier.a.eq(segment.slope),
            multiplier.b.eq(fraction),
        ]
        start_late = delayed(m, start, multiplier.latency, "start")

        # Stage 6: the sum, rounded half up.
        total = Signal(signed(18), reset_less=True)
        m.d.sync += total.eq(start_late + (multiplier.product >> 8) + multiplier.product[7])

        # Stage 7: saturation.
        y = Signal(signed(16), reset_less=True)
        m.d.sync += y.eq(saturate(total, 16))
        m.d.comb += self.y.eq(y)

        return m


class TableActivation(wiring.Component):
    """Applies one function, held in a table, to all elements of a row.

    The arithmetic is that of `ActivationLane`; the result comes exactly `latency` = 7 cycles after
    its row, whether `enable` is set or not. One row per cycle, no stall. Every lane has its own
    copy of the table, 256 words of 32 bits; `table` writes all copies. Tables start at zero.

    Parameters
    ----------
    config : MachineConfig
        Columns.
    tag_shape : ShapeLike
        Shape of the tag that travels with a row.

    Members
    -------
    table : In(TableWrite())
        Segments of the function.
    i : In(ActivatedRow(config, tag_shape))
        Arguments.
    o : Out(ActivatedRow(config, tag_shape))
        Results, in order; `enable` says whether the function was applied.
    """

    #: Cycles from a row to its result.
    latency = ActivationLane.latency

    table: wiring.PureInterface
    i: wiring.PureInterface
    o: wiring.PureInterface

    def __init__(self, config: MachineConfig, tag_shape: ShapeLike) -> None:
        self.config = config
        super().__init__({
            "table": In(TableWrite()),
            "i": In(ActivatedRow(config, tag_shape)),
            "o": Out(ActivatedRow(config, tag_shape)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()

        for column in range(self.config.columns):
            lane = m.submodules[f"lane_{column}"] = ActivationLane()
            m.d.comb += [
                lane.table.valid.eq(self.table.valid),
                lane.table.address.eq(self.table.address),
                lane.table.value.eq(self.table.value),
                lane.table.slope.eq(self.table.slope),
                lane.x.eq(self.i.data[column]),
                lane.enable.eq(self.i.enable),
                self.o.data[column].eq(lane.y),
            ]

        # Side information.
        for name in ("enable", "tag"):
            late = delayed(m, getattr(self.i, name), self.latency, name)
            m.d.comb += getattr(self.o, name).eq(late)
        valid = delayed(m, self.i.valid, self.latency, "valid", reset_less=False)
        m.d.comb += self.o.valid.eq(valid)

        return m
