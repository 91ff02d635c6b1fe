"""Host side of the serial bridge: words and blocks of a machine's address space over a line.

The protocol is described in `celosia.rtl.bridge`.
"""

import random
import struct
import zlib
from collections.abc import Iterable
from typing import Protocol

from celosia.errors import DeviceError
from celosia.rtl.bridge import BLOCK_WORDS, Operation, ReplyStatus
from celosia.rtl.bridge_frames import END, ESCAPE, ESCAPED_END, ESCAPED_ESCAPE

__all__ = ["Port", "SerialLink", "decode_frames", "encode_frame", "open_port"]

_WORD = 4
_SPACE = 1 << 32


class Port(Protocol):
    """What a line must offer; pyserial's `Serial` does."""

    @property
    def timeout(self) -> float | None:
        """Seconds that `read` waits at most."""
        ...

    @timeout.setter
    def timeout(self, value: float | None, /) -> None: ...

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, fewer after `timeout`."""
        ...

    def write(self, data: bytes, /) -> int | None:
        """Send `data`."""
        ...


def encode_frame(payload: bytes) -> bytes:
    """Return the bytes on the line for a frame of `payload`."""
    data = payload + struct.pack("<I", zlib.crc32(payload))
    data = data.replace(bytes([ESCAPE]), bytes([ESCAPE, ESCAPED_ESCAPE]))
    data = data.replace(bytes([END]), bytes([ESCAPE, ESCAPED_END]))
    return bytes([END]) + data + bytes([END])


def decode_frames(data: bytes) -> tuple[list[bytes | None], bytes]:
    """Return the payloads of the frames that end in `data`, and the bytes after the last of them.

    A frame that is damaged gives None; nothing between two ends is no frame.
    """
    *coded, rest = data.split(bytes([END]))
    return [_decode(frame) for frame in coded if frame], rest


def _decode(coded: bytes) -> bytes | None:
    data = coded.replace(bytes([ESCAPE, ESCAPED_END]), bytes([END]))
    data = data.replace(bytes([ESCAPE, ESCAPED_ESCAPE]), bytes([ESCAPE]))
    payload, check = data[:-_WORD], data[-_WORD:]
    if len(payload) < _WORD or check != struct.pack("<I", zlib.crc32(payload)):
        return None
    return payload


def open_port(name: str, baud: int) -> Port:
    """Open the serial port called `name`.

    Raises
    ------
    DeviceError
        If it cannot be opened.
    """
    import serial

    try:
        return serial.Serial(name, baud)
    except (serial.SerialException, ValueError) as error:
        raise DeviceError(f"serial port {name} cannot be opened: {error}") from error


class SerialLink:
    """A machine's address space at the other end of a serial line.

    Every access is repeated until its reply comes or `retries` are used up; a write is executed
    once all the same.

    Parameters
    ----------
    port : Port
        The line; its `timeout` is set.
    timeout : float
        Seconds without a byte after which a request or its reply counts as lost.
    retries : int
        How often a request is sent again.

    Raises
    ------
    DeviceError
        If nobody answers at the other end.
    """

    def __init__(self, port: Port, *, timeout: float = 0.5, retries: int = 4) -> None:
        self.port = port
        self.timeout = timeout
        self.retries = retries
        self._sequence = random.randrange(256)
        port.timeout = timeout
        # A read first: the bridge forgets the last write of whoever was here before.
        self._transfer(Operation.READ, 0, 0)

    def read_word(self, address: int) -> int:
        """Return the word at `address`.

        Raises
        ------
        DeviceError
            If the device refuses, or does not answer.
        """
        return int.from_bytes(self.read_block(address, _WORD), "little")

    def write_word(self, address: int, value: int) -> None:
        """Write the word at `address`.

        Raises
        ------
        DeviceError
            If the device refuses, or does not answer.
        """
        self.write_block(address, struct.pack("<I", value))

    def read_block(self, address: int, size: int) -> bytes:
        """Return `size` bytes from `address`; both are multiples of 4.

        Raises
        ------
        ValueError
            If they are not.
        DeviceError
            If the device refuses, or does not answer.
        """
        blocks = [
            self._transfer(Operation.READ, start, count) for start, count in _blocks(address, size)
        ]
        return b"".join(blocks)

    def write_block(self, address: int, data: bytes) -> None:
        """Write `data` from `address`; its size and the address are multiples of 4.

        Raises
        ------
        ValueError
            If they are not.
        DeviceError
            If the device refuses, or does not answer.
        """
        for start, count in _blocks(address, len(data)):
            offset = start - address
            self._transfer(Operation.WRITE, start, count, data[offset : offset + _WORD * count])

    def _transfer(self, operation: Operation, address: int, count: int, data: bytes = b"") -> bytes:
        self._sequence = (self._sequence + 1) % 256
        header = struct.pack("<BBHI", operation, self._sequence, count, address)
        frame = encode_frame(header + data)
        for _ in range(1 + self.retries):
            self.port.write(frame)
            reply = self._receive()
            if reply is not None:
                return self._check(reply, operation, address, count)
        raise DeviceError(
            f"no answer to {operation.name.lower()} of {count} words at {address:#010x} after "
            f"{1 + self.retries} attempts; check the port, the baud rate and that the board is "
            "configured"
        )

    def _receive(self) -> bytes | None:
        """Return the reply to the request under way, or None if it is lost or damaged."""
        rest = b""
        # Noise does not end; a reply of full length with every byte escaped does.
        left = 2 * _WORD * (BLOCK_WORDS + 2) + 2
        while left > 0:
            data = self.port.read(max(1, min(left, getattr(self.port, "in_waiting", 1))))
            if not data:
                return None
            left -= len(data)
            frames, rest = decode_frames(rest + data)
            for frame in frames:
                if frame is not None and frame[1] == self._sequence and frame[0] in _STATUSES:
                    return frame
        return None

    def _check(self, reply: bytes, operation: Operation, address: int, count: int) -> bytes:
        status, _, moved = struct.unpack_from("<BBH", reply)
        what = f"{operation.name.lower()} of {count} words at {address:#010x}"
        if status == ReplyStatus.BUS_ERROR:
            raise DeviceError(
                f"{what}: the bus answered with an error at {address + _WORD * moved:#010x}; "
                "nothing is there, or not for this access"
            )
        data = reply[_WORD:]
        expected = count if operation is Operation.READ else 0
        if status == ReplyStatus.REFUSED or moved != count or len(data) != _WORD * expected:
            raise DeviceError(
                f"{what}: the board does not know the request; it was built by another version"
            )
        return data


_STATUSES = frozenset(ReplyStatus)


def _blocks(address: int, size: int) -> Iterable[tuple[int, int]]:
    """Return address and words of the requests that cover `size` bytes."""
    for name, value in (("address", address), ("size", size)):
        if value % _WORD or not 0 <= value < _SPACE:
            raise ValueError(f"{name} must be a multiple of {_WORD} of 32 bits, not {value}")
    words = size // _WORD
    return [
        (address + _WORD * first, min(BLOCK_WORDS, words - first))
        for first in range(0, words, BLOCK_WORDS)
    ]
