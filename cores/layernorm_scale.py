"""What normalises a row, from its sums, by serial arithmetic."""

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from celosia.cores.arith import bit_length
from celosia.cores.layernorm_root import (
    MEAN_FRACTION,
    N_BITS,
    ROOT_BITS,
    Root,
    RowRoot,
    RowVariance,
)
from celosia.cores.layernorm_sums import Sums
from celosia.cores.serial import SerialDivider, SerialMultiplier

__all__ = ["RowGain", "RowScale", "RowScaler"]

_GAIN_BITS = 17


class RowScale(data.Struct):
    """What normalises a row: `zq = rnd(16·(x + 32768 - mean)·gain - offset, shift)`."""

    mean: 16
    gain: _GAIN_BITS
    offset: 21
    shift: 5


class RowGain(wiring.Component):
    """What normalises a row; one row in 43 cycles.

    Members
    -------
    n : In(13)
        Elements of a row, 1 to 4096; constant from some cycles before the first row on.
    i : In(stream.Signature(Root))
        Means and roots of rows.
    o : Out(stream.Signature(RowScale))
        Their scales, in order.
    """

    n: Signal
    i: stream.Interface
    o: stream.Interface

    def __init__(self) -> None:
        super().__init__({
            "n": In(13),
            "i": In(stream.Signature(Root)),
            "o": Out(stream.Signature(RowScale)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.divider = divider = SerialDivider(_GAIN_BITS + 2, ROOT_BITS)
        m.submodules.multiplier = multiplier = SerialMultiplier(MEAN_FRACTION, _GAIN_BITS)

        # Of all rows: n, its top bit set, and the part of the shift that comes from n.
        normalised = Signal(N_BITS, reset_less=True)
        size = Signal(range(N_BITS + 1), reset_less=True)
        m.d.sync += [
            size.eq(bit_length(m, self.n, "size")),
            normalised.eq((self.n << N_BITS) >> size),
        ]

        quotient = divider.o.payload
        long = Signal()
        rounded = Signal(_GAIN_BITS + 1)
        fraction = Signal(MEAN_FRACTION, reset_less=True)
        # half - size - dropped + 10, with 1 or 2 bits dropped.
        shift = Signal(signed(7), reset_less=True)
        m.d.comb += [
            long.eq(quotient[-1]),
            rounded.eq(Mux(long, (quotient + 2) >> 2, (quotient + 1) >> 1)),
            divider.i.payload.high.eq(normalised << 6),
            divider.i.payload.divisor.eq(self.i.payload.root),
            divider.i.valid.eq(self.i.valid & self.i.ready),
            multiplier.i.payload.a.eq(fraction),
            multiplier.i.payload.b.eq(self.o.payload.gain),
            self.o.payload.offset.eq(multiplier.o.payload[MEAN_FRACTION - 4 :]),
            self.o.valid.eq(multiplier.o.valid),
            multiplier.o.ready.eq(self.o.ready),
        ]
        with m.FSM() as fsm:
            with m.State("TAKE"):
                with m.If(self.i.valid):
                    m.next = "DIVIDE"
            with m.State("DIVIDE"):
                with m.If(divider.o.valid):
                    m.next = "MULTIPLY"
            with m.State("MULTIPLY"):
                m.next = "GIVE"
            with m.State("GIVE"):
                with m.If(self.o.valid & self.o.ready):
                    m.next = "TAKE"

        m.d.comb += [
            self.i.ready.eq(fsm.ongoing("TAKE")),
            divider.o.ready.eq(1),
            multiplier.i.valid.eq(fsm.ongoing("MULTIPLY")),
        ]
        with m.If(self.i.ready):
            m.d.sync += [
                Cat(fraction, self.o.payload.mean).eq(self.i.payload.mean),
                shift.eq(self.i.payload.half - size + 9),
            ]
        with m.If(divider.o.valid):
            limit = (1 << _GAIN_BITS) - 1
            m.d.sync += [
                self.o.payload.gain.eq(Mux(rounded[-1], limit, rounded[:-1])),
                shift.eq(shift - long),
            ]
        with m.If(fsm.ongoing("MULTIPLY")):
            # Only a row of equal elements comes below 0; it is 0 whatever the shift.
            m.d.sync += self.o.payload.shift.eq(Mux(shift[-1], 0, shift))

        return m


class RowScaler(wiring.Component):
    """Finds the scales of rows, several of them at a time.

    The scale of a row comes about 110 cycles after its sums; one row in 43 cycles. Up to
    `DEPTH` scales wait at the output, and three rows are on the way to it.

    Members
    -------
    n : In(13)
        Elements of a row, 1 to 4096; constant from the first word of the first row on.
    epsilon : In(32)
        At least 1; constant while there are rows.
    rms : In(1)
        The mean counts as 0; constant while there are rows.
    i : In(stream.Signature(Sums))
        Sums of rows.
    o : Out(stream.Signature(RowScale))
        Their scales, in order.
    found : Out(1)
        A scale was added to those that wait.
    """

    #: Scales that can wait.
    DEPTH = 2
    #: Rows that it holds when it cannot take another one.
    capacity = 3 + DEPTH

    n: Signal
    epsilon: Signal
    rms: Signal
    i: stream.Interface
    o: stream.Interface
    found: Signal

    def __init__(self) -> None:
        super().__init__({
            "n": In(13),
            "epsilon": In(32),
            "rms": In(1),
            "i": In(stream.Signature(Sums)),
            "o": Out(stream.Signature(RowScale)),
            "found": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.variance = variance = RowVariance()
        m.submodules.root = root = RowRoot()
        m.submodules.gain = gain = RowGain()
        scale = gain.o.payload.as_value()
        m.submodules.queue = queue = fifo.SyncFIFO(width=len(scale), depth=self.DEPTH)

        wiring.connect(m, wiring.flipped(self.i), variance.i)
        wiring.connect(m, variance.o, root.i)
        wiring.connect(m, root.o, gain.i)
        m.d.comb += [
            variance.n.eq(self.n),
            variance.epsilon.eq(self.epsilon),
            variance.rms.eq(self.rms),
            gain.n.eq(self.n),
            queue.w_data.eq(scale),
            queue.w_en.eq(gain.o.valid),
            gain.o.ready.eq(queue.w_rdy),
            self.o.payload.as_value().eq(queue.r_data),
            self.o.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.o.ready),
            self.found.eq(gain.o.valid & queue.w_rdy),
        ]

        return m
