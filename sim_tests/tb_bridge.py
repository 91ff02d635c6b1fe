"""Bench of the serial bridge: the host's own frames, whole and damaged, and a bus that stalls."""

import random
import struct
import zlib
from itertools import count

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from cocotbext.axi import AxiLiteBus, AxiLiteRam
from golden_board import GoldenBridge
from streams import Sink, Source

from celosia.rtl.bridge import BLOCK_WORDS, WINDOW, Operation, ReplyStatus
from celosia.rtl.bridge_frames import END, ESCAPE
from celosia.runtime.link_frames import decode_frames, encode_frame

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

    async def sync(self, following: int) -> None:
        """Begin a session in which the next request has the number `following`."""
        sequence, words = (following - 1) % 256, random.randrange(1 << 16)
        address = random.randrange(1 << 32)
        frame = encode_frame(request(Operation.SYNC, sequence, address, words))
        assert await self.ask(frame) == (ReplyStatus.OK, sequence, words, b"")

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
    await host.sync(250)
    for number, words in enumerate([1, 2, 5, 0, BLOCK_WORDS, 3]):
        sequence = (250 + 3 * number) % 256
        address = 4 * random.randrange(SIZE // 4 - words + 1)
        data = special(4 * words)
        before = host.ram.read(0, SIZE)
        write = encode_frame(request(Operation.WRITE, sequence, address, words, data))
        assert await host.ask(write) == (ReplyStatus.OK, sequence, words, b"")
        assert host.ram.read(0, SIZE) == before[:address] + data + before[address + len(data) :]
        sequence = (sequence + 1) % 256
        read = encode_frame(request(Operation.READ, sequence, address, words))
        assert await host.ask(read) == (ReplyStatus.OK, sequence, words, data)
        sequence = (sequence + 1) % 256
        digest = encode_frame(request(Operation.DIGEST, sequence, address, words))
        given = zlib.crc32(data).to_bytes(4, "little") if words else b""
        assert await host.ask(digest) == (ReplyStatus.OK, sequence, words, given)


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def refuses_every_damaged_bit(dut):
    host = Host(dut)
    await host.start()
    await host.sync(7)
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
    await host.sync(7)
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
    await host.sync(0)
    for number, (operation, *rest) in enumerate((
        (0, 0, 0),
        (5, 0, 1),
        (Operation.READ, 2, 1),
        (Operation.READ, 0, BLOCK_WORDS + 1),
        (Operation.READ, 0, 1, bytes(4)),
        (Operation.DIGEST, 0, 1, bytes(4)),
        (Operation.SYNC, 0, 1, bytes(4)),
        (Operation.WRITE, 0, 2, bytes(4)),
        (Operation.WRITE, 1, 1, bytes(4)),
        (Operation.WRITE, 0, 0x101, bytes(4)),
    )):
        wrong = encode_frame(request(operation, number, *rest))
        for _ in range(2):
            assert await host.ask(wrong) == (ReplyStatus.REFUSED, number, 0, b"")
    assert host.writes.seen == []


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def resynchronises(dut):
    host = Host(dut)
    await host.start()
    await host.sync(0)
    for trial in range(20):
        noise = special(random.randrange(1, 40))
        frame = encode_frame(request(Operation.WRITE, 2 * trial, 0x20, 2, special(8)))
        assert await host.ask(noise + frame) == (ReplyStatus.OK, 2 * trial, 2, b""), trial
        host.ram.write(0x20, bytes(8))
        # Half a frame, and then all of another one.
        number = 2 * trial + 1
        read = encode_frame(request(Operation.READ, number, 0x20, 2))
        cut = random.randrange(1, len(frame) - 1)
        assert await host.ask(frame[:cut] + read) == (ReplyStatus.OK, number, 2, bytes(8))


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def does_nothing_without_a_session(dut):
    host = Host(dut)
    await host.start()
    for operation, data in ((Operation.WRITE, b"abcd"), (Operation.READ, b"")):
        frame = encode_frame(request(operation, 0, 0x10, 1, data))
        assert await host.ask(frame) == (ReplyStatus.NO_SESSION, 0, 0, b"")
    assert host.writes.seen == []
    await host.sync(0)
    assert await host.ask(frame) == (ReplyStatus.OK, 0, 1, bytes(4))


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def writes_once(dut):
    """Each of the last requests is answered again, and executed no more if it writes."""
    host = Host(dut)
    await host.start()
    await host.sync(250)
    ok, bad = {"address": 0x10, "words": 1}, {"address": SIZE - 4, "words": 3}
    executed, frames, replies = 0, [], []
    for number in range(250, 250 + 3 * WINDOW):
        place = bad if number % 5 == 0 else ok
        sequence = number % 256
        data = struct.pack("<I", number) + bytes(4 * (place["words"] - 1))
        frames.append(encode_frame(request(Operation.WRITE, sequence, *place.values(), data)))
        # The RAM wraps around its end; no error comes from it.
        replies.append((ReplyStatus.OK, sequence, place["words"], b""))
        executed += place["words"]
        assert await host.ask(frames[-1]) == replies[-1]
        for frame, reply in list(zip(frames, replies, strict=True))[-WINDOW:]:
            assert await host.ask(frame) == reply
        for old in frames[:-WINDOW]:
            await host.answers_nothing(old)
        assert len(host.writes.seen) == executed
    # A read is executed each time, and disturbs nothing.
    sequence = (250 + 3 * WINDOW) % 256
    read = encode_frame(request(Operation.READ, sequence, 0x10, 1))
    for data in (b"abcd", b"efgh"):
        host.ram.write(0x10, data)
        assert await host.ask(read) == (ReplyStatus.OK, sequence, 1, data)
    assert await host.ask(frames[-1]) == replies[-1]
    assert len(host.writes.seen) == executed


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def says_once_what_is_missing(dut):
    host = Host(dut)
    await host.start()
    await host.sync(254)
    frames = [
        encode_frame(request(Operation.WRITE, number % 256, 0x10, 1, struct.pack("<I", number)))
        for number in range(254, 262)
    ]
    done = []
    for present, missing in ((3, 0), (6, 4)):
        assert await host.ask(frames[present]) == (
            ReplyStatus.OUT_OF_ORDER,
            (254 + missing) % 256,
            0,
            b"",
        )
        await host.answers_nothing(frames[present])
        await host.answers_nothing(frames[present + 1])
        for number in range(missing, present + 1):
            reply = (ReplyStatus.OK, (254 + number) % 256, 1, b"")
            assert await host.ask(frames[number]) == reply
            done.append((0x10, 254 + number))
        assert host.writes.seen == done


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def a_session_begins_once(dut):
    host = Host(dut)
    await host.start()
    sync = encode_frame(request(Operation.SYNC, 9, 0x1234, 5))
    frame = encode_frame(request(Operation.WRITE, 10, 0x10, 1, b"abcd"))
    for _ in range(3):  # again, and it would be executed again if the session began again
        assert await host.ask(sync) == (ReplyStatus.OK, 9, 5, b"")
        assert await host.ask(frame) == (ReplyStatus.OK, 10, 1, b"")
        assert len(host.writes.seen) == 1
    # Another session.
    assert await host.ask(encode_frame(request(Operation.SYNC, 9, 0x1235, 5))) == (
        ReplyStatus.OK,
        9,
        5,
        b"",
    )
    assert await host.ask(frame) == (ReplyStatus.OK, 10, 1, b"")
    assert len(host.writes.seen) == 2


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def ignores_requests_while_busy(dut):
    """Bytes wait while a request is executed; nothing of the first is disturbed by them."""
    host = Host(dut)
    await host.start()
    await host.sync(1)
    data = special(4 * BLOCK_WORDS)
    host.ram.write(0, data)
    frames = [encode_frame(request(Operation.READ, number, 0, BLOCK_WORDS)) for number in (1, 2)]
    sending = cocotb.start_soon(host.source.send(b"".join(frames)))
    for number in (1, 2):
        reply = await with_timeout(host.receive(), 1, "ms")
        assert reply == (ReplyStatus.OK, number, BLOCK_WORDS, data)
    await sending


class Words:
    """The twin's bus: the same words as the RAM."""

    def __init__(self, ram) -> None:
        self.ram = ram
        self.words = list(struct.unpack(f"<{SIZE // 4}I", ram.read(0, SIZE)))

    def load(self, address):
        return self.words[address // 4]

    def store(self, address, word):
        self.words[address // 4] = word


@cocotb.test(timeout_time=30, timeout_unit="ms")
async def answers_like_its_twin(dut):
    """Random requests, sound and not, in order and not: the same bytes come, or none."""
    host = Host(dut)
    await host.start()
    twin = GoldenBridge(Words(host.ram))
    kinds = dict.fromkeys(ReplyStatus, 0)
    before: dict[int, bytes] = {}
    for trial in range(300):
        code = random.choices([1, 2, 3, 4, 7], [4, 8, 0.3 if trial else 9, 2, 0.5])[0]
        ahead = random.choices([0, -1, -8, -9, 1, 100, 200], [12, 2, 1, 1, 1, 1, 1])[0]
        words = random.randrange(8)
        address = 4 * random.randrange(SIZE // 4 - 8) + (random.random() < 0.05)
        data = special(4 * words) if code == 2 else b""
        number = (twin.expected + ahead) % 256
        frame = encode_frame(request(code, number, address, words, data))
        if ahead < 0:  # what comes again is what it was
            frame = before.get(number, frame if code == 3 else b"")
        elif ahead == 0 and code != 3:
            before[number] = frame
        if random.random() < 0.05 and frame:
            damaged = bytearray(frame)
            damaged[random.randrange(1, len(frame) - 1)] ^= 1 << random.randrange(8)
            frame = bytes(damaged)
        session = twin.session
        right = twin.take(frame)
        if twin.session != session:
            before.clear()
        if not right:
            await host.answers_nothing(frame)
            continue
        await host.source.send(frame)
        given = await with_timeout(host.sink.receive(len(right), signed=False), 1, "ms")
        assert bytes(given) == right, trial
        kinds[decode_frames(right)[0][0][0]] += 1
    assert struct.pack(f"<{SIZE // 4}I", *twin.bus.words) == host.ram.read(0, SIZE)
    missing = {kind.name for kind, count in kinds.items() if not count}
    assert missing <= {"BUS_ERROR", "NO_SESSION"}, missing
