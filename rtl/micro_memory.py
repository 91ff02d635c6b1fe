"""Memory of a microprogrammed machine: on the chip, and perhaps a flash behind it."""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from celosia.config import MachineConfig
from celosia.cores.single_port import SinglePortMemory
from celosia.rtl.flash import FlashPins, FlashReader
from celosia.rtl.micro_core import MicroRequest
from celosia.rtl.on_chip import HostAccess

__all__ = ["MicroMemory"]


class MicroMemory(wiring.Component):
    """Serves one access at a time: the machine's first, then the host's.

    Writes must be on the chip, and bursts lie in one of both. Beats of the chip come every second
    cycle. What the host reads beyond the end has any value, and what it writes there, or to the
    flash, is lost. While a burst is under way the host waits.

    Parameters
    ----------
    config : MachineConfig
        With memory on the chip, of beats of 4 bytes, and a flash or none.

    Members
    -------
    requests, beats : In(stream.Signature(MicroRequest)), Out(stream.Signature(32))
        The machine's accesses, and what it has read.
    host, host_data : In(stream.Signature(HostAccess)), Out(stream.Signature(32))
        The host's, each of which is answered.
    pins : Out(FlashPins())
        The flash, if there is one.
    """

    requests: stream.Interface
    beats: stream.Interface
    host: stream.Interface
    host_data: stream.Interface

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        ports = {
            "requests": In(stream.Signature(MicroRequest)),
            "beats": Out(stream.Signature(32)),
            "host": In(stream.Signature(HostAccess)),
            "host_data": Out(stream.Signature(32)),
        }
        if config.memory == "flash":
            ports["pins"] = Out(FlashPins())
        super().__init__(ports)

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self.config
        depth = config.on_chip_bytes // 4
        m.submodules.storage = storage = SinglePortMemory(depth)
        request, access = self.requests.p, self.host.p
        beat = Signal(30, reset_less=True)
        more = Signal(8, reset_less=True)
        # Where each asks, there is no memory on the chip.
        request_beyond, access_beyond = (
            port.address >= config.on_chip_bytes for port in (request, access)
        )
        m.d.comb += [
            storage.address.eq(beat),
            self.beats.payload.eq(storage.o),
            self.host_data.payload.eq(storage.o),
        ]
        flash = FlashReader(config) if config.memory == "flash" else None
        if flash is not None:
            m.submodules.flash = flash
            connect(m, flash.pins, flipped(self.pins))
            m.d.comb += [
                flash.requests.p.beat.eq(beat),
                flash.requests.p.more.eq(more),
            ]

        for_host = Signal()
        with m.FSM():
            with m.State("IDLE"):
                with m.If(self.requests.valid):
                    m.d.comb += [
                        self.requests.ready.eq(1),
                        storage.address.eq(request.address[2:]),
                        storage.i.eq(request.data),
                        storage.write.eq(request.write),
                        storage.enable.eq(request.write.any()),
                    ]
                    m.d.sync += [
                        beat.eq(request.address[2:]),
                        more.eq(request.more),
                        for_host.eq(0),
                    ]
                    with m.If(~request.write.any()):
                        m.next = "ASK"
                        if flash is not None:
                            with m.If(request_beyond):
                                m.next = "ASK FLASH"
                with m.Elif(self.host.valid):
                    m.d.comb += [
                        self.host.ready.eq(1),
                        storage.address.eq(access.address[2:]),
                        storage.i.eq(access.data),
                        storage.write.eq(access.write.replicate(4)),
                        storage.enable.eq(access.write & ~access_beyond),
                    ]
                    m.d.sync += [beat.eq(access.address[2:]), more.eq(0), for_host.eq(1)]
                    m.next = "ASK"
                    if flash is not None:
                        with m.If(access_beyond & ~access.write):
                            m.next = "ASK FLASH"
            with m.State("ASK"):
                m.d.comb += storage.enable.eq(1)
                m.next = "BEAT"
            with m.State("BEAT"):
                m.d.comb += [self.beats.valid.eq(~for_host), self.host_data.valid.eq(for_host)]
                with m.If(Mux(for_host, self.host_data.ready, self.beats.ready)):
                    m.d.sync += [beat.eq(beat + 1), more.eq(more - 1)]
                    m.next = "ASK"
                    with m.If(more == 0):
                        m.next = "IDLE"
            if flash is not None:
                with m.State("ASK FLASH"):
                    m.d.comb += flash.requests.valid.eq(1)
                    with m.If(flash.requests.ready):
                        m.next = "FLASH"
                with m.State("FLASH"):
                    beats = flash.beats
                    m.d.comb += [
                        self.beats.payload.eq(beats.p.word),
                        self.host_data.payload.eq(beats.p.word),
                        self.beats.valid.eq(beats.valid & ~for_host),
                        self.host_data.valid.eq(beats.valid & for_host),
                        beats.ready.eq(Mux(for_host, self.host_data.ready, self.beats.ready)),
                    ]
                    with m.If(beats.valid & beats.ready & beats.p.last):
                        m.next = "IDLE"
        return m
