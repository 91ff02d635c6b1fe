"""AXI4 of narrow beats on a memory of wide ones: as few of these as the bursts touch."""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from celosia.config import MachineConfig
from celosia.rtl.axi import AXI4, AXI4Lines
from celosia.rtl.stream import StreamFIFO

__all__ = ["AXI4Widener"]

#: Bursts of each kind that may be under way.
OUTSTANDING = 16


class AXI4Widener(wiring.Component):
    """Turns bursts of `config.memory_width` bytes a beat into bursts of lines.

    Bursts are incrementing and of full beats, as a machine makes them. What is read is taken from
    its line lane by lane; what is written is put together, and a line is sent with the last beat
    that belongs to it. Both go on at a beat each cycle. With lines as wide as the beats everything
    passes as it is.

    Parameters
    ----------
    config : MachineConfig
        The machine.
    line_bytes : int
        Bytes of a line, a power of two, at least the memory width.

    Members
    -------
    narrow : In(AXI4(config))
        The machine.
    wide : Out(AXI4Lines(line_bytes))
        Memory.
    """

    narrow: wiring.PureInterface
    wide: wiring.PureInterface

    def __init__(self, config: MachineConfig, line_bytes: int) -> None:
        self.width = config.memory_width
        self.ratio = line_bytes // self.width
        self.beat_bits = exact_log2(self.width)
        self.line_bits = exact_log2(line_bytes)
        super().__init__({"narrow": In(AXI4(config)), "wide": Out(AXI4Lines(line_bytes))})

    def elaborate(self, platform) -> Module:
        m = Module()
        if self.ratio == 1:
            connect(m, flipped(self.narrow), flipped(self.wide))
            return m
        self._read(m, self._addresses(m, "ar"))
        self._write(m, self._addresses(m, "aw"))
        return m

    def _addresses(self, m: Module, channel: str) -> StreamFIFO:
        """Pass bursts on as bursts of lines; return a queue of their first lanes and lengths."""
        names = ("addr", "len", "size", "burst", "id", "valid", "ready")
        address, length, _, burst, tag, valid, ready = (
            getattr(self.narrow, channel + name) for name in names
        )
        to_address, to_length, size, to_burst, to_tag, to_valid, to_ready = (
            getattr(self.wide, channel + name) for name in names
        )
        shape = data.StructLayout({"lane": range(self.ratio), "length": 8})
        m.submodules[f"{channel}_bursts"] = bursts = StreamFIFO(shape, OUTSTANDING)
        lane = address[self.beat_bits : self.line_bits]
        m.d.comb += [
            to_address[self.line_bits :].eq(address[self.line_bits :]),
            to_length.eq((length + lane) >> (self.line_bits - self.beat_bits)),
            size.eq(self.line_bits),
            to_burst.eq(burst),
            to_tag.eq(tag),
            to_valid.eq(valid & bursts.i.ready),
            ready.eq(to_ready & bursts.i.ready),
            bursts.i.valid.eq(valid & to_ready),
            bursts.i.p.lane.eq(lane),
            bursts.i.p.length.eq(length),
        ]
        return bursts

    def _beats(self, m: Module, bursts: StreamFIFO, moved: Signal) -> tuple[Signal, Signal]:
        """Return the lane of the beat at hand, and whether it is the last of its burst."""
        count, lane, last = Signal(8), Signal(range(self.ratio)), Signal()
        begun = Signal.like(lane)  # the next lane, within a burst
        m.d.comb += [
            lane.eq(Mux(count == 0, bursts.o.p.lane, begun)),
            last.eq(count == bursts.o.p.length),
            bursts.o.ready.eq(moved & last),
        ]
        with m.If(moved):
            m.d.sync += [count.eq(Mux(last, 0, count + 1)), begun.eq(lane + 1)]
        return lane, last

    def _read(self, m: Module, bursts: StreamFIFO) -> None:
        narrow, wide = self.narrow, self.wide
        moved = Signal()
        lane, last = self._beats(m, bursts, moved)
        words = data.View(data.ArrayLayout(8 * self.width, self.ratio), wide.rdata)
        m.d.comb += [
            narrow.rvalid.eq(wide.rvalid & bursts.o.valid),
            moved.eq(narrow.rvalid & narrow.rready),
            wide.rready.eq(moved & (last | lane.all())),
            narrow.rdata.eq(words[lane]),
            narrow.rlast.eq(last),
            narrow.rresp.eq(wide.rresp),
            narrow.rid.eq(wide.rid),
        ]

    def _write(self, m: Module, bursts: StreamFIFO) -> None:
        narrow, wide = self.narrow, self.wide
        moved = Signal()
        lane, last = self._beats(m, bursts, moved)
        words = data.View(data.ArrayLayout(8 * self.width, self.ratio), wide.wdata)
        strobes = data.View(data.ArrayLayout(self.width, self.ratio), wide.wstrb)
        leaves = Signal()
        m.d.comb += [
            leaves.eq(wide.wvalid & wide.wready),
            narrow.wready.eq(bursts.o.valid & (~wide.wvalid | wide.wready)),
            moved.eq(narrow.wvalid & narrow.wready),
            narrow.bvalid.eq(wide.bvalid),
            wide.bready.eq(narrow.bready),
            narrow.bresp.eq(wide.bresp),
            narrow.bid.eq(wide.bid),
        ]
        with m.If(leaves):
            m.d.sync += [wide.wvalid.eq(0), wide.wstrb.eq(0)]
        with m.If(moved):
            m.d.sync += [
                words[lane].eq(narrow.wdata),
                strobes[lane].eq(narrow.wstrb),
                wide.wvalid.eq(last | lane.all()),
                wide.wlast.eq(last),
            ]
