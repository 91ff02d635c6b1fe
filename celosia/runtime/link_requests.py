"""Requests over the serial line and their replies, on the host's side; see `celosia.rtl.bridge`."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from celosia.errors import DeviceError
from celosia.rtl.bridge import BLOCK_WORDS, Operation, ReplyStatus
from celosia.runtime.link_frames import encode_frame

__all__ = [
    "BLOCK_BYTES",
    "SPACE",
    "Request",
    "blocks",
    "check_reply",
    "encode_request",
    "is_older",
    "writes",
]

_WORD = 4
#: Bytes that can be addressed.
SPACE = 1 << 32
#: Bytes that one request moves.
BLOCK_BYTES = _WORD * BLOCK_WORDS


@dataclass(frozen=True)
class Request:
    """Something to be done at the other end: `count` words from `address`; data for a write."""

    operation: Operation
    address: int
    count: int
    data: bytes = b""

    def __str__(self) -> str:
        return f"{self.operation.name.lower()} of {self.count} words at {self.address:#010x}"


def writes(address: int, data: bytes) -> list[Request]:
    """Return the requests that write `data` from `address`, multiples of 4.

    Raises
    ------
    ValueError
        If they are not.
    """
    return [
        Request(Operation.WRITE, start, count, data[start - address :][: _WORD * count])
        for start, count in blocks(address, len(data))
    ]


def encode_request(request: Request, number: int) -> bytes:
    """Return a request's bytes on the line; `number` is its sequence number, not yet modulo 256."""
    header = struct.pack("<BBHI", request.operation, number % 256, request.count, request.address)
    return encode_frame(header + request.data)


def is_older(reply: bytes, request: Request) -> bool:
    """Say whether a reply of the right number is of another session."""
    status, _, words = struct.unpack_from("<BBH", reply)
    if request.operation is not Operation.SYNC:
        return False
    return status != ReplyStatus.REFUSED and (status, words) != (ReplyStatus.OK, request.count)


def check_reply(reply: bytes, request: Request) -> bytes:
    """Return the data of a reply, if it is what was asked for."""
    status, _, moved = struct.unpack_from("<BBH", reply)
    if status == ReplyStatus.BUS_ERROR:
        raise DeviceError(
            f"{request}: the bus answered with an error at {request.address + _WORD * moved:#010x};"
            " nothing is there, or not for this access"
        )
    if status == ReplyStatus.NO_SESSION:
        raise DeviceError(f"{request}: the board was reset in the meantime; open it again")
    data = reply[_WORD:]
    words = {Operation.READ: request.count, Operation.DIGEST: min(1, request.count)}
    expected = _WORD * words.get(request.operation, 0)
    if status == ReplyStatus.REFUSED or moved != request.count or len(data) != expected:
        raise DeviceError(
            f"{request}: the board does not know the request; it was built by another version"
        )
    return data


def blocks(address: int, size: int) -> Iterable[tuple[int, int]]:
    """Return address and words of the requests that cover `size` bytes."""
    for name, value in (("address", address), ("size", size)):
        if value % _WORD or not 0 <= value < SPACE:
            raise ValueError(f"{name} must be a multiple of {_WORD} of 32 bits, not {value}")
    words = size // _WORD
    return [
        (address + _WORD * first, min(BLOCK_WORDS, words - first))
        for first in range(0, words, BLOCK_WORDS)
    ]
