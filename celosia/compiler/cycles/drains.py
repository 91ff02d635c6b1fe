"""The drains: when accumulators go to the requantiser, and when their results are there."""

from collections import deque

from celosia.compiler.cycles.latencies import (
    ACTIVATION,
    DRAIN_READ,
    PASS_QUEUE,
    REQUANTISER,
    ROW_PATH,
    SUM_PATH,
    WORD_LATENCY,
    WRITE_LATENCY,
    Latencies,
)
from celosia.compiler.cycles.passes import Drain
from celosia.config import MachineConfig

__all__ = ["Drains"]


class Drains:
    """Drains one group of accumulators after the other, each when it is closed.

    They are worked out when somebody asks, as sums that come later may keep a bank busy.
    """

    def __init__(self, config: MachineConfig) -> None:
        latencies = Latencies.of(config)
        self.lanes = config.lanes
        self.to_sums = ROW_PATH + latencies.array
        self.to_probabilities = DRAIN_READ + REQUANTISER + latencies.softmax + 1
        self.to_reciprocals = DRAIN_READ + REQUANTISER + latencies.reciprocal + 1
        self._waiting: deque[tuple[Drain, int, int]] = deque()
        self._handed: deque[int] = deque([-1] * PASS_QUEUE)  # when preparing ended
        self._first = -100  # when the last drain read its first and its last row
        self._last = -100
        #: When the last drain of each bank has read its last row, and how many wait.
        self._drained = [-1, -1]
        #: When blocks of probabilities were complete.
        self.blocks: deque[int] = deque()
        self._reciprocals = 0
        #: When an instruction's results are there.
        self.done = 0
        #: Passes whose sums keep the output bank busy: first and last row.
        self.busy: list[tuple[int, int]] = []

    def room(self) -> int:
        """When the queue of drains has room for one more."""
        while len(self._waiting) >= PASS_QUEUE:
            self._next()
        return self._handed[-PASS_QUEUE + len(self._waiting)] + 1

    def add(self, drain: Drain, queued: int, end: int) -> None:
        """Add a drain: when it was queued, and when the last row of its group went."""
        self._waiting.append((drain, queued, end + self.to_sums + SUM_PATH))

    def free(self, bank: int) -> int:
        """When a bank can be summed into, all its drains having read their last row."""
        while any(drain.bank == bank for drain, _, _ in self._waiting):
            self._next()
        return self._drained[bank] + 1

    def block(self) -> int:
        """When the oldest block of probabilities is complete."""
        while not self.blocks:
            self._next()
        return self.blocks[0]

    def finish(self) -> int:
        """Work out all that is left; return when the last result can be read."""
        while self._waiting:
            self._next()
        return self.done

    def _next(self) -> None:
        drain, queued, closed = self._waiting.popleft()
        handed = max(queued + 1, self._first + 3, self._handed[-1] + 1) + self.lanes + 1
        self._handed.popleft()
        self._handed.append(handed)
        first = max(handed + 1, self._last + 1, closed)
        if drain.residual:
            first = max(first, queued + 1 + WORD_LATENCY)
        if drain.output:
            first = max(first, self._reciprocals)
        rows = drain.rows * drain.parts
        first, last = self._skip(first, rows) if drain.output else (first, first + rows - 1)
        self._first, self._last = first, last
        self._drained[drain.bank] = last
        if drain.scores:
            self.blocks.append(last + self.to_probabilities)
            if drain.last_scores:
                self._reciprocals = last + self.to_reciprocals
        if drain.ends:
            self.done = last + DRAIN_READ + REQUANTISER + ACTIVATION + WRITE_LATENCY
            self.busy.clear()

    def _skip(self, first: int, rows: int) -> tuple[int, int]:
        """Read rows from `first` on in the cycles in which no sums go to the bank."""
        begin, left, time = -1, rows, first
        for start, end in self.busy:
            start, end = start + self.to_sums, end + self.to_sums
            if end < time:
                continue
            if time < start:
                if begin < 0:
                    begin = time
                if time + left <= start:
                    return begin, time + left - 1
                left -= start - time
            time = end + 1
        return (time if begin < 0 else begin), time + left - 1
