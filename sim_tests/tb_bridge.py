"""Bench of the serial bridge: the host's own frames, whole and damaged, and a bus that stalls."""

import random
import struct
from itertools import count

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from cocotbext.axi import AxiLiteBus, AxiLiteRam
from streams import Sink, Source

from celosia.rtl.bridge import BLOCK_WORDS, Operation, ReplyStatus
from celosia.rtl.bridge_frames import END, ESCAPE
from celosia.runtime.link import decode_frames, encode_frame

SIZE = 1 << 13


class Writes:
    """The writes seen on the bus; the bridge has one under way at a time."""

    def __init__(self, dut) -> None:
        self.seen: list[tuple[int, int]] = []
        cocotb.start_soon(self._watch(dut))

    async def _watch(self, dut) -> None:
        address = word = 0
        while True:
            await RisingEdge(dut.clk)
            if dut.bus__awvalid.value and dut.bus__awready.value:
                address = int(dut.bus__awaddr.value)
            if dut.bus__wvalid.value and dut.bus__wready.value:
                word = int(dut.bus__wdata.value)
            if dut.bus__bvalid.value and dut.bus__bready.value:
                self.seen.append((address, word))


class Host:
    """The other end of the byte streams."""

    def __init__(self, dut, stall: float = 0.0) -> None:
        self.dut = dut
        self.source = Source(dut, "i", stall=stall)
        self.sink = Sink(dut, "o", stall=stall)
        self.ram = AxiLiteRam(AxiLiteBus.from_prefix(dut, "bus_"), dut.clk, dut.rst, size=SIZE)
        if stall:
            for channel in (
                self.ram.write_if.aw_channel,
                self.ram.write_if.w_channel,
                self.ram.write_if.b_channel,
                self.ram.read_if.ar_channel,
                self.ram.read_if.r_channel,
            ):
                channel.set_pause_generator(random.random() < 0.6 for _ in count())
        self.writes = Writes(dut)

    async def start(self) -> None:
        Clock(self.dut.clk, 10, unit="ns").start()
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 3)
        self.dut.rst.value = 0
        await RisingEdge(self.dut.clk)

    async def receive(self) -> tuple[int, int, int, bytes]:
        """Return status, sequence number, count and data of the next reply."""
        data = b""
        while True:
            (byte,) = await self.sink.receive(1, signed=False)
            data += bytes([byte])
            frames, _ = decode_frames(data)
            if frames:
                assert frames[0] is not None, data.hex()
                assert data[0] == data[-1] == END
                return (*struct.unpack_from("<BBH", frames[0]), frames[0][4:])

    async def ask(self, frame: bytes) -> tuple[int, int, int, bytes]:
        await self.source.send(frame)
        return await self.receive()

    async def answers_nothing(self, frame: bytes) -> None:
        await self.source.send(frame)
        self.dut.o__ready.value = 1
        for _ in range(60):
            await RisingEdge(self.dut.clk)
            assert not self.dut.o__valid.value
        self.dut.o__ready.value = 0


def request(operation: int, sequence: int, address: int, words: int, data: bytes = b"") -> bytes:
    return struct.pack("<BBHI", operation, sequence, words, address) + data


def special(size: int) -> bytes:
    """Return data in which many bytes must be escaped."""
    values = [END, ESCAPE, 0xDC, 0xDD, 0, random.randrange(256)]
    return bytes(random.choices(values, k=size))


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(stall=[0.0, 0.5])
async def moves_blocks(dut, stall):
    host = Host(dut, stall)
    await host.start()
    for sequence, words in enumerate([1, 2, 5, 0, BLOCK_WORDS, 3]):
        address = 4 * random.randrange(SIZE // 4 - words + 1)
        data = special(4 * words)
        before = host.ram.read(0, SIZE)
        write = encode_frame(request(Operation.WRITE, sequence, address, words, data))
        assert await host.ask(write) == (ReplyStatus.OK, sequence, words, b"")
        assert host.ram.read(0, SIZE) == before[:address] + data + before[address + len(data) :]
        read = encode_frame(request(Operation.READ, sequence, address, words))
        assert await host.ask(read) == (ReplyStatus.OK, sequence, words, data)


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def refuses_every_damaged_bit(dut):
    host = Host(dut)
    await host.start()
    data = bytes(range(1, 5))
    frame = encode_frame(request(Operation.WRITE, 7, 0x10, 1, data))
    memory = host.ram.read(0, SIZE)
    for bit in range(8, 8 * (len(frame) - 1)):
        damaged = bytearray(frame)
        damaged[bit // 8] ^= 1 << bit % 8
        await host.answers_nothing(bytes(damaged))
    assert host.ram.read(0, SIZE) == memory
    assert host.writes.seen == []
    assert await host.ask(frame) == (ReplyStatus.OK, 7, 1, b"")
    assert host.writes.seen == [(0x10, 0x04030201)]


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def refuses_damaged_lengths(dut):
    host = Host(dut)
    await host.start()
    frame = encode_frame(request(Operation.WRITE, 7, 0x10, 3, special(12)))
    for start in range(1, len(frame) - 1):
        await host.answers_nothing(frame[:start] + frame[start + 1 :])  # a byte lost
        await host.answers_nothing(frame[:start] + b"\x11" + frame[start:])  # one too many
    # A right CRC over no whole words, over too few, and over more than any request has.
    for size in (1, 4, 6, 7, 4 * (BLOCK_WORDS + 3), 4 * 2 * (BLOCK_WORDS + 3)):
        await host.answers_nothing(encode_frame(bytes(size)))
    assert host.writes.seen == []
    assert await host.ask(frame) == (ReplyStatus.OK, 7, 3, b"")


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def refuses_what_is_no_request(dut):
    host = Host(dut)
    await host.start()
    for wrong in (
        request(0, 1, 0, 0),
        request(3, 1, 0, 1),
        request(Operation.READ, 1, 2, 1),
        request(Operation.READ, 1, 0, BLOCK_WORDS + 1),
        request(Operation.READ, 1, 0, 1, bytes(4)),
        request(Operation.WRITE, 1, 0, 2, bytes(4)),
        request(Operation.WRITE, 1, 1, 1, bytes(4)),
        request(Operation.WRITE, 1, 0, 0x101, bytes(4)),
    ):
        assert await host.ask(encode_frame(wrong)) == (ReplyStatus.REFUSED, 1, 0, b"")
    assert host.writes.seen == []


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def resynchronises(dut):
    host = Host(dut)
    await host.start()
    frame = encode_frame(request(Operation.WRITE, 9, 0x20, 2, special(8)))
    for trial in range(20):
        noise = special(random.randrange(1, 40))
        assert await host.ask(noise + frame) == (ReplyStatus.OK, 9, 2, b""), trial
        host.ram.write(0x20, bytes(8))
        # Half a frame, and then all of another one.
        read = encode_frame(request(Operation.READ, trial, 0x20, 2))
        cut = random.randrange(1, len(frame) - 1)
        assert await host.ask(frame[:cut] + read) == (ReplyStatus.OK, trial, 2, bytes(8))


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def writes_once(dut):
    host = Host(dut)
    await host.start()
    first = encode_frame(request(Operation.WRITE, 3, 0x10, 1, b"abcd"))
    for _ in range(3):
        assert await host.ask(first) == (ReplyStatus.OK, 3, 1, b"")
    assert len(host.writes.seen) == 1
    # Another sequence number is another request; so is the old one after it.
    assert await host.ask(encode_frame(request(Operation.WRITE, 4, 0x10, 1, b"abcd"))) == (
        ReplyStatus.OK,
        4,
        1,
        b"",
    )
    await host.ask(first)
    assert len(host.writes.seen) == 3
    # A read makes it forget, and is itself executed each time.
    read = encode_frame(request(Operation.READ, 3, 0x10, 1))
    assert await host.ask(read) == (ReplyStatus.OK, 3, 1, b"abcd")
    host.ram.write(0x10, b"efgh")
    assert await host.ask(read) == (ReplyStatus.OK, 3, 1, b"efgh")
    await host.ask(first)
    assert len(host.writes.seen) == 4


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def ignores_requests_while_busy(dut):
    """Bytes wait while a request is executed; nothing of the first is disturbed by them."""
    host = Host(dut)
    await host.start()
    data = special(4 * BLOCK_WORDS)
    host.ram.write(0, data)
    frames = [encode_frame(request(Operation.READ, number, 0, BLOCK_WORDS)) for number in (1, 2)]
    sending = cocotb.start_soon(host.source.send(b"".join(frames)))
    for number in (1, 2):
        reply = await with_timeout(host.receive(), 1, "ms")
        assert reply == (ReplyStatus.OK, number, BLOCK_WORDS, data)
    await sending
