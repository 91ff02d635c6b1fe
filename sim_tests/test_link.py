# amaranth: UnusedElaboratable=no
"""Host side of the serial bridge: its frames, its errors, and both ends together."""

import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect
from harness import simulate
from hypothesis import given
from hypothesis import strategies as st
from stand_in import StandIn

from celosia.errors import DeviceError
from celosia.rtl.bridge import WINDOW, Operation, UARTBridge
from celosia.runtime.link import SerialLink
from celosia.runtime.link_frames import decode_frames, encode_frame
from celosia.runtime.link_requests import Request

DIVISOR = 5


class Device(wiring.Component):
    """A bridge with words behind it."""

    rx: In(1, init=1)
    tx: Out(1, init=1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.bridge = bridge = UARTBridge(DIVISOR)
        m.submodules.stand_in = stand_in = StandIn()
        connect(m, bridge.bus, stand_in.s_axi_lite)
        m.d.comb += [bridge.rx.eq(self.rx), self.tx.eq(bridge.tx)]
        return m


class Answers:
    """A port that gives one prepared answer to each request."""

    timeout = None

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = []
        self.buffer = b""

    def write(self, data):
        (frame,), rest = decode_frames(data)
        assert rest == b""
        self.requests.append(frame)
        self.buffer += self.answers.pop(0)(frame) if self.answers else b""

    def read(self, size):
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data


def good(request, data=b""):
    return encode_frame(b"\x80" + request[1:4] + data)


def silence(request):
    return b""


def test_link_over_the_pins(tmp_path):
    simulate(Device(), "tb_link", tmp_path, DIVISOR=DIVISOR)


@given(st.lists(st.binary(min_size=4, max_size=40), max_size=4), st.binary(max_size=5))
def test_frames_come_back(payloads, rest):
    rest = rest.replace(b"\xc0", b"")
    data = b"".join(map(encode_frame, payloads)) + rest
    assert decode_frames(data) == (payloads, rest)


def test_a_damaged_frame_gives_none():
    frame = encode_frame(b"abcd")
    damaged = frame.replace(b"b", b"x")
    assert decode_frames(damaged + b"\x01\xc0" + frame) == ([None, None, b"abcd"], b"")


def test_nobody_there():
    message = (
        r"^no answer after 3 attempts; check the port, the baud rate and that the board is "
        r"configured$"
    )
    with pytest.raises(DeviceError, match=message):
        SerialLink(Answers(), retries=2)


def test_a_line_that_fails_later():
    link = SerialLink(Answers(good), retries=2)
    message = (
        r"^no answer to read of 1 words at 0x00000008 after 3 attempts; 2 of 2 requests had to be "
        r"sent again: check the cable, or choose a lower baud rate$"
    )
    with pytest.raises(DeviceError, match=message):
        link.read_word(8)


def test_a_line_that_breaks():
    class Broken(Answers):
        def write(self, data):
            raise OSError("Input/output error")

    with pytest.raises(DeviceError, match=r"^the serial line broke: Input/output error; plug it"):
        SerialLink(Broken())


def test_repeats_until_an_answer_comes():
    port = Answers(good, silence, lambda request: b"\xc0\x80nonsense\xc0", good)
    link = SerialLink(port)
    link.write_word(8, 9)
    hello, *writes = port.requests
    assert len(writes) == 3
    assert set(writes) == {bytes([2, (hello[1] + 1) % 256, 1, 0, 8, 0, 0, 0, 9, 0, 0, 0])}
    assert link.statistics.repeated == link.statistics.timeouts == 2


def test_a_window_is_sent_at_once():
    port = Answers(good, *[silence] * (WINDOW - 1), lambda request: b"")
    link = SerialLink(port, retries=0)
    requests = [Request(Operation.WRITE, 0, 1, bytes(4))] * (WINDOW + 1)
    with pytest.raises(DeviceError, match=r"^no answer to write"):
        link.exchange(requests)
    assert len(port.requests) == 1 + WINDOW


def test_what_is_missing_is_sent_again():
    """The first reply is lost, and the fourth request: nothing else is repeated, nor waited for."""
    frames = []

    def lost(request):
        frames.append(request)
        return b""

    def missing(request):
        return encode_frame(bytes([0x83, (request[1] - 1) % 256, 0, 0]))

    port = Answers(good, lost, good, good, silence, missing, good, good, good)
    link = SerialLink(port)
    link.exchange([Request(Operation.WRITE, 4 * n, 1, bytes(4)) for n in range(5)])
    first = port.requests[1][1]
    numbers = [(request[1] - first) % 256 for request in port.requests[1:]]
    assert numbers == [0, 1, 2, 3, 4, 0, 3, 4]
    assert link.statistics.timeouts == 0


def test_a_request_that_is_missing_is_not_waited_for():
    def missing(request):
        return encode_frame(bytes([0x83, (request[1] - 1) % 256, 0, 0]))

    port = Answers(good, good, silence, missing, good, good)
    link = SerialLink(port)
    link.exchange([Request(Operation.WRITE, 4 * n, 1, bytes(4)) for n in range(3)])
    numbers = [(request[1] - port.requests[1][1]) % 256 for request in port.requests[1:]]
    assert numbers == [0, 1, 2, 1, 2]
    assert link.statistics.timeouts == 0 and link.statistics.repeated == 2


def test_waits_longer_where_the_line_is_slow():
    class Slow(Answers):
        waited = ()

        def read(self, size):
            data = super().read(size)
            self.waited += () if data else (self.timeout,)
            return data

    port = Slow(good, *[silence] * 5, good, good)
    link = SerialLink(port, timeout=1.0, retries=5)
    link.write_word(0, 0)
    assert port.waited == (1, 2, 4, 8, 8)
    assert 1 < port.timeout < 8


def test_begins_again_after_an_error():
    def error(request):
        return encode_frame(b"\x82" + request[1:2] + bytes(2))

    port = Answers(good, error, good, lambda request: good(request, b"abcd"))
    link = SerialLink(port)
    with pytest.raises(DeviceError, match="the bus answered with an error at 0x00000010"):
        link.write_word(16, 0)
    assert link.read_word(0) == int.from_bytes(b"abcd", "little")
    syncs = [request for request in port.requests if request[0] == Operation.SYNC]
    assert len(syncs) == 2 and syncs[0][2:] != syncs[1][2:]


def test_a_board_that_was_reset():
    port = Answers(good, lambda request: encode_frame(b"\x84" + request[1:2] + bytes(2)))
    with pytest.raises(DeviceError, match="the board was reset in the meantime; open it again"):
        SerialLink(port).read_word(0)


def test_ignores_replies_to_older_requests():
    def late(request):
        older = bytes([0x81, (request[1] - 1) % 256, 0, 0])
        another = bytes([0x80, request[1], request[2] ^ 1, request[3]])
        return encode_frame(older) + encode_frame(another) + good(request)

    SerialLink(Answers(late))


def test_noise_without_end():
    class Noise(Answers):
        def read(self, size):
            return b"\x55" * size

    with pytest.raises(DeviceError, match=r"^no answer"):
        SerialLink(Noise(), retries=1)


@pytest.mark.parametrize("reply", [b"\x81", b"\x80"])
def test_a_board_of_another_version(reply):
    port = Answers(good, lambda request: encode_frame(reply + request[1:2] + bytes(2)))
    link = SerialLink(port)
    message = (
        r"^write of 1 words at 0x00000008: the board does not know the request; it was built by "
        r"another version$"
    )
    with pytest.raises(DeviceError, match=message):
        link.write_word(8, 9)


@pytest.mark.parametrize(("address", "size", "name"), [(2, 4, "address"), (4, 6, "size")])
def test_words_are_whole(address, size, name):
    with pytest.raises(ValueError, match=rf"^{name} must be a multiple of 4 of 32 bits, not"):
        SerialLink(Answers(good)).read_block(address, size)
