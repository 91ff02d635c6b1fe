"""Frames of the serial bridge: bytes with escapes and a CRC on one side, words on the other."""

from typing import Any

from amaranth import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.crc import catalog
from amaranth.lib.wiring import In, Out

__all__ = [
    "END",
    "ESCAPE",
    "ESCAPED_END",
    "ESCAPED_ESCAPE",
    "Digest",
    "FrameReader",
    "FrameWord",
    "FrameWriter",
]

#: Bytes of the code of RFC 1055.
END = 0xC0
ESCAPE = 0xDB
ESCAPED_END = 0xDC
ESCAPED_ESCAPE = 0xDD

#: As in Ethernet and zlib. The stubs leave out `amaranth.lib.crc`, whose own types are not theirs.
_CRC: Any = catalog.CRC32_ETHERNET(data_width=8)


class FrameWord(data.Struct):
    """Word of a frame to be sent."""

    word: 32
    last: 1


class FrameReader(wiring.Component):
    """Words of the frames in a stream of bytes.

    The words are offered as they come; whether their frame is sound is known at its end. A frame
    is sound if its CRC is right and it is made of 3 to `limit` whole words, the CRC included. The
    others end without a word about it. One byte per cycle.

    Parameters
    ----------
    limit : int
        Most words of a frame.

    Members
    -------
    i : In(stream.Signature(8))
        Bytes.
    enable : In(1)
        Whether bytes are taken.
    word : Out(32)
        Last word that was complete; after a sound frame, its CRC.
    word_valid : Out(1)
        Set for the one cycle in which `word` is new.
    index : Out(range(limit + 1))
        Index of that word in its frame.
    done : Out(1)
        Set for one cycle at the end of a sound frame; `index` is then that of the CRC.
    """

    i: stream.Interface
    enable: Signal
    word: Signal
    word_valid: Signal
    index: Signal
    done: Signal

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__({
            "i": In(stream.Signature(8)),
            "enable": In(1),
            "word": Out(32),
            "word_valid": Out(1),
            "index": Out(range(limit + 1)),
            "done": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.crc = crc = _CRC.create()

        taken, is_end, is_byte, escaped = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(self.enable),
            taken.eq(self.i.valid & self.i.ready),
            is_end.eq(taken & (self.i.payload == END)),
            is_byte.eq(taken & (self.i.payload != END) & (self.i.payload != ESCAPE)),
        ]
        with m.If(taken):
            m.d.sync += escaped.eq(self.i.payload == ESCAPE)
        byte = Signal(8)
        m.d.comb += byte.eq(self.i.payload)
        with m.If(escaped & (self.i.payload == ESCAPED_END)):
            m.d.comb += byte.eq(END)
        with m.If(escaped & (self.i.payload == ESCAPED_ESCAPE)):
            m.d.comb += byte.eq(ESCAPE)

        # One more than `limit` words stand for any larger number.
        count = Signal(range(4))
        length = Signal(range(self.limit + 2))
        size_allowed = Signal()
        m.d.comb += [
            crc.start.eq(is_end),
            crc.data.eq(byte),
            crc.valid.eq(is_byte),
            size_allowed.eq((length >= 3) & (length <= self.limit) & (count == 0)),
            self.done.eq(is_end & crc.match_detected & size_allowed),
        ]
        m.d.sync += self.word_valid.eq(is_byte & (count == 3) & (length < self.limit))
        with m.If(is_end):
            m.d.sync += [count.eq(0), length.eq(0)]
        with m.Elif(is_byte):
            m.d.sync += [self.word.eq(Cat(self.word[8:], byte)), count.eq(count + 1)]
            with m.If((count == 3) & (length <= self.limit)):
                m.d.sync += [self.index.eq(length), length.eq(length + 1)]

        return m


class FrameWriter(wiring.Component):
    """Stream of bytes made of the words of frames.

    Each frame gets a leading `END`, so that the noise before it becomes a frame of its own, its
    CRC and a trailing `END`. It takes a word in the cycle that sends its last byte, and at most a
    byte per cycle leaves, two cycles for one that must be escaped.

    Members
    -------
    i : In(stream.Signature(FrameWord))
        Words of frames.
    o : Out(stream.Signature(8))
        Bytes.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self) -> None:
        super().__init__({"i": In(stream.Signature(FrameWord)), "o": Out(stream.Signature(8))})

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.crc = crc = _CRC.create()

        count = Signal(range(4))
        word, byte = Signal(32), Signal(8)
        escaped = Signal()
        sending = Signal()  # a byte of the frame, not an END
        sent = Signal()  # and that byte is complete
        m.d.comb += [
            byte.eq(word.word_select(count, 8)),
            self.o.payload.eq(END),
            sent.eq(sending & self.o.ready),
            crc.data.eq(byte),
            crc.valid.eq(sent),
        ]
        with m.If(sending):
            m.d.comb += self.o.payload.eq(byte)
            with m.Switch(byte):
                for special, code in ((END, ESCAPED_END), (ESCAPE, ESCAPED_ESCAPE)):
                    with m.Case(special):
                        with m.If(escaped):
                            m.d.comb += self.o.payload.eq(code)
                        with m.Else():
                            m.d.comb += [self.o.payload.eq(ESCAPE), sent.eq(0)]
            with m.If(self.o.ready):
                m.d.sync += escaped.eq(~sent)
        with m.If(sent):
            m.d.sync += count.eq(count + 1)

        word_sent = Signal()
        m.d.comb += word_sent.eq(sent & (count == 3))
        with m.FSM():
            with m.State("BEGIN"):
                m.d.comb += [self.o.valid.eq(self.i.valid), crc.start.eq(1)]
                with m.If(self.i.valid & self.o.ready):
                    m.next = "WORDS"
            with m.State("WORDS"):
                m.d.comb += [
                    word.eq(self.i.p.word),
                    self.o.valid.eq(self.i.valid),
                    sending.eq(self.i.valid),
                    self.i.ready.eq(word_sent),
                ]
                with m.If(word_sent & self.i.p.last):
                    m.next = "CRC"
            with m.State("CRC"):
                m.d.comb += [
                    word.eq(crc.crc),
                    self.o.valid.eq(1),
                    sending.eq(1),
                    crc.valid.eq(0),  # it must not change while it is sent
                ]
                with m.If(word_sent):
                    m.next = "FINISH"
            with m.State("FINISH"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "BEGIN"

        return m


class Digest(wiring.Component):
    """CRC-32 of words, the least significant byte of each first.

    A word takes four cycles.

    Members
    -------
    start : In(1)
        Begin with no word.
    word : In(32)
        Next word.
    valid : In(1)
        Whether there is one; only while not `busy`.
    busy : Out(1)
        Whether bytes are still to come; `crc` is that of all words when it is 0.
    crc : Out(32)
        The CRC.
    """

    start: Signal
    word: Signal
    valid: Signal
    busy: Signal
    crc: Signal

    def __init__(self) -> None:
        super().__init__({
            "start": In(1),
            "word": In(32),
            "valid": In(1),
            "busy": Out(1),
            "crc": Out(32),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.crc = crc = _CRC.create()
        left, rest = Signal(range(5)), Signal(32)
        m.d.comb += [
            self.busy.eq(left != 0),
            self.crc.eq(crc.crc),
            crc.start.eq(self.start),
            crc.data.eq(rest),
            crc.valid.eq(self.busy),
        ]
        with m.If(self.valid):
            m.d.sync += [rest.eq(self.word), left.eq(4)]
        with m.Elif(self.busy):
            m.d.sync += [rest.eq(rest[8:]), left.eq(left - 1)]
        return m
