"""A serial line between cocotb and `serial_top.v`, with noise that damages frames on it."""

import random
from collections import deque

from cocotb.queue import Queue
from cocotb.task import resume
from cocotb.triggers import Event, Timer, with_timeout

from celosia.rtl.bridge_frames import END

__all__ = ["Line", "Noise", "Pins", "wait_cycles"]

#: Of the clock in `serial_top.v`, in ns.
PERIOD = 10
#: Bytes that one step of the bench moves at most.
CHUNK = 32


async def wait_cycles(count: int) -> None:
    await Timer(PERIOD * count, unit="ns")


class Noise:
    """Damages whole frames: each share is that of the frames which suffer it."""

    def __init__(
        self,
        *,
        dropped: float = 0.0,
        corrupted: float = 0.0,
        repeated: float = 0.0,
        delayed: float = 0.0,
        seed: int = 1,
    ) -> None:
        self.shares = {
            "dropped": dropped,
            "corrupted": corrupted,
            "repeated": repeated,
            "delayed": delayed,
        }
        self.counts = {"frames": 0} | dict.fromkeys(self.shares, 0)
        self.random = random.Random(seed)
        self._rest = b""
        self._copies: list[tuple[int, bytes]] = []  # frames until it comes again

    def pass_on(self, data: bytes) -> list[tuple[int, bytes]]:
        """Return what comes out for `data`: steps to wait before, and bytes."""
        out = []
        self._rest += data
        while (end := self._rest.find(END, 1)) > 0:
            frame, self._rest = self._rest[: end + 1], self._rest[end + 1 :]
            out += self._frame(frame)
        return out

    def _frame(self, frame: bytes) -> list[tuple[int, bytes]]:
        self.counts["frames"] += 1
        happens = {name for name, share in self.shares.items() if self.random.random() < share}
        for name in happens:
            self.counts[name] += 1
        wait = self.random.randrange(1, 200) if "delayed" in happens else 0
        if "repeated" in happens:
            self._copies.append((self.random.randrange(4), frame))
        if "dropped" in happens:
            frame = b""
        elif "corrupted" in happens:
            damaged = bytearray(frame)
            damaged[self.random.randrange(len(frame))] ^= 1 << self.random.randrange(8)
            frame = bytes(damaged)
        again = [copy for left, copy in self._copies if left == 0]
        self._copies = [(left - 1, copy) for left, copy in self._copies if left]
        return [(wait, frame), *((0, copy) for copy in again)]


class Line:
    """Moves bytes between the pins and two queues, through noise in each direction."""

    def __init__(self, dut, sending: Noise, receiving: Noise) -> None:
        self.dut = dut
        self.noises = sending, receiving
        self.to_send: deque[tuple[int, bytes]] = deque()
        self.ready = b""
        dut.push.value = dut.pull.value = 0
        self._push = self._pull = 0
        self._holding: deque[list] = deque()
        self._received: deque[list] = deque()

    def send(self, data: bytes) -> None:
        self._holding += [list(item) for item in self.noises[0].pass_on(data)]

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way."""
        return not (self._holding or self._received or self.ready or int(self.dut.waiting.value))

    def step(self) -> bytes:
        """Move what can be moved now; return what was received."""
        self.ready += self._released(self._holding)
        if self.ready and int(self.dut.waiting.value) < CHUNK:
            data, self.ready = self.ready[:CHUNK], self.ready[CHUNK:]
            self._push ^= 1
            self.dut.bytes.value = int.from_bytes(data, "little")
            self.dut.count.value = len(data)
            self.dut.push.value = self._push
        count = int(self.dut.received_count.value)
        if count:
            assert count < CHUNK, "the bench is too slow for the line"
            data = int(self.dut.received.value).to_bytes(CHUNK, "little")[:count]
            self._pull ^= 1
            self.dut.pull.value = self._pull
            self._received += [list(item) for item in self.noises[1].pass_on(data)]
        return self._released(self._received)

    @staticmethod
    def _released(queue: deque[list]) -> bytes:
        out = b""
        while queue:
            if queue[0][0]:
                queue[0][0] -= 1
                break
            out += queue.popleft()[1]
        return out


class Pins:
    """A serial port for a host in the bench's own process; its time is the simulation's."""

    timeout = None

    def __init__(self, line: Line, step: int, patience: int) -> None:
        self.line, self.cycles, self.patience = line, step, patience
        self.received: Queue[bytes] = Queue()
        self.stopped = Event()

    async def run(self) -> None:
        while not self.stopped.is_set():
            data = self.line.step()
            if data:
                self.received.put_nowait(data)
            await wait_cycles(self.cycles)

    in_waiting = 1 << 16

    def write(self, data: bytes) -> None:
        self.line.send(data)

    @resume
    async def read(self, size: int) -> bytes:
        try:
            data = await with_timeout(self.received.get(), self.patience * PERIOD, "ns")
        except TimeoutError:
            return b""
        while not self.received.empty():
            data += self.received.get_nowait()
        assert len(data) <= size
        return data
