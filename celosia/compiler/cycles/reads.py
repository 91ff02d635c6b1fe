"""Who reads which bank of the scratchpad when, and who writes: of several, the first one does."""

from bisect import bisect
from typing import NamedTuple

__all__ = ["RESIDUALS", "ROWS", "TILES", "Reader", "Reads", "Run", "Writes"]

#: Readers of the matrix unit, which come before those of the other units.
ROWS, TILES, RESIDUALS = range(3)


class Run(NamedTuple):
    """Words that are asked for, one every `pace` cycles: first and last, first word, stride."""

    first: int
    last: int
    word: int
    stride: int
    pace: int = 1

    def free(self, word: int, time: int, banks: int) -> int:
        """When the bank of another's word is not that of the run's word, from `time` on."""
        while self.first <= time <= self.last:
            index, pause = divmod(time - self.first, self.pace)
            if pause or (self.word + index * self.stride - word) % banks:
                break
            time = self.last + 1 if self.pace == 1 and self.stride % banks == 0 else time + 1
        return time


class Reads:
    """The runs of each reader of the matrix unit, in the order of time."""

    def __init__(self, banks: int) -> None:
        self.banks = banks
        self.runs: list[list[Run]] = [[], [], []]

    def reader(self, before: int = RESIDUALS + 1) -> "Reader":
        """Return a reader that comes after the first `before` ones."""
        return Reader(self.runs[:before], self.banks)

    def share(self, first: int, last: int) -> float:
        """Return the share of cycles, from `first` to `last`, in which rows are asked for."""
        runs = self.runs[ROWS]
        busy = 0
        for index in range(max(0, bisect(runs, (first,)) - 2), len(runs)):
            run = runs[index]
            if run.first > last:
                break
            busy += max(0, min(run.last, last) - max(run.first, first) + run.pace) // run.pace
        return min(1.0, busy / (last - first + 1))


class Reader:
    """Asks for words, at times that only rise, when their bank is free."""

    def __init__(self, runs: list[list[Run]], banks: int) -> None:
        self._runs = runs
        self._banks = banks
        self._next = [0] * len(runs)

    def granted(self, word: int, time: int) -> int:
        """When the bank of a word is free, from `time` on."""
        while True:
            asked = time
            for port, runs in enumerate(self._runs):
                at = self._next[port]
                while at < len(runs) and runs[at].last < time:
                    at += 1
                self._next[port] = at
                while at < len(runs) and runs[at].first <= time:
                    time = runs[at].free(word, time, self._banks)
                    at += 1
            if time == asked:
                return time


class Writes:
    """When the matrix unit writes, a word a cycle, which comes before what is loaded."""

    def __init__(self) -> None:
        self.runs: list[tuple[int, int]] = []
        self._next = 0

    def delayed(self, first: int, last: int, pace: int) -> int:
        """When the last of words is written that are ready from `first` to `last`, at a pace."""
        while self._next < len(self.runs) and self.runs[self._next][1] < first:
            self._next += 1
        for index in range(self._next, len(self.runs)):
            begin, end = self.runs[index]
            if begin > last:
                break
            waits = first if begin <= first else begin + (first - begin) % pace
            last += max(0, end + 1 - waits)
        return last
