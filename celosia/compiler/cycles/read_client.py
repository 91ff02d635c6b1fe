"""One client of the memory reader: its requests, its bursts, and the queue of its beats."""

import math
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass

from celosia.compiler.cycles.latencies import DISTRIBUTED_DEPTH, burst_limit
from celosia.compiler.cycles.network import Network, Times
from celosia.config import MachineConfig

__all__ = ["FITS", "STAGES", "ReadClient"]

#: Stages of a request before it is split into bursts; each takes a cycle.
STAGES = 2
#: Cycles from a burst, or from room for it, to its issue.
FITS = 2
#: Cycles from a beat that is taken until its room is known.
LEFT = 1


@dataclass(slots=True)
class _Request:
    """A run of beats: when it is there, the place in memory of its first beat, and how many."""

    valid: int
    beat: int
    beats: int


class ReadClient:
    """One client of the memory reader: its requests as bursts, and the queue of its beats.

    Two requests wait in front of the one that is being split, and a burst in front of the arbiter
    until the queue has room for it.
    """

    def __init__(self, network: Network, config: MachineConfig, depth: int, reserve: int) -> None:
        self.depth = depth
        self.reserve = reserve
        self.limit = burst_limit(config, depth)
        #: Cycles from a beat on the bus until it can be taken.
        self.path = 1 + (1 if depth <= DISTRIBUTED_DEPTH else 2)
        #: When requests were taken.
        self.taken = network.times()
        self._split: list[int] = []  # when they began to be split
        self._asked: deque[_Request] = deque()
        self._accepted: deque[_Request] = deque()
        self._rest = _Request(0, 0, 0)  # what is left of the request that is being split
        # The burst at hand: when it was there, and its beats; 0 if there is none.
        self._step = 0
        #: Place in memory of its first beat.
        self.place = 0
        self._beats = 0
        self._issued = 0  # beats
        self._last_issue = 0
        # Bursts that have come or will: their first beat's time, beats, and pace.
        self.arrivals = network.times()
        self._bursts: deque[tuple[int, float]] = deque()
        self._burst = 0  # the next one to take beats of
        self._left = 0
        self._next = 0.0
        self._pace = 1.0
        # Runs of beats taken from the queue: all up to it, its beats, first and last time.
        self._pops: deque[tuple[int, int, int, int]] = deque()
        self._popped = 0

    def ask(self, valid: int, beat: int, beats: int) -> None:
        """Ask for `beats` beats from place `beat` on, at `valid`; see `taken`."""
        self._asked.append(_Request(valid, beat, beats))
        self._advance()

    def _advance(self) -> None:
        """Take requests, split them, and put a burst before the arbiter, as far as is known."""
        while True:
            index = len(self.taken)
            if self._asked and index < len(self._split) + STAGES:
                request = self._asked.popleft()
                if index >= STAGES:
                    request.valid = max(request.valid, self._split[index - STAGES])
                self.taken.add(request.valid)
                request.valid += STAGES
                self._accepted.append(request)
            elif self._rest.beats == 0 and self._accepted:
                self._rest = self._accepted.popleft()
                self._rest.valid = max(self._rest.valid, self._step + 1)
                self._split.append(self._rest.valid)
            elif self._beats == 0 and self._rest.beats:
                rest = self._rest
                self._beats = min(rest.beats, self.limit - rest.beat % self.limit)
                self._step = max(self._step, rest.valid, self._last_issue - 1) + 1
                self.place = rest.beat
                rest.beat += self._beats
                rest.beats -= self._beats
            else:
                return

    def ready(self) -> int | None:
        """When the burst at hand can be issued; None if there is none, or it is not known yet."""
        if self._beats == 0:
            return None
        room = self._popped_at(self._issued + self._beats - self.depth)
        return None if room is None else max(self._step, room + LEFT) + FITS

    def urgent(self, time: int) -> bool:
        """Whether it has less than its reserve in the queue or under way."""
        at = self._popped_at(self._issued - self.reserve + 1)
        return at is not None and at + LEFT + FITS <= time

    def _popped_at(self, count: int) -> int | None:
        """When the first `count` beats had been taken from the queue; None if not known yet."""
        if count <= 0:
            return -FITS - LEFT
        if count > self._popped:
            return None
        while self._pops[0][0] <= self._issued - self.depth:
            self._pops.popleft()
        total, beats, first, last = next(run for run in self._pops if run[0] >= count)
        if beats > 1:
            last -= (total - count) * (last - first) // (beats - 1)
        return last

    def issue(self, time: int) -> int:
        """Issue the burst at hand; return its beats."""
        beats, self._beats = self._beats, 0
        self._issued += beats
        self._last_issue = time
        self._advance()
        return beats

    def arrive(self, beats: int, first: float, pace: float) -> None:
        """Say when the beats of a burst are on the bus."""
        self._bursts.append((beats, pace))
        self.arrivals.add(math.ceil(first) + self.path)

    def take(self, beats: int, start: int, pace: int) -> Generator[Times, None, tuple[int, int]]:
        """Take beats out of the queue from `start` on, a beat in `pace` cycles at most.

        Returns
        -------
        first, last : int
            When the first and the last one were taken.
        """
        begin = -1
        while beats:
            if self._left == 0:
                self._next = yield from self.arrivals.item(self._burst)
                self._burst += 1
                self._left, self._pace = self._bursts.popleft()
            count = min(beats, self._left)
            first = max(start, math.ceil(self._next))
            last = max(first + (count - 1) * pace, math.ceil(self._next + (count - 1) * self._pace))
            if begin < 0:
                begin = first
            self._popped += count
            self._pops.append((self._popped, count, first, last))
            start = last + pace
            self._next += count * self._pace
            self._left -= count
            beats -= count
        return begin, start - pace
