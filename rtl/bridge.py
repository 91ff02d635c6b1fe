"""Host bridge: framed requests over a serial line become accesses of an AXI4-Lite bus.

The protocol
------------
Everything is made of words of 32 bits, least significant byte first. A frame is its words and
their CRC-32 (that of Ethernet and zlib), coded as in SLIP (RFC 1055): the byte 0xC0 begins and
ends a frame, and inside one it is sent as 0xDB 0xDC, and 0xDB as 0xDB 0xDD.

A request is ``operation | sequence << 8 | count << 16``, ``address``, and for a write ``count``
words of data; a reply is ``status | sequence << 8 | count << 16``, and for a read ``count`` words
of data, for a digest the CRC-32 of so many. Addresses count bytes, and go up by 4 from word to
word. Operations and statuses are those of `Operation` and `ReplyStatus`; `count` is at most
`BLOCK_WORDS`. `count` of a reply says how many words were moved before an error.

Requests are executed in the order of their sequence numbers, modulo 256, each once:

- A host begins with a SYNC, any number in it as `address` and `count`: it is a session if it
  differs from the last, and the next request has its sequence number + 1. Nothing else is executed
  before. The reply repeats `count`.
- It may send `WINDOW` requests without a reply. While one is executed, those behind it wait in a
  queue of `QUEUE_BYTES`, which hold so many reads, or what comes during a write.
- A frame with a wrong CRC or length is dropped without a reply, and nothing of it is executed:
  frames are executed only after their end. A request that comes too early is dropped as well; the
  first after a gap is answered by OUT_OF_ORDER with the sequence number that is missing. The host
  sends again from there, or after a while without a reply.
- A reply may be lost. Of the last `WINDOW` requests, one that comes again is answered again: a
  write by what became of it, without writing; a read by reading. Older ones are dropped.
- Noise can only damage the frame it meets, or overfill the queue: the next 0xC0 begins anew. There
  are no time limits on this side.
"""

from enum import IntEnum

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from celosia.rtl.axi import AXI4Lite
from celosia.rtl.bridge_access import WordAccess
from celosia.rtl.bridge_frames import Digest, FrameReader, FrameWord, FrameWriter
from celosia.rtl.stream import SkidBuffer, StreamFIFO
from celosia.rtl.uart import UARTReceiver, UARTTransmitter

__all__ = [
    "BLOCK_WORDS",
    "QUEUE_BYTES",
    "WINDOW",
    "Operation",
    "ReplyStatus",
    "SerialBridge",
    "UARTBridge",
]

#: Most words that one request moves; with the CRC they fit one block RAM.
BLOCK_WORDS = 256
#: Most requests that may be without a reply, a power of two.
WINDOW = 8
#: Bytes that wait for the bridge; a read has at most 26, all bytes escaped.
QUEUE_BYTES = 256


class Operation(IntEnum):
    """What a request asks for."""

    READ = 1
    WRITE = 2
    #: Begin a session; see above.
    SYNC = 3
    #: The CRC-32 of what a read would give.
    DIGEST = 4


class ReplyStatus(IntEnum):
    """What became of a request."""

    OK = 0x80
    #: The request is not one of this protocol: operation, count, length or alignment.
    REFUSED = 0x81
    #: The bus answered a word with an error; the words before it were moved.
    BUS_ERROR = 0x82
    #: Requests are missing, from the sequence number of this reply on.
    OUT_OF_ORDER = 0x83
    #: There was no SYNC since the last reset.
    NO_SESSION = 0x84


class Header(data.Struct):
    """First word of requests and replies."""

    code: 8
    sequence: 8
    count: 16


class SerialBridge(wiring.Component):
    """Manager of an AXI4-Lite bus that executes requests from a byte stream.

    It takes a byte per cycle while it waits for a request, and none while it executes one: three
    cycles per word and what the bus takes, at least five for a digest. Then it sends the reply, at
    most a byte per cycle.

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
        m.submodules.digest = digest = Digest()
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
        index, is_write, is_digest = Signal(range(BLOCK_WORDS + 1)), Signal(), Signal()
        # Behind a register of its own: block RAM answers late in the cycle.
        word = Signal(32)
        m.d.sync += word.eq(read.data)
        m.d.comb += [
            is_write.eq(header.code == Operation.WRITE),
            is_digest.eq(header.code == Operation.DIGEST),
            access.write.eq(is_write),
            access.data.eq(word),
            digest.word.eq(access.result),
            read.addr.eq(index),
            reply.i.p.word.eq(Cat(status, header.sequence, header.count)),
        ]
        _keep_words(m, reader, write, header, access.address)
        with m.If(access.done & ~is_write):
            m.d.comb += [write.addr.eq(index), write.data.eq(access.result), write.en.eq(1)]

        session, begun = Signal(32), Signal()  # CRC of the last SYNC
        expected, behind, told = Signal(8), Signal(8), Signal()
        m.d.comb += behind.eq(expected - header.sequence)
        # What became of the last requests.
        outcome = Cat(status, header.count)
        m.submodules.outcomes = outcomes = memory.Memory(shape=len(outcome), depth=WINDOW, init=[])
        recall, record = outcomes.read_port(), outcomes.write_port()
        m.d.comb += [
            recall.addr.eq(header.sequence),
            record.addr.eq(header.sequence),
            record.data.eq(outcome),
        ]
        with m.FSM():
            with m.State("RECEIVE"):
                m.d.comb += [reader.enable.eq(1), digest.start.eq(1)]
                m.d.sync += [index.eq(0), status.eq(ReplyStatus.OK)]
                with m.If(reader.done):
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.next = "REPLY"
                with m.If((header.code == Operation.SYNC) & (reader.index == 2)):
                    with m.If(~begun | (session != reader.word)):
                        m.d.sync += [begun.eq(1), session.eq(reader.word)]
                        m.d.sync += [expected.eq(header.sequence + 1), told.eq(0)]
                with m.Elif(~begun):
                    m.d.sync += [status.eq(ReplyStatus.NO_SESSION), header.count.eq(0)]
                with m.Elif(behind <= WINDOW):
                    with m.If(behind == 0):
                        m.d.sync += [expected.eq(expected + 1), told.eq(0)]
                    with m.If(_refuses(reader, header, access.address)):
                        m.d.sync += [status.eq(ReplyStatus.REFUSED), header.count.eq(0)]
                    with m.Elif(is_write & (behind != 0)):
                        m.d.sync += outcome.eq(recall.data)
                    with m.Else():
                        m.next = "STEP"
                with m.Elif(behind[-1] & ~told):
                    m.d.sync += [status.eq(ReplyStatus.OUT_OF_ORDER), header.count.eq(0)]
                    m.d.sync += [header.sequence.eq(expected), told.eq(1)]
                with m.Else():
                    m.next = "RECEIVE"
            with m.State("STEP"):
                # Meanwhile the memory reads the word that may have to be written.
                with m.If(index == header.count):
                    m.d.comb += record.en.eq(1)
                    m.d.sync += index.eq(0)
                    m.next = "REPLY"
                with m.Elif(~digest.busy):
                    m.next = "START"
            with m.State("START"):
                m.d.comb += access.start.eq(1)
                m.next = "ACCESS"
            with m.State("ACCESS"):
                with m.If(access.done):
                    m.next = "STEP"
                    with m.If(access.error):
                        m.d.sync += [status.eq(ReplyStatus.BUS_ERROR), header.count.eq(index)]
                    with m.Else():
                        m.d.comb += digest.valid.eq(1)
                        m.d.sync += [
                            index.eq(index + 1),
                            access.address.eq(access.address + 4),
                        ]
            with m.State("REPLY"):
                has_data = (header.code == Operation.READ) | is_digest
                m.d.comb += [
                    reply.i.p.last.eq(~has_data | (header.count == 0)),
                    reply.i.valid.eq(~digest.busy),
                ]
                with m.If(reply.i.valid & reply.i.ready):
                    m.next = "FETCH"
                    with m.If(reply.i.p.last):
                        m.next = "RECEIVE"
            with m.State("FETCH"):
                m.next = "ARRIVE"
            with m.State("ARRIVE"):
                m.next = "DATA"
            with m.State("DATA"):
                m.d.comb += [
                    reply.i.p.word.eq(Mux(is_digest, digest.crc, word)),
                    reply.i.p.last.eq(is_digest | (index + 1 == header.count)),
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
    is_read = (header.code == Operation.READ) | (header.code == Operation.DIGEST)
    words = Mux(is_write, header.count, 0)
    return (
        (~is_read & ~is_write)
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
        m.submodules.queue = queue = StreamFIFO(8, QUEUE_BYTES)
        # A byte comes late out of block RAM, and the bridge has much to decide by it.
        m.submodules.taken = taken = SkidBuffer(8)
        m.d.comb += [receiver.rx.eq(self.rx), self.tx.eq(transmitter.tx)]
        connect(m, receiver.o, queue.i)
        connect(m, queue.o, taken.i)
        connect(m, taken.o, bridge.i)
        connect(m, bridge.o, transmitter.i)
        connect(m, bridge.bus, flipped(self.bus))
        return m
