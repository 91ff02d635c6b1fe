"""The store unit and the memory writer: one STORE after the other, until memory has answered."""

import math
from bisect import bisect_left
from collections import deque
from itertools import pairwise

from celosia.compiler.cycles.latencies import (
    WORD_LATENCY,
    WORDS_AHEAD,
    WRITE_BEATS,
    WRITES_UNDER_WAY,
    burst_limit,
)
from celosia.compiler.cycles.load import row_requests
from celosia.compiler.cycles.memory import MemoryTiming
from celosia.compiler.cycles.network import Alarm, Process
from celosia.compiler.cycles.read_client import FITS, STAGES
from celosia.compiler.cycles.reads import Reads
from celosia.compiler.cycles.sequencer import Machine
from celosia.compiler.rows import touched
from celosia.config import MachineConfig
from celosia.isa import Instruction, Space, Unit

__all__ = ["store_rows"]


def store_rows(machine: Machine, timing: MemoryTiming) -> Process:
    """Execute the STOREs."""
    config = machine.config
    queue = machine.queues[Unit.STORE]
    limit = burst_limit(config, WRITE_BEATS)
    for instruction in queue.program:
        start = (yield from queue.start()) + 1  # its range having been found
        words = _Words(instruction, config, machine.reads, start)
        writer = _Writer(config, timing, start)
        for rows, beat, beats in row_requests(instruction, config):
            writer.ask(rows)
            while beats:
                count = min(beats, limit - beat % limit)
                while words.pushed < writer.claimed + count:
                    if words.begins_row:
                        yield Alarm(words.time)  # by then, what else is read is known
                    words.push(writer)
                writer.issue(count, words.when(writer.claimed + count))
                beat, beats = beat + count, beats - count
        machine.beats_written += writer.claimed
        queue.taken.add(writer.end)
        queue.end(writer.end)


class _Words:
    """Reads the words of a STORE and cuts them into beats for the writer."""

    def __init__(
        self, instruction: Instruction, config: MachineConfig, reads: Reads, start: int
    ) -> None:
        is_rows16 = Space(instruction["space"]) is Space.ROWS16
        word = config.word_bytes if is_rows16 else config.lanes
        words, beats = touched(instruction, config)
        # A word is several beats, or two words are one; the last one of a row ends its beat.
        ends = [(index + 1) * word // config.memory_width for index in words]
        ends[-1] = beats.stop
        #: Beats that end with each word of a row.
        self.beats = [end - begin for begin, end in pairwise([beats.start, *ends])]
        self.pushed = 0  # beats
        #: When the next word can be asked for.
        self.time = start + 1
        self._row = instruction["base"] + words.start
        self._word = 0
        self._stride = instruction["stride"]
        self._reads = reads.reader()
        self._sent = deque([start] * WORDS_AHEAD, WORDS_AHEAD)
        self._totals: list[int] = []  # beats up to the last one of each word
        self._ends: list[int] = []  # when that was pushed

    @property
    def begins_row(self) -> bool:
        """Whether the next word is the first of a row."""
        return self._word == 0

    def push(self, writer: "_Writer") -> None:
        """Push the beats of a word into the writer's queue; rows may be longer than that."""
        time = max(self.time, self._sent[0] + 1)
        time = self._reads.granted(self._row + self._word, time)
        self.time = time + 1
        begin = max(time + WORD_LATENCY, self._sent[-1] + 1)
        beats = self.beats[self._word]
        self._word += 1
        if beats:
            self.pushed += beats
            self._sent.append(max(begin + beats - 1, writer.room(self.pushed)))
            self._totals.append(self.pushed)
            self._ends.append(self._sent[-1])
        else:
            self._sent.append(begin)
        if self._word == len(self.beats):
            self._word = 0
            self._row += self._stride

    def when(self, count: int) -> int:
        """When the first `count` beats had been pushed."""
        word = bisect_left(self._totals, count)
        return self._ends[word] - (self._totals[word] - count)


class _Writer:
    """Issues a burst when its beats are there, and sends them."""

    def __init__(self, config: MachineConfig, timing: MemoryTiming, start: int) -> None:
        self.claimed = 0  # beats
        #: When memory has answered all bursts so far.
        self.end = start
        self._pace = timing.beat_cycles(config)
        self._answer = timing.write_latency(config)
        self._split = deque([0] * STAGES, STAGES)
        self._asked = start + 1
        self._step = self._issue = self._slot = 0
        self._bus = 0.0  # when the next beat can be on the bus
        self._bursts: deque[tuple[int, float]] = deque()  # beats so far, when the last one went
        self._answers = deque([0] * WRITES_UNDER_WAY, WRITES_UNDER_WAY)

    def ask(self, rows: int) -> None:
        """Take the request of so many rows."""
        self._asked = max(self._asked + 1 + rows, self._split[0])
        self._step = max(self._asked + STAGES, self._step + 1)
        self._split.append(self._step)

    def issue(self, count: int, there: int) -> None:
        """Issue a burst whose last beat is there at `there`."""
        self._step = max(self._step + 1, self._issue)
        self._issue = max(max(self._step, there) + FITS, self._slot, self._answers[0] + 1)
        self._slot = max(self._issue + 1, math.ceil(self._bus - self._pace))
        self._bus = max(self._slot + 1, self._bus) + count * self._pace
        last = self._bus - self._pace
        self.claimed += count
        self._bursts.append((self.claimed, last))
        self._answers.append(math.ceil(last) + self._answer)
        self.end = self._answers[-1] + 1

    def room(self, count: int) -> int:
        """When the queue has room for the last of `count` beats."""
        count -= WRITE_BEATS
        if count <= 0:
            return 0
        while self._bursts[0][0] < count:
            self._bursts.popleft()
        total, last = self._bursts[0]
        return math.ceil(last - (total - count) * self._pace) + 1
