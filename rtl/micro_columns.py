"""Four multipliers that take a row element by element, with a strip of weights beside them."""

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from celosia.cores.arith import delayed
from celosia.cores.multiply import Multiplier
from celosia.cores.quantise import Quantiser
from celosia.rtl.micro_layout import LANES, STRIP

__all__ = ["Columns"]


class Columns(wiring.Component):
    """`sum_c = Σ_k x_k · strip_k,c` of a row of half-words, and single products.

    A row takes a cycle for each element and `latency` more; an element is quantised by the row's
    exponent, or taken as a byte without sign. The sums stay until the next row.

    Members
    -------
    start : In(1)
        Begin a row.
    address, count : In(15), In(16)
        Half-word at which it begins, and its elements, at least 1.
    offset, exponent, raw : In(8), In(4), In(1)
        Input of the strip that the first of them belongs to; how elements become bytes.
    busy : Out(1)
        A row is under way.
    read, half : Out(1), Out(15)
        Read this half-word of the local memory.
    word : In(32)
        The word with it, in the next cycle.
    write, place, byte : In(1), In(10), In(8)
        Write a byte of the strip: input · 4 + column.
    sums : Out(4 · signed(32))
        The sums.
    x, y, product : In(signed(16)), In(signed(16)), Out(signed(32))
        The product of these, `Multiplier.latency` cycles later, while no row is under way.
    """

    #: Cycles from the last element that is asked for to the sums.
    latency = 1 + 1 + Quantiser.latency + Multiplier.latency

    def __init__(self) -> None:
        super().__init__({
            "start": In(1),
            "address": In(15),
            "count": In(16),
            "offset": In(exact_log2(STRIP)),
            "exponent": In(4),
            "raw": In(1),
            "busy": Out(1),
            "read": Out(1),
            "half": Out(15),
            "word": In(32),
            "write": In(1),
            "place": In(exact_log2(STRIP * LANES)),
            "byte": In(8),
            "sums": Out(signed(32)).array(LANES),
            "x": In(signed(16)),
            "y": In(signed(16)),
            "product": Out(signed(32)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.strip = strip = memory.Memory(shape=32, depth=STRIP, init=[])
        write, read = strip.write_port(granularity=8), strip.read_port()
        m.d.comb += [
            write.addr.eq(self.place[2:]),
            write.data.eq(self.byte.replicate(LANES)),
            write.en.eq(Mux(self.write, 1 << self.place[:2], 0)),
        ]

        # Half-words are asked for.
        left = Signal(16)
        asking = Signal()
        half = Signal(15, reset_less=True)
        m.d.comb += [asking.eq(left != 0), self.read.eq(asking), self.half.eq(half)]
        with m.If(self.start):
            m.d.sync += [left.eq(self.count), half.eq(self.address)]
        with m.Elif(asking):
            m.d.sync += [left.eq(left - 1), half.eq(half + 1)]

        # They come, and become bytes.
        came, odd = Signal(), Signal(reset_less=True)
        m.d.sync += [came.eq(asking), odd.eq(half[0])]
        m.submodules.quantiser = quantiser = Quantiser(1)
        m.d.comb += [
            quantiser.i.valid.eq(came),
            quantiser.i.exponent.eq(self.exponent),
            quantiser.i.raw.eq(self.raw),
            quantiser.i.data[0].eq(self.word.word_select(odd, 16)),
        ]

        # Their weights come with them: the strip is asked a cycle before.
        index = Signal(exact_log2(STRIP), reset_less=True)
        soon = delayed(m, came, 1, "soon", reset_less=False)
        m.d.comb += [read.addr.eq(index), read.en.eq(soon)]
        with m.If(self.start):
            m.d.sync += index.eq(self.offset)
        with m.Elif(soon):
            m.d.sync += index.eq(index + 1)

        element = Signal(signed(16))
        byte = quantiser.o.data[0]
        m.d.comb += element.eq(Cat(byte, Mux(self.raw, 0, byte[7]).replicate(8)))
        added = delayed(m, quantiser.o.valid, Multiplier.latency, "added", reset_less=False)
        for column in range(LANES):
            m.submodules[f"multiplier_{column}"] = multiplier = Multiplier(16, 16)
            weight = Signal(signed(16), name=f"weight_{column}")
            m.d.comb += [
                weight.eq(read.data.word_select(column, 8).as_signed()),
                multiplier.b_enable.eq(1),
            ]
            if column == 0:  # between rows it is free
                single = ~quantiser.o.valid
                m.d.comb += [
                    multiplier.a.eq(Mux(single, self.x, element)),
                    multiplier.b.eq(Mux(single, self.y, weight)),
                    self.product.eq(multiplier.product),
                ]
            else:
                m.d.comb += [multiplier.a.eq(element), multiplier.b.eq(weight)]
            with m.If(self.start):
                m.d.sync += self.sums[column].eq(0)
            with m.Elif(added):
                m.d.sync += self.sums[column].eq(self.sums[column] + multiplier.product)

        # Elements under way, from the first that is asked for to the last that is added.
        flying = Signal(4)
        m.d.sync += flying.eq(flying + asking - added)
        m.d.comb += self.busy.eq(asking | (flying != 0))
        return m
