"""Host side of the serial bridge: words and blocks of a machine's address space over a line.

The protocol is described in `celosia.rtl.bridge`.
"""

import random
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from celosia.errors import DeviceError
from celosia.rtl.bridge import BLOCK_WORDS, WINDOW, Operation, ReplyStatus
from celosia.runtime.link_frames import decode_frames
from celosia.runtime.link_requests import (
    SPACE,
    Request,
    blocks,
    check_reply,
    encode_request,
    is_older,
    writes,
)

__all__ = ["Port", "SerialLink", "Statistics"]

_WORD = 4
#: How much longer than at first the link waits where the line is slow.
LONGEST = 8


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


@dataclass
class Statistics:
    """What the line had to carry."""

    #: Requests, and how many of them were sent again.
    requests: int = 0
    repeated: int = 0
    #: Times that nothing came for too long.
    timeouts: int = 0
    #: Bytes sent and received.
    sent: int = 0
    received: int = 0


class SerialLink:
    """A machine's address space at the other end of a serial line.

    Requests follow each other without waiting, `WINDOW` at most. Each is repeated until its reply
    comes or `retries` are used up; a write is executed once all the same, and all of them in order.

    Parameters
    ----------
    port : Port
        The line; its `timeout` is set.
    timeout : float
        Seconds without a byte after which the oldest request under way counts as lost; it doubles
        with each such time, up to `LONGEST` times as much, and becomes less with each reply.
    retries : int
        How often the oldest request under way is sent again after such a time.

    Attributes
    ----------
    statistics : Statistics
        What the line had to carry so far.

    Raises
    ------
    DeviceError
        If nobody answers at the other end.
    """

    def __init__(self, port: Port, *, timeout: float = 0.5, retries: int = 4) -> None:
        self.port = port
        self.retries = retries
        self.timeout = port.timeout = timeout
        self.statistics = Statistics()
        self._rest = b""
        self._frames: list[bytes] = []
        # The number of a request counts on for ever; the line has its last eight bits.
        self._number = random.randrange(256)
        clean = getattr(port, "reset_input_buffer", None)
        if clean is not None:
            clean()
        self._begun = False
        self.exchange([])

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
        requests = [Request(Operation.READ, *block) for block in blocks(address, size)]
        return b"".join(self.exchange(requests))

    def write_block(self, address: int, data: bytes) -> None:
        """Write `data` from `address`; its size and the address are multiples of 4.

        Raises
        ------
        ValueError
            If they are not.
        DeviceError
            If the device refuses, or does not answer.
        """
        self.exchange(writes(address, data))

    def digests(self, address: int, size: int) -> list[int]:
        """Return the CRC-32 of each `BLOCK_BYTES` from `address`, and of what is left of `size`.

        Raises
        ------
        ValueError
            If address or size is not a multiple of 4.
        DeviceError
            If the device refuses, or does not answer.
        """
        requests = [Request(Operation.DIGEST, *block) for block in blocks(address, size)]
        return [int.from_bytes(reply, "little") for reply in self.exchange(requests)]

    def exchange(
        self, requests: Sequence[Request], progress: Callable[[int], None] | None = None
    ) -> list[bytes]:
        """Have requests executed one after the other; return what each of them gave.

        Parameters
        ----------
        requests : sequence of Request
            Reads and writes, as many as there are.
        progress : callable, optional
            Called with the number of requests that are done.

        Raises
        ------
        DeviceError
            If the device refuses one, or does not answer; those before it have been executed, and
            some behind it may have been.
        """
        try:
            if not self._begun:
                # Random numbers, for a session like the last would not be a new one.
                numbers = random.randrange(SPACE), random.randrange(1 << 16)
                self._exchange([Request(Operation.SYNC, *numbers)])
                self._begun = True
            return self._exchange(requests, progress)
        except OSError as error:
            self._begun = False
            raise DeviceError(f"the serial line broke: {error}; plug it in again") from error
        except DeviceError:
            # Who knows how far the other end is.
            self._begun = False
            raise

    def _exchange(
        self, requests: Sequence[Request], progress: Callable[[int], None] | None = None
    ) -> list[bytes]:
        first, end = self._number, self._number + len(requests)
        self._number = end
        self.statistics.requests += len(requests)
        frames: dict[int, bytes] = {}  # under way
        sent: dict[int, int] = {}  # when, as a number that grows
        replies: dict[int, bytes] = {}
        clock = 0

        def send(numbers: Iterable[int]) -> None:
            nonlocal clock
            for number in numbers:
                self.statistics.repeated += number in sent
                self.statistics.sent += len(frames[number])
                clock += 1
                sent[number] = clock
                self.port.write(frames[number])

        oldest, following, silent = first, first, 0
        while oldest < end:
            fresh = range(following, min(end, oldest + WINDOW))
            for number in fresh:
                frames[number] = encode_request(requests[number - first], number)
            send(fresh)
            following = max(following, fresh.stop)
            reply = self._receive()
            if reply is None:
                silent += 1
                self.statistics.timeouts += 1
                if silent > self.retries:
                    raise self._silence(requests[oldest - first])
                # The reply says what else is missing. If the line is only slow, more would make
                # it slower.
                self.port.timeout = min(2 * (self.port.timeout or 0), LONGEST * self.timeout)
                send([oldest])
                continue
            number = oldest + (reply[1] - oldest) % 256
            if number not in frames:
                continue  # an answer to what was answered before
            if reply[0] == ReplyStatus.OUT_OF_ORDER:
                send([other for other in frames if other >= number])
                continue
            request = requests[number - first]
            if is_older(reply, request):
                continue
            replies[number] = check_reply(reply, request)
            del frames[number]
            # Replies come in the order of requests: of those sent before, they are lost.
            send([other for other in frames if sent[other] < sent[number]])
            while oldest in replies:
                oldest, silent = oldest + 1, 0
                self.port.timeout = max(self.timeout, 0.9 * (self.port.timeout or 0))
            if progress is not None:
                progress(oldest - first)
        return [replies[number] for number in range(first, end)]

    def _receive(self) -> bytes | None:
        """Return the next sound reply, or None after a while without one."""
        # Noise does not end; a reply of full length with every byte escaped does.
        left = WINDOW * (2 * _WORD * (BLOCK_WORDS + 2) + 2)
        while not self._frames:
            data = self.port.read(max(1, min(left, getattr(self.port, "in_waiting", 1))))
            left -= len(data)
            if not data or left < 0:
                self._rest = b""
                return None
            self.statistics.received += len(data)
            frames, self._rest = decode_frames(self._rest + data)
            self._frames = [frame for frame in frames if frame and frame[0] in _STATUSES]
        return self._frames.pop(0)

    def _silence(self, request: Request) -> DeviceError:
        attempts = 1 + self.retries
        if request.operation is Operation.SYNC:
            return DeviceError(
                f"no answer after {attempts} attempts; check the port, the baud rate and that the "
                "board is configured"
            )
        lost = self.statistics
        return DeviceError(
            f"no answer to {request} after {attempts} attempts; {lost.repeated} of {lost.requests} "
            "requests had to be sent again: check the cable, or choose a lower baud rate"
        )


_STATUSES = frozenset(ReplyStatus)
