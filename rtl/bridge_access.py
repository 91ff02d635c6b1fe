"""Manager of an AXI4-Lite bus for one access at a time."""

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from celosia.rtl.axi import AXI4Lite

__all__ = ["WordAccess"]


class WordAccess(wiring.Component):
    """Manager of an AXI4-Lite bus that reads or writes one word at a time.

    Members
    -------
    start : In(1)
        Begin an access; only while none is under way.
    write : In(1)
        Whether to write. This and the next two must be held until the access is done.
    address : In(32)
        Address in bytes.
    data : In(32)
        Word to write.
    done : Out(1)
        Set for the last cycle of an access.
    error : Out(1)
        Whether the bus answered with an error, when `done` is set.
    result : Out(32)
        Word that was read, when `done` is set.
    bus : Out(AXI4Lite())
        The bus.
    """

    start: Signal
    write: Signal
    address: Signal
    data: Signal
    done: Signal
    error: Signal
    result: Signal
    bus: wiring.PureInterface

    def __init__(self) -> None:
        super().__init__({
            "start": In(1),
            "write": In(1),
            "address": In(32),
            "data": In(32),
            "done": Out(1),
            "error": Out(1),
            "result": Out(32),
            "bus": Out(AXI4Lite()),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        bus = self.bus
        m.d.comb += [
            bus.awaddr.eq(self.address),
            bus.araddr.eq(self.address),
            bus.wdata.eq(self.data),
            bus.wstrb.eq(~0),
            self.result.eq(bus.rdata),
            self.done.eq((bus.rvalid & bus.rready) | (bus.bvalid & bus.bready)),
            self.error.eq(Mux(self.write, bus.bresp, bus.rresp) != 0),
        ]

        for valid, ready, wanted in (
            (bus.awvalid, bus.awready, self.write),
            (bus.wvalid, bus.wready, self.write),
            (bus.arvalid, bus.arready, ~self.write),
        ):
            with m.If(self.start & wanted):
                m.d.sync += valid.eq(1)
            with m.Elif(ready):
                m.d.sync += valid.eq(0)
        # Nothing is awaited but the answer to the access under way.
        with m.If(self.start):
            m.d.sync += [bus.bready.eq(self.write), bus.rready.eq(~self.write)]
        with m.Elif(self.done):
            m.d.sync += [bus.bready.eq(0), bus.rready.eq(0)]

        return m
