"""The vector unit: one NORM after the other, each a matter of its sizes alone."""

from collections import deque
from functools import lru_cache

from celosia.compiler.cycles.latencies import (
    WORD_LATENCY,
    WORDS_AHEAD,
    WRITE_LATENCY,
    Latencies,
)
from celosia.compiler.cycles.network import Process
from celosia.compiler.cycles.sequencer import Machine
from celosia.config import MachineConfig
from celosia.isa import Unit

__all__ = ["NORM_GAIN", "NORM_RESULT", "NORM_ROOT", "NORM_VARIANCE", "norm_rows"]

#: Rows between the two passes, sums that wait, and scales that wait.
CAPACITY, SUMS_WAITING, SCALES_WAITING = 7, 2, 2
#: Cycles of the three stages of a row's scale, and the least from row to row. The root first
#: shifts the variance up, which takes 0 to 10 cycles; here, what it takes mostly.
NORM_VARIANCE, NORM_ROOT, NORM_GAIN, ROW_CYCLES = 39, 22 + 4, 39, 43
#: Cycles from the last chunk of a word to its result.
NORM_RESULT = 19
#: Words on their way from the scratchpad.
WORDS_ASKED_FOR = 8


def norm_rows(machine: Machine) -> Process:
    """Execute the NORMs."""
    queue = machine.queues[Unit.VECTOR]
    for instruction in queue.program:
        start = yield from queue.start()
        end = start + _cycles(machine.config, instruction["m"], instruction["words"])
        queue.taken.add(end)
        queue.end(end)


class _Port:
    """The scratchpad's read port: a word after the other, each to one of the two passes."""

    def __init__(self) -> None:
        self.turn = 1  # when the next word can be asked for
        self._given: deque[int] = deque([-WORD_LATENCY] * WORDS_ASKED_FOR)

    def word(self, time: int, taken: int) -> int:
        """Ask for a word at `time`, to be taken at `taken` or later; return when it is."""
        turn = max(time, self.turn, self._given[0] + 1)
        request = max(turn + 1, self._given[-WORDS_AHEAD] + 1)
        self.turn = max(turn + 1, request)
        given = max(request + WORD_LATENCY, self._given[-1] + 1, taken)
        self._given.popleft()
        self._given.append(given)
        return given


@lru_cache(maxsize=4096)
def _cycles(config: MachineConfig, m: int, words: int) -> int:
    """Cycles of a NORM of `m` rows of `words` words."""
    chunks = config.lanes // config.vector_lanes
    latency = Latencies.of(config).norm_sums
    port = _Port()
    scaled: list[int] = []  # when each row's scale was there
    applied: list[int] = []  # when each row's last element was taken
    variance = root = gain = 0  # when each stage can take the next row
    taken: list[int] = []  # when each row's sums were taken
    sums_free = elements_free = 0  # when each pass can take a word
    row = word = out = out_word = 0
    sums_before = False
    written = 0
    while out < m:
        now = port.turn
        # When each pass wants its next word.
        wants_sum = wants_element = None
        if row < m:
            wants_sum = now
            if word == 0 and row >= CAPACITY:
                wants_sum = applied[row - CAPACITY] + 1 if row - CAPACITY < out else None
        if out < row and out < len(scaled):
            wants_element = max(now, scaled[out] + 1) if out_word == 0 else now
        sums = wants_sum is not None and (
            wants_element is None
            or wants_sum < wants_element
            or (wants_sum == wants_element and not sums_before)
        )
        if wants_sum is not None and wants_element is not None:
            both = max(wants_sum, wants_element) <= now
            sums = not sums_before if both else wants_sum < wants_element
        sums_before = sums
        if sums:
            assert wants_sum is not None
            free = sums_free
            if word == 0 and row >= SUMS_WAITING:
                free = max(free, taken[row - SUMS_WAITING])
            sums_free = port.word(max(now, wants_sum), free) + chunks
            word += 1
            if word == words:
                row, word = row + 1, 0
                there = sums_free + latency
                taken.append(max(there, variance))
                at = max(taken[-1] + NORM_VARIANCE, root)
                variance = max(taken[-1] + NORM_VARIANCE, at) + 1
                at = max(at + NORM_ROOT, gain)
                root = at
                at += NORM_GAIN
                gain = max(at + 1, taken[-1] + NORM_VARIANCE + NORM_ROOT + ROW_CYCLES - 3)
                scaled.append(at)
        else:
            assert wants_element is not None
            port.word(max(now, wants_element), 0)
            port.word(0, 0)
            elements_free = port.word(0, elements_free) + chunks
            written = elements_free + NORM_RESULT
            out_word += 1
            if out_word == words:
                out, out_word = out + 1, 0
                applied.append(elements_free)
    return written + WRITE_LATENCY
