"""What a serial line can be measured against: words of memory, and a ledger of ordered writes."""

from amaranth import Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out, connect

from celosia.rtl.axi import AXI4Lite
from celosia.rtl.bridge import UARTBridge

__all__ = ["LEDGER", "LOST", "NEXT", "REPEATED", "WORDS", "LedgerOnLine"]

#: Words from address 0.
WORDS = 4096
#: Takes the numbers from 0 on, each once and in order; what it finds is in the three behind it.
LEDGER = 4 * WORDS
NEXT, LOST, REPEATED = LEDGER + 4, LEDGER + 8, LEDGER + 12


class Ledger(wiring.Component):
    """Takes one access at a time."""

    s_axi_lite: In(AXI4Lite())

    def elaborate(self, platform):
        m = Module()
        bus = self.s_axi_lite
        m.submodules.words = words = memory.Memory(shape=32, depth=WORDS, init=[])
        read, write = words.read_port(), words.write_port()
        following, lost, repeated, reading = Signal(32), Signal(32), Signal(32), Signal()
        m.d.comb += [
            write.addr.eq(bus.awaddr[2:]),
            write.data.eq(bus.wdata),
            bus.awready.eq(bus.awvalid & bus.wvalid & ~bus.bvalid),
            bus.wready.eq(bus.awready),
            write.en.eq(bus.awready & (bus.awaddr < LEDGER)),
            read.addr.eq(bus.araddr[2:]),
            bus.arready.eq(bus.arvalid & ~reading & ~bus.rvalid),
        ]
        m.d.sync += reading.eq(bus.arready)
        with m.If(bus.awready):
            m.d.sync += bus.bvalid.eq(1)
            with m.If(bus.awaddr == LEDGER):
                with m.If(bus.wdata >= following):
                    m.d.sync += lost.eq(lost + (bus.wdata - following)[:32])
                    m.d.sync += following.eq(bus.wdata + 1)
                with m.Else():
                    m.d.sync += repeated.eq(repeated + 1)
        with m.Elif(bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        found = Mux(bus.araddr == NEXT, following, Mux(bus.araddr == LOST, lost, repeated))
        with m.If(reading):
            m.d.sync += bus.rvalid.eq(1)
            m.d.sync += bus.rdata.eq(Mux(bus.araddr < LEDGER, read.data, found))
        with m.Elif(bus.rready):
            m.d.sync += bus.rvalid.eq(0)
        return m


class LedgerOnLine(wiring.Component):
    """A ledger at the end of a serial line."""

    rx: In(1, init=1)
    tx: Out(1, init=1)

    def __init__(self, divisor):
        self.divisor = divisor
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.bridge = bridge = UARTBridge(self.divisor)
        m.submodules.ledger = ledger = Ledger()
        connect(m, bridge.bus, ledger.s_axi_lite)
        m.d.comb += [bridge.rx.eq(self.rx), self.tx.eq(bridge.tx)]
        return m
