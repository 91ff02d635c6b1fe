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
from celosia.rtl.bridge import UARTBridge
from celosia.runtime.link import SerialLink, decode_frames, encode_frame, open_port

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


def good(request):
    return encode_frame(b"\x80" + request[1:4])


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
        r"^no answer to read of 0 words at 0x00000000 after 3 attempts; check the port, the baud "
        r"rate and that the board is configured$"
    )
    with pytest.raises(DeviceError, match=message):
        SerialLink(Answers(), retries=2)


def test_repeats_until_an_answer_comes():
    port = Answers(good, silence, lambda request: b"\xc0\x80nonsense\xc0", good)
    link = SerialLink(port)
    link.write_word(8, 9)
    hello, *writes = port.requests
    assert len(writes) == 3
    assert set(writes) == {bytes([2, (hello[1] + 1) % 256, 1, 0, 8, 0, 0, 0, 9, 0, 0, 0])}


def test_ignores_replies_to_older_requests():
    def late(request):
        return encode_frame(bytes([0x81, (request[1] - 1) % 256, 0, 0])) + good(request)

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


def test_a_port_that_is_not_there(tmp_path):
    with pytest.raises(DeviceError, match=r"^serial port .*nothing cannot be opened: "):
        open_port(str(tmp_path / "nothing"), 115200)
