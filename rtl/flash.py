"""SPI flash on four data lines: requests become reads of consecutive bytes."""

from amaranth import Cat, Const, Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from celosia.config import MachineConfig
from celosia.flash_part import ASKING, FlashPart
from celosia.rtl.stream import StreamFIFO

__all__ = ["FlashBeat", "FlashPins", "FlashReader", "FlashRequest"]

#: Beats that are being read or wait to be taken.
_ANSWERS = 4
#: Each half of the mode bits: the next command is one like any other.
_MODE = 0xF
#: Commands that wake a part from power-down, and that reset it.
_RELEASE, _ENABLE_RESET, _RESET = 0xAB, 0x66, 0x99


class FlashPins(wiring.Signature):
    """Pins of a flash; levels are 1 when active. All outputs come from registers.

    `clk` rises with data that was there a cycle before, and falls at the next cycle at the
    earliest. `dq_i` is taken as `clk` falls, two cycles after it fell for what is read then.
    """

    def __init__(self) -> None:
        super().__init__({
            "cs": Out(1),
            "clk": Out(1),
            "dq_o": Out(4),
            "dq_oe": Out(1),
            "dq_i": In(4),
        })


class FlashRequest(data.Struct):
    """A burst: its first beat, counted from address 0 of the machine; beats less one; a tag."""

    beat: 30
    more: 8
    tag: 2


class FlashBeat(data.StructLayout):
    """A beat of a burst, with the burst's tag; `outside` if there is nothing at its address."""

    def __init__(self, config: MachineConfig) -> None:
        super().__init__({"word": 8 * config.memory_width, "tag": 2, "last": 1, "outside": 1})


def _command(value: bytes) -> int:
    """Return what the four lines show while the lowest of them sends bytes, the first one lowest.

    The other lines stay high: they are write protection and hold until the part has four lines.
    """
    bits = [byte >> bit & 1 for byte in value for bit in range(7, -1, -1)]
    return sum((0b1110 | bit) << 4 * n for n, bit in enumerate(bits))


class FlashReader(wiring.Component):
    """Reads bursts of a flash in the order of their requests.

    The flash's clock is half of the machine's, so a beat takes four cycles a byte. A burst that
    begins where the one before ended goes on without a gap if it was there in time; else, and at
    any other address, the part is asked anew. The clock stands still while beats are not taken or
    nothing is wanted. From a request to its first beat, with the part not selected:
    `2 · (16 + dummy) + 4 · memory_width + 4` cycles.

    After a reset the part is brought into a known state, whatever it was left in: mode bits of four
    and of two lines that may be expected are sent, power-down is ended, the part is reset, its
    four lines are switched on. Requests wait for that.

    Parameters
    ----------
    config : MachineConfig
        With flash memory: what lies at which address, and the memory width.
    part : FlashPart, optional
        Its flash; by default that of the configuration.

    Members
    -------
    requests : In(stream.Signature(FlashRequest))
        Bursts; none crosses a multiple of 4096 bytes.
    beats : Out(stream.Signature(FlashBeat(config)))
        Their beats.
    pins : Out(FlashPins())
        The part.
    """

    requests: stream.Interface
    beats: stream.Interface
    pins: wiring.PureInterface

    def __init__(self, config: MachineConfig, part: FlashPart | None = None) -> None:
        self.config = config
        self.part = part or config.flash
        super().__init__({
            "requests": In(stream.Signature(FlashRequest)),
            "beats": Out(stream.Signature(FlashBeat(config))),
            "pins": Out(FlashPins()),
        })

    def _frames(self) -> list[tuple[int, int, int]]:
        """Return what wakes the part: clocks, levels of the lines in them, cycles to wait then.

        Of the last frames one reads the status, those behind it are for parts that lack the bit.
        """
        part = self.part
        apart = part.cycles(part.deselect)
        frames = [(clocks, (1 << 4 * clocks) - 1, apart) for clocks in (8, 16)]
        frames += [(8, _command(bytes([_RELEASE])), part.cycles(part.release))]
        frames += [(8, _command(bytes([_ENABLE_RESET])), apart)]
        frames += [(8, _command(bytes([_RESET])), part.cycles(part.reset))]
        frames += [(16, _command(bytes([part.status])), apart)]
        waits = [*[apart] * (len(part.quad_enable) - 1), part.cycles(part.write)]
        commands = zip(part.quad_enable, waits, strict=True)
        return frames + [(8 * len(one), _command(one), wait) for one, wait in commands]

    def elaborate(self, platform) -> Module:
        m = Module()
        part, pins, width = self.part, self.pins, self.config.memory_width
        frames = self._frames()

        take = Signal()  # the next burst becomes the current one
        burst, known, follows, outside = self._next(m, take)
        current = Signal(FlashRequest, reset_less=True)
        active = Signal()  # some of it is still to be read
        asked = Signal()  # a beat begins
        got = Signal()  # a beat ends
        refuse = Signal()  # it is outside
        words = Signal(8 * width, reset_less=True)
        free = self._answer(m, current, words, asked=asked, got=got, outside=refuse)

        first = part.cycles(part.power_up)
        left = Signal(range(max(first, *(wait for *_, wait in frames)) + 1), init=first)
        frame = Signal(range(len(frames) + 1))
        starting = Signal(init=1)
        after = Signal.like(left, init=0)  # cycles to wait behind this frame
        out = Signal(4 * ASKING, reset_less=True)
        clocks = Signal(range(ASKING + part.dummy + 1))
        nibble = Signal(range(2 * width))
        held = Signal(4, reset_less=True)
        heard = Signal(range(max(9, part.dummy + 1)))  # last clocks of a frame: the part's turn
        status = Signal(8, reset_less=True)
        asking = len(frames) - len(part.quad_enable) - 1  # frame that reads the status
        m.d.comb += pins.dq_o.eq(out[:4])

        address = Cat(Const(0, exact_log2(width)), burst.beat)[:24]
        high_first = [address[4 * n : 4 * n + 4] for n in range(5, -1, -1)]
        read = Cat(
            Const(_command(bytes([part.read])), 32), *high_first, Const(_MODE, 4).replicate(2)
        )

        with m.FSM():
            with m.State("WAIT"):
                m.d.sync += left.eq(left - 1)
                with m.If(left == 0):
                    m.next = "IDLE"
                    with m.If(starting):
                        m.next = "START"
            with m.State("START"):
                with m.Switch(frame):
                    for number, (count, levels, wait) in enumerate(frames):
                        with m.Case(number):
                            m.d.sync += [out.eq(levels), clocks.eq(count), after.eq(wait)]
                            m.d.sync += heard.eq(8 if number == asking else 0)
                with m.If((frame == asking + 1) & status[part.quad_bit]):
                    m.d.sync += frame.eq(len(frames))
                with m.Elif(frame == len(frames)):
                    m.d.sync += [starting.eq(0), after.eq(part.cycles(part.deselect))]
                    m.next = "IDLE"
                with m.Else():
                    m.d.sync += [frame.eq(frame + 1), pins.cs.eq(1), pins.dq_oe.eq(1)]
                    m.next = "SHIFT"
            with m.State("IDLE"):
                m.d.comb += take.eq(known)
                with m.If(known & outside):
                    m.next = "REFUSE"
                with m.Elif(known):
                    m.d.sync += [out.eq(read), clocks.eq(ASKING + part.dummy), active.eq(1)]
                    m.d.sync += heard.eq(part.dummy)
                    m.d.sync += [pins.cs.eq(1), pins.dq_oe.eq(1)]
                    m.next = "SHIFT"
            with m.State("SHIFT"):
                m.d.sync += pins.clk.eq(~pins.clk)
                with m.If(pins.clk):
                    m.d.sync += [out.eq(out >> 4), clocks.eq(clocks - 1)]
                    m.d.sync += status.eq(Cat(pins.dq_i[1], status[:7]))
                    with m.If(clocks == heard + 1):
                        m.d.sync += pins.dq_oe.eq(0)
                    with m.If(clocks == 1):
                        m.next = "READ"
                        with m.If(starting):
                            m.d.sync += [pins.cs.eq(0), pins.dq_oe.eq(0), left.eq(after)]
                            m.next = "WAIT"
            with m.State("READ"):
                with m.If(pins.clk):
                    m.d.sync += [pins.clk.eq(0), held.eq(pins.dq_i), nibble.eq(nibble + 1)]
                    with m.If(nibble[0]):
                        m.d.sync += words.eq(Cat(words[8:], pins.dq_i, held))
                    with m.If(nibble == 2 * width - 1):
                        m.d.comb += got.eq(1)
                        m.d.sync += current.more.eq(current.more - 1)
                        with m.If(current.more == 0):
                            m.d.comb += take.eq(known & follows)
                            m.d.sync += active.eq(take)
                with m.Elif(active):
                    with m.If((nibble != 0) | (free != 0)):
                        m.d.comb += asked.eq(nibble == 0)
                        m.d.sync += pins.clk.eq(1)
                with m.Elif(known & follows):
                    m.d.comb += take.eq(1)
                    m.d.sync += active.eq(1)
                with m.Elif(known):
                    m.d.sync += [pins.cs.eq(0), left.eq(after)]
                    m.next = "WAIT"
            with m.State("REFUSE"):
                m.d.comb += refuse.eq(1)
                with m.If(free != 0):
                    m.d.comb += [asked.eq(1), got.eq(1)]
                    m.d.sync += current.more.eq(current.more - 1)
                    with m.If(current.more == 0):
                        m.next = "IDLE"
        with m.If(take):
            m.d.sync += current.eq(burst)

        return m

    def _next(self, m: Module, take: Signal) -> tuple[Signal, Signal, Signal, Signal]:
        """Keep the next burst at hand, counted in beats of the part.

        Returns
        -------
        burst, known, follows, outside : Signal
            The burst; that it is there; that it begins where the one taken before ended; that
            there is nothing at its address.
        """
        width = self.config.memory_width
        burst = Signal(FlashRequest, reset_less=True)
        end = Signal(30, reset_less=True)
        valid, known, follows, outside = (
            Signal(name=f"next_{name}") for name in ("valid", "known", "follows", "outside")
        )
        moved = (self.config.flash_offset - self.config.flash_base) // width
        m.d.comb += self.requests.ready.eq(~valid)
        m.d.sync += [
            known.eq(valid & ~take),
            follows.eq((burst.beat == end) & ~outside),
        ]
        with m.If(take):
            m.d.sync += [valid.eq(0), end.eq(burst.beat + burst.more + 1)]
        with m.If(~valid):
            m.d.sync += [
                valid.eq(self.requests.valid),
                burst.eq(self.requests.payload),
                burst.beat.eq(self.requests.p.beat + moved),
                outside.eq(self.requests.p.beat >= self.config.memory_bytes // width),
            ]
        return burst, known, follows, outside

    def _answer(
        self, m: Module, current: Signal, words: Signal, *, asked: Value, got: Value, outside: Value
    ) -> Signal:
        """Queue the beats, whose words are there a cycle after `got`; return the room left."""
        m.submodules.answers = answers = StreamFIFO(FlashBeat(self.config), _ANSWERS)
        free = Signal(range(_ANSWERS + 1), init=_ANSWERS)
        m.d.sync += [
            free.eq(free - asked + (self.beats.valid & self.beats.ready)),
            answers.i.valid.eq(got),
            answers.i.p.tag.eq(current.tag),
            answers.i.p.last.eq(current.more == 0),
            answers.i.p.outside.eq(outside),
        ]
        m.d.comb += answers.i.p.word.eq(words)
        connect(m, answers.o, flipped(self.beats))
        return free
