"""The scratchpad's read port of the vector unit."""

from collections import deque

from celosia.compiler.cycles.latencies import WORD_LATENCY, WORDS_AHEAD

__all__ = ["WORDS_ASKED_FOR", "VectorPort"]

#: Words on their way from the scratchpad.
WORDS_ASKED_FOR = 8


class VectorPort:
    """A word after the other, of both passes; times count from the start of an instruction."""

    def __init__(self) -> None:
        self.turn = 2  # when the next word can be asked for
        self._given = deque([-WORD_LATENCY] * WORDS_ASKED_FOR, WORDS_ASKED_FOR)

    def read(self, time: int, taken: int) -> int:
        """Ask for a word at `time`, to be taken at `taken`, or later; return when it is."""
        turn = max(time, self.turn, self._given[0] + 1)
        request = max(turn, self._given[-WORDS_AHEAD]) + 1
        self.turn = request
        self._given.append(max(request + WORD_LATENCY, self._given[-1] + 1, taken))
        return self._given[-1]
