"""Host bridge: framed requests over a serial line become accesses of an AXI4-Lite bus.

The protocol
------------
Everything is made of words of 32 bits, least significant byte first. A frame is its words and
their CRC-32 (that of Ethernet and zlib), coded as in SLIP (RFC 1055): the byte 0xC0 begins and
ends a frame, and inside one it is sent as 0xDB 0xDC, and 0xDB as 0xDB 0xDD.

A request is ``operation | sequence << 8 | count << 16``, ``address``, and for a write ``count``
words of data; a reply is ``status | sequence << 8 | count << 16``, and for a read ``count`` words
of data. Addresses count bytes, and go up by 4 from word to word. Operations and statuses are those
of `Operation` and `ReplyStatus`; `count` is at most `BLOCK_WORDS`, and 0 is a mere question whether
anybody is there. `count` of a reply says how many words were moved before an error.

The host sends one request at a time and waits for its reply:

- A frame with a wrong CRC or length is dropped without a reply, and nothing of it is executed:
  frames are executed only after their end. The host sends the request again after a while.
- The host gives the next request another sequence number, and ignores replies with a wrong one.
- A write may arrive twice because its reply was lost. One that is equal to the last frame executed,
  sequence number and CRC included, is only answered again. So writes are executed once, even
  where writing twice would do something else. A read makes the bridge forget the last write; a
  host that begins with a read cannot meet the leavings of an earlier one.
- Noise, and requests that come while another one is executed, can only damage the frame they
  meet: the next 0xC0 begins anew. There are no time limits on this side.
"""

from enum import IntEnum

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from celosia.rtl.axi import AXI4Lite
from celosia.rtl.bridge_frames import FrameReader, FrameWord, FrameWriter
from celosia.rtl.stream import SkidBuffer
from celosia.rtl.uart import UARTReceiver, UARTTransmitter

__all__ = ["BLOCK_WORDS", "Operation", "ReplyStatus", "SerialBridge", "UARTBridge"]

#: Most words that one request moves; with the CRC they fit one block RAM.
BLOCK_WORDS = 256


class Operation(IntEnum):
    """What a request asks for."""

    READ = 1
    WRITE = 2


class ReplyStatus(IntEnum):
    """What became of a request."""

    OK = 0x80
    #: The request is not one of this protocol: operation, count, length or alignment.
    REFUSED = 0x81
    #: The bus answered a word with an error; the words before it were moved.
    BUS_ERROR = 0x82


class Header(data.Struct):
    """First word of requests and replies."""

    code: 8
    sequence: 8
    count: 16


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


class SerialBridge(wiring.Component):
    """Manager of an AXI4-Lite bus that executes requests from a byte stream.

    It takes a byte per cycle while it waits for a request, and none while it executes one: three
    cycles per word and what the bus takes. Then it sends the reply, at most a byte per cycle.

    Members
    -------
    i : In(stream.Signature(8))
        Requests.
    o : Out(stream.Signature(8))
        Replies.
    bus : Out(AXI4Lite())
        Where requests are executed.
    """

    i: stream.Interface
    o: stream.Interface
    bus: wiring.PureInterface

    def __init__(self) -> None:
        super().__init__({
            "i": In(stream.Signature(8)),
            "o": Out(stream.Signature(8)),
            "bus": Out(AXI4Lite()),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.reader = reader = FrameReader(BLOCK_WORDS + 3)
        m.submodules.words = words = memory.Memory(shape=32, depth=BLOCK_WORDS + 1, init=[])
        m.submodules.access = access = WordAccess()
        m.submodules.writer = writer = FrameWriter()
        m.submodules.reply = reply = SkidBuffer(FrameWord)
        read, write = words.read_port(), words.write_port()
        connect(m, flipped(self.i), reader.i)
        connect(m, access.bus, flipped(self.bus))
        connect(m, reply.o, writer.i)
        connect(m, writer.o, flipped(self.o))

        # The stubs take the signal of a structure for a plain one.
        header: Header
        header, status = Signal(Header), Signal(ReplyStatus, init=ReplyStatus.OK)  # pyright: ignore[reportAssignmentType]
        index, is_write = Signal(range(BLOCK_WORDS + 1)), Signal()
        # Behind a register of its own: block RAM answers late in the cycle.
        word = Signal(32)
        m.d.sync += word.eq(read.data)
        m.d.comb += [
            is_write.eq(header.code == Operation.WRITE),
            access.write.eq(is_write),
            access.data.eq(word),
            read.addr.eq(index),
            reply.i.p.word.eq(Cat(status, header.sequence, header.count)),
        ]
        _keep_words(m, reader, write, header, access.address)
        with m.If(access.done & ~is_write):
            m.d.comb += [write.addr.eq(index), write.data.eq(access.result), write.en.eq(1)]

        # What became of the last write, by its CRC.
        last, last_valid, outcome = Signal(32), Signal(), Signal.like(Cat(status, header.count))
        with m.FSM():
            with m.State("RECEIVE"):
                m.d.comb += reader.enable.eq(1)
                m.d.sync += [index.eq(0), status.eq(ReplyStatus.OK)]
                with m.If(reader.done):
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.next = "REPLY"
                with m.If(_refuses(reader, header, access.address)):
                    m.d.sync += [status.eq(ReplyStatus.REFUSED), header.count.eq(0)]
                with m.Elif(is_write & last_valid & (last == reader.word)):
                    m.d.sync += Cat(status, header.count).eq(outcome)
                with m.Else():
                    m.next = "STEP"
            with m.State("STEP"):
                # Meanwhile the memory reads the word that may have to be written.
                m.next = "START"
                with m.If(index == header.count):
                    m.d.sync += [
                        last.eq(reader.word),
                        last_valid.eq(is_write),
                        outcome.eq(Cat(status, header.count)),
                        index.eq(0),
                    ]
                    m.next = "REPLY"
            with m.State("START"):
                m.d.comb += access.start.eq(1)
                m.next = "ACCESS"
            with m.State("ACCESS"):
                with m.If(access.done):
                    m.next = "STEP"
                    with m.If(access.error):
                        m.d.sync += [status.eq(ReplyStatus.BUS_ERROR), header.count.eq(index)]
                    with m.Else():
                        m.d.sync += [
                            index.eq(index + 1),
                            access.address.eq(access.address + 4),
                        ]
            with m.State("REPLY"):
                m.d.comb += [
                    reply.i.p.last.eq(is_write | (header.count == 0)),
                    reply.i.valid.eq(1),
                ]
                with m.If(reply.i.ready):
                    m.next = "FETCH"
                    with m.If(reply.i.p.last):
                        m.next = "RECEIVE"
            with m.State("FETCH"):
                m.next = "ARRIVE"
            with m.State("ARRIVE"):
                m.next = "DATA"
            with m.State("DATA"):
                m.d.comb += [
                    reply.i.p.word.eq(word),
                    reply.i.p.last.eq(index + 1 == header.count),
                    reply.i.valid.eq(1),
                ]
                with m.If(reply.i.ready):
                    m.d.sync += index.eq(index + 1)
                    m.next = "FETCH"
                    with m.If(reply.i.p.last):
                        m.next = "RECEIVE"

        return m


def _keep_words(m: Module, reader: FrameReader, write, header: Header, address: Signal) -> None:
    """Keep the two words of a request's header; the others lie in the memory from 0."""
    m.d.comb += [write.addr.eq(reader.index - 2), write.data.eq(reader.word)]
    with m.If(reader.word_valid):
        with m.Switch(reader.index):
            with m.Case(0):
                m.d.sync += header.eq(reader.word)
            with m.Case(1):
                m.d.sync += address.eq(reader.word)
            with m.Default():
                m.d.comb += write.en.eq(1)


def _refuses(reader: FrameReader, header: Header, address: Signal) -> Value:
    """Say whether a sound frame is not a request of the protocol."""
    is_write = header.code == Operation.WRITE
    words = Mux(is_write, header.count, 0)
    return (
        ((header.code != Operation.READ) & ~is_write)
        | (header.count > BLOCK_WORDS)
        | (reader.index != words + 2)
        | address[:2].any()
    )


class UARTBridge(wiring.Component):
    """Manager of an AXI4-Lite bus at the end of a serial line.

    Parameters
    ----------
    divisor : int
        Clock cycles of one bit, at least 4.

    Members
    -------
    rx : In(1)
        Line from the host, of any clock.
    tx : Out(1)
        Line to the host.
    bus : Out(AXI4Lite())
        Where requests are executed.
    """

    rx: Signal
    tx: Signal
    bus: wiring.PureInterface

    def __init__(self, divisor: int) -> None:
        self.divisor = divisor
        # The stubs know only the old name of `init`.
        super().__init__({
            "rx": In(1, init=1),  # pyright: ignore[reportCallIssue]
            "tx": Out(1, init=1),  # pyright: ignore[reportCallIssue]
            "bus": Out(AXI4Lite()),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.receiver = receiver = UARTReceiver(self.divisor)
        m.submodules.bridge = bridge = SerialBridge()
        m.submodules.transmitter = transmitter = UARTTransmitter(self.divisor)
        m.d.comb += [receiver.rx.eq(self.rx), self.tx.eq(transmitter.tx)]
        connect(m, receiver.o, bridge.i)
        connect(m, bridge.o, transmitter.i)
        connect(m, bridge.bus, flipped(self.bus))
        return m
