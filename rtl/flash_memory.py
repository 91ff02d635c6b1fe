"""Memory on the chip and a flash behind it, as one memory of machine and host."""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from celosia.config import MachineConfig
from celosia.flash_part import FlashPart
from celosia.rtl.axi import AXI4Read, AXI4Write
from celosia.rtl.flash import FlashPins, FlashReader
from celosia.rtl.on_chip import DECODE_ERROR, HostAccess, OnChipMemory
from celosia.rtl.stream import SkidBuffer, StreamFIFO

__all__ = ["FlashMemory"]


class _ReadBurst(data.Struct):
    """A burst of reads, and which memory it is of."""

    address: 32
    more: 8
    id: 1
    flash: 1


class FlashMemory(wiring.Component):
    """Memory on the chip at the addresses below `config.flash_base`, a flash from there on.

    Incrementing bursts of full beats that cross no multiple of 4096 bytes. Reads are answered in
    order, so those of the chip wait for the flash's that came before; writes go to the chip, and
    beats written elsewhere are answered with a decode error. The host reads all of it; what it
    writes into the flash is lost. Between its accesses and those of the machine its own come first
    at the flash, last at the memory on the chip.

    Parameters
    ----------
    config : MachineConfig
        With flash memory.
    part : FlashPart, optional
        Its flash; by default that of the configuration.

    Members
    -------
    read, write, host, host_data
        As `OnChipMemory` has them.
    pins : Out(FlashPins())
        The flash.
    """

    read: wiring.PureInterface
    write: wiring.PureInterface
    host: stream.Interface
    host_data: stream.Interface
    pins: wiring.PureInterface

    def __init__(self, config: MachineConfig, part: FlashPart | None = None) -> None:
        self.config = config
        self.part = part
        super().__init__({
            "read": In(AXI4Read(config)),
            "write": In(AXI4Write(config)),
            "host": In(stream.Signature(HostAccess)),
            "host_data": Out(stream.Signature(32)),
            "pins": Out(FlashPins()),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.on_chip = on_chip = OnChipMemory(self.config)
        m.submodules.flash = flash = FlashReader(self.config, self.part)
        connect(m, flipped(self.write), on_chip.write)
        connect(m, flash.pins, flipped(self.pins))

        self._ask(m, on_chip, flash, self._host(m, on_chip, flash))
        return m

    def _host(self, m: Module, on_chip: OnChipMemory, flash: FlashReader) -> Signal:
        """Take accesses of the host, one at a time; return whether one wants to ask the flash."""
        access = Signal(HostAccess, reset_less=True)
        in_flash = Signal()
        pending = Signal()
        asks = Signal()
        answered = Signal()
        m.d.comb += self.host.ready.eq(~pending)
        m.d.sync += answered.eq(0)
        with m.If(self.host.valid & ~pending):
            m.d.sync += [
                access.eq(self.host.payload),
                in_flash.eq(self.host.p.address >= self.config.flash_base),
                pending.eq(1),
                asks.eq(1),
            ]
        chip_asks, flash_asks = Signal(), Signal()
        m.d.comb += [
            chip_asks.eq(asks & (~in_flash | access.write)),
            flash_asks.eq(asks & in_flash & ~access.write),
            on_chip.host.valid.eq(chip_asks),
            on_chip.host.payload.eq(access),
        ]
        with m.If(Mux(chip_asks, on_chip.host.ready, flash_asks & flash.requests.ready)):
            m.d.sync += asks.eq(0)

        # The flash's answers to the host have the second bit of the tag.
        lanes = self.config.memory_width // 4
        lane = access.address[2 : exact_log2(self.config.memory_width)] if lanes > 1 else 0
        arrived = Signal()
        m.d.comb += [
            arrived.eq(flash.beats.valid & flash.beats.p.tag[1]),
            self.host_data.valid.eq(arrived | on_chip.host_data.valid),
            self.host_data.payload.eq(
                Mux(arrived, flash.beats.p.word.word_select(lane, 32), on_chip.host_data.payload)
            ),
            on_chip.host_data.ready.eq(self.host_data.ready & ~arrived),
        ]
        with m.If(self.host_data.valid & self.host_data.ready):
            m.d.sync += pending.eq(0)
        shift = exact_log2(self.config.memory_width)
        with m.If(flash_asks):
            m.d.comb += [
                flash.requests.p.beat.eq(access.address[shift:]),
                flash.requests.p.tag.eq(0b10),
            ]
        return flash_asks

    def _ask(self, m: Module, on_chip: OnChipMemory, flash: FlashReader, host_asks: Signal) -> None:
        """Send each burst to the memory of its address, and return the answers in order."""
        bus, chip = self.read, on_chip.read
        shift = exact_log2(self.config.memory_width)
        m.submodules.bursts = bursts = SkidBuffer(_ReadBurst)
        m.submodules.order = order = StreamFIFO(1, max(3, self.config.outstanding_reads))
        burst = bursts.o.p
        to_chip, to_flash = Signal(), Signal()
        m.d.comb += [
            bursts.i.valid.eq(bus.arvalid),
            bus.arready.eq(bursts.i.ready),
            bursts.i.p.address.eq(bus.araddr),
            bursts.i.p.more.eq(bus.arlen),
            bursts.i.p.id.eq(bus.arid),
            bursts.i.p.flash.eq(bus.araddr >= self.config.flash_base),
            to_chip.eq(bursts.o.valid & order.i.ready & ~burst.flash),
            to_flash.eq(bursts.o.valid & order.i.ready & burst.flash & ~host_asks),
            chip.arvalid.eq(to_chip),
            chip.araddr.eq(burst.address),
            chip.arlen.eq(burst.more),
            chip.arid.eq(burst.id),
            flash.requests.valid.eq(host_asks | to_flash),
            bursts.o.ready.eq((to_chip & chip.arready) | (to_flash & flash.requests.ready)),
            order.i.valid.eq(bursts.o.ready),
            order.i.payload.eq(burst.flash),
        ]
        with m.If(~host_asks):
            m.d.comb += [
                flash.requests.p.beat.eq(burst.address[shift:]),
                flash.requests.p.more.eq(burst.more),
                flash.requests.p.tag.eq(burst.id),
            ]

        # The memory whose turn it is answers; what the host gets goes by.
        beats = flash.beats
        for_host = beats.p.tag[1]
        flash_turn, chip_turn = Signal(), Signal()
        m.d.comb += [
            flash_turn.eq(order.o.valid & order.o.payload),
            chip_turn.eq(order.o.valid & ~order.o.payload),
            bus.rvalid.eq((flash_turn & beats.valid & ~for_host) | (chip_turn & chip.rvalid)),
            bus.rid.eq(Mux(flash_turn, beats.p.tag[0], chip.rid)),
            bus.rdata.eq(Mux(flash_turn, beats.p.word, chip.rdata)),
            bus.rlast.eq(Mux(flash_turn, beats.p.last, chip.rlast)),
            bus.rresp.eq(Mux(flash_turn, beats.p.outside * DECODE_ERROR, chip.rresp)),
            chip.rready.eq(chip_turn & bus.rready),
            beats.ready.eq(Mux(for_host, self.host_data.ready, flash_turn & bus.rready)),
            order.o.ready.eq(bus.rvalid & bus.rready & bus.rlast),
        ]
