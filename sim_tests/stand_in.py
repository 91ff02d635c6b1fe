"""A machine in small: a block of words on an AXI4-Lite port, and errors beside it."""

from amaranth import Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In

from celosia.rtl.axi import AXI4Lite

#: Words from address 0; what lies beyond answers with an error.
WORDS = 1024
#: Adds one to a counter at each write, whatever is written; reads as the count.
COUNTER = 4 * WORDS - 4

SLVERR = 2


class StandIn(wiring.Component):
    """Takes one access at a time."""

    def __init__(self):
        super().__init__({"s_axi_lite": In(AXI4Lite())})

    def elaborate(self, platform):
        m = Module()
        bus = self.s_axi_lite
        m.submodules.words = words = memory.Memory(shape=32, depth=WORDS, init=[])
        read, write = words.read_port(), words.write_port()
        counter, reading = Signal(32), Signal()

        m.d.comb += [
            write.addr.eq(bus.awaddr[2:]),
            write.data.eq(bus.wdata),
            bus.awready.eq(bus.awvalid & bus.wvalid & ~bus.bvalid),
            bus.wready.eq(bus.awready),
            write.en.eq(bus.awready & (bus.awaddr < COUNTER)),
            read.addr.eq(bus.araddr[2:]),
            bus.arready.eq(bus.arvalid & ~reading & ~bus.rvalid),
        ]
        m.d.sync += reading.eq(bus.arready)
        with m.If(bus.awready):
            m.d.sync += [bus.bvalid.eq(1), bus.bresp.eq(0)]
            with m.If(bus.awaddr == COUNTER):
                m.d.sync += counter.eq(counter + 1)
            with m.If(bus.awaddr > COUNTER):
                m.d.sync += bus.bresp.eq(SLVERR)
        with m.Elif(bus.bready):
            m.d.sync += bus.bvalid.eq(0)

        with m.If(reading):
            m.d.sync += [bus.rvalid.eq(1), bus.rdata.eq(read.data), bus.rresp.eq(0)]
            with m.If(bus.araddr == COUNTER):
                m.d.sync += bus.rdata.eq(counter)
            with m.If(bus.araddr > COUNTER):
                m.d.sync += bus.rresp.eq(SLVERR)
        with m.Elif(bus.rready):
            m.d.sync += bus.rvalid.eq(0)
        return m
