"""The drains: when accumulators go to the requantiser, and when their results are there."""

from collections import deque

from celosia.compiler.cycles.latencies import (
    ACTIVATION,
    DRAIN_QUEUE,
    DRAIN_READ,
    REQUANTISER,
    ROW_PATH,
    SUM_PATH,
    WORD_LATENCY,
    WORDS_AHEAD,
    WRITE_LATENCY,
    Latencies,
)
from celosia.compiler.cycles.passes import Drain
from celosia.compiler.cycles.reads import RESIDUALS, Reads, Run, Writes
from celosia.config import MachineConfig

__all__ = ["Drains"]

#: Cycles from a row read to its result.
RESULT = DRAIN_READ + REQUANTISER + ACTIVATION
#: Cycles from the first row of a drain until its lanes can be prepared for the next one.
LANES_TAKEN = 3


class Drains:
    """Drains one group of accumulators after the other, each when it is closed."""

    def __init__(self, config: MachineConfig, reads: Reads, writes: Writes) -> None:
        latencies = Latencies.of(config)
        self.lanes = config.lanes
        self.to_sums = ROW_PATH + latencies.array + latencies.scaler
        self.to_probabilities = DRAIN_READ + REQUANTISER + latencies.softmax + 1
        self.to_reciprocals = DRAIN_READ + REQUANTISER + latencies.reciprocal + 1
        self._writes = writes.runs
        self._reads = reads.runs[RESIDUALS]
        self._residuals = reads.reader(RESIDUALS)
        self._asked = 0  # when the last word of a residual was asked for
        self._follows = config.chaining
        # Each with when it was queued, and when its first and its last row can be read.
        self._waiting: deque[tuple[Drain, int, int, int]] = deque()
        # When drains were handed on, their lanes being prepared; one more than have begun, if it
        # waits already.
        self._handed: deque[int] = deque([-1] * DRAIN_QUEUE, DRAIN_QUEUE)
        # The drain under way: its first row, and before which the last one cannot go.
        self._under_way: tuple[Drain, int, int] | None = None
        self._first = self._last = -LANES_TAKEN
        # When the last two drains of each bank have read their last rows.
        self._drained = [deque([-1, -1], 2) for _ in range(2)]
        #: When blocks of probabilities were complete.
        self.blocks: deque[int] = deque()
        self._reciprocals: deque[int] = deque()  # when those of each attention have come
        #: When an instruction's results are there.
        self.done = 0

    def room(self) -> int:
        """When the queue of drains has room for one more."""
        while len(self._waiting) > DRAIN_QUEUE:
            self._begin()
        return self._handed[len(self._waiting) - DRAIN_QUEUE - 1] + 1 if self._waiting else 0

    def add(self, drain: Drain, queued: int, start: int, end: int) -> None:
        """Add a drain: when it was queued, and when the first and last row before it went."""
        closed = end + self.to_sums + SUM_PATH
        if not drain.rows:  # all operands have been read: a tile before rows
            closed = (start if drain.output else end) + 1
        # Of chained machines the rows go as they are complete.
        first = start + closed - end if self._follows and drain.rows else closed
        self._waiting.append((drain, queued, first, closed))
        if len(self._waiting) == 1:
            self._prepare()

    def free(self, bank: int, joins: bool = False) -> int:
        """When a bank can be summed into: all its drains, or all but one, have read it."""
        most = int(joins)
        while (left := self._left(bank)) > most:
            if any(drain.bank == bank for drain, *_ in self._waiting):
                self._begin()
            else:
                self._end()
        return self._drained[bank][left - most - 1] + 1

    def _left(self, bank: int) -> int:
        """Drains of a bank of which the end is not known."""
        waiting = sum(drain.bank == bank for drain, *_ in self._waiting)
        return waiting + (self._under_way is not None and self._under_way[0].bank == bank)

    def block(self) -> int:
        """When the oldest block of probabilities is complete."""
        while not self.blocks:
            if self._under_way:
                self._end()
            else:
                self._begin()
        return self.blocks[0]

    def finish(self) -> int:
        """Work out all that is left; return when the last result can be read."""
        while self._waiting:
            self._begin()
        self._end()
        return self.done

    def _prepare(self) -> None:
        """Prepare the lanes of the next drain, once the last one has taken over its own."""
        drain, queued, *_ = self._waiting[0]
        begin = max(queued, self._handed[-1]) + 1
        if drain.rows:
            begin = max(begin, self._first + LANES_TAKEN) + self.lanes + 1
        self._handed.append(begin)

    def _begin(self) -> None:
        """Begin the next drain."""
        if self._under_way:
            self._end()
        drain, queued, opened, closed = self._waiting.popleft()
        first = max(self._handed[-1] + 1, self._last + 1, opened)
        if drain.residual:
            first = max(first, self._ask(drain.residual[0], queued + 1))
        if drain.output:
            first = max(first, self._reciprocals[0])
        if drain.rows:
            self._first = first
        self._under_way = drain, first, closed
        if self._waiting:
            self._prepare()

    def _end(self) -> None:
        """End the drain under way."""
        assert self._under_way is not None
        drain, first, closed = self._under_way
        self._under_way = None
        rows = max(1, drain.rows * drain.parts)
        if drain.residual:
            last = self._add_residual(*drain.residual, first, rows)
        else:
            last = max(first + rows, closed + drain.parts) - 1
        self._last = last
        if drain.rows:
            self._drained[drain.bank].append(last)
        if drain.scores:
            self.blocks.append(last + self.to_probabilities)
            if drain.final:
                self._reciprocals.append(last + self.to_reciprocals)
        elif drain.rows:
            written = last + RESULT
            self._writes.append((written - rows + 1, written))
        if drain.output and drain.ends:
            self._reciprocals.popleft()
        if drain.ends:
            self.done = last + RESULT + WRITE_LATENCY

    def _ask(self, word: int, time: int) -> int:
        """Ask for a word of a residual; return when it is there."""
        self._asked = self._residuals.granted(word, max(self._asked + 1, time))
        return self._asked + WORD_LATENCY

    def _add_residual(self, word: int, stride: int, first: int, rows: int) -> int:
        """Read rows from `first` on, each with its residual; return the last one's time."""
        begin = self._asked
        self._reads.append(Run(begin, begin + WORDS_AHEAD - 1, word, stride))
        going = deque([begin] * (WORDS_AHEAD - 1) + [first], WORDS_AHEAD)
        for row in range(1, rows):
            there = self._ask(word + row * stride, going[0] + 1)
            if row == WORDS_AHEAD:
                begin = self._asked
            going.append(max(going[-1] + 1, there))
        if rows > WORDS_AHEAD:
            self._reads.append(Run(begin, self._asked, word + WORDS_AHEAD * stride, stride))
        return going[-1]
