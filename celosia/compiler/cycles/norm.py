"""How long a NORM takes: its rows pass twice, and several at a time find their scales between."""

from functools import lru_cache

from celosia.compiler.cycles.latencies import RESULT, WRITE_LATENCY, Latencies
from celosia.compiler.cycles.vector_port import VectorPort
from celosia.config import MachineConfig

__all__ = ["GAIN", "NORM_READS", "ROWS_BETWEEN", "VARIANCE", "norm_cycles", "row_cycles"]

#: Rows between the two passes, and rows whose sums can wait.
ROWS_BETWEEN, SUMS_WAITING = 7, 2
#: Cycles of the stages that find a row's scale. The root takes 22, and before that shifts the
#: variance up for 0 to 10 cycles, which depend on the data.
VARIANCE, ROOT, GAIN = 39, 22 + 3, 39
#: Reads for a word: of it for the sums, of it again, of its gains and of its offsets.
NORM_READS = 4


def row_cycles(config: MachineConfig, words: int) -> int:
    """Cycles from row to row of a NORM, if reads take none."""
    return max(words * config.lanes // config.vector_lanes, VARIANCE + 1, GAIN + 1)


class _Scales:
    """The stages that find the scale of each row from its sums."""

    def __init__(self) -> None:
        self.taken: list[int] = []  # when the sums of each row were taken
        self.found: list[int] = []  # when its scale was there
        self._free = [0, 0, 0]

    def add(self, sums: int) -> None:
        """Take the sums of a row, which are there at `sums`."""
        variance, root, gain = self._free
        taken = max(sums, variance)
        rooted = max(taken + VARIANCE, root)
        gained = max(rooted + ROOT, gain)
        self._free = [rooted + 1, gained, gained + GAIN + 1]
        self.taken.append(taken)
        self.found.append(gained + GAIN)


@lru_cache(maxsize=4096)
def norm_cycles(config: MachineConfig, m: int, words: int) -> int:
    """Cycles of a NORM of `m` rows of `words` words, from its start to its end."""
    chunks = config.lanes // config.vector_lanes
    sums_latency = Latencies.of(config).norm_sums
    port, scales = VectorPort(), _Scales()
    applied: list[int] = []  # when the last element of each row was taken
    word = [0, 0]  # next word of the sums, and of the elements
    free = [0, 0]  # when each pass can take a word
    sums_before = False  # the last turn was that of the sums
    end = 0
    while len(applied) < m:
        # When each pass wants its next word; None if it does not, or not before the other.
        row, done = len(scales.found), len(applied)
        wants = [
            None if row == m else port.turn,
            None if row == done else port.turn,
        ]
        if wants[0] is not None and word[0] == 0 and row >= ROWS_BETWEEN:
            behind = row - ROWS_BETWEEN
            wants[0] = applied[behind] + 1 if behind < done else None
        if wants[1] is not None and word[1] == 0:
            wants[1] = scales.found[done] + 1
        turn = max(port.turn, min(time for time in wants if time is not None))
        sums, elements = (time is not None and time <= turn for time in wants)

        sums_before = sums and not (sums_before and elements)
        if sums_before:
            if word[0] == 0 and row >= SUMS_WAITING:
                free[0] = max(free[0], scales.taken[row - SUMS_WAITING])
            free[0] = port.read(turn, free[0]) + chunks
            word[0] += 1
            if word[0] == words:
                word[0] = 0
                scales.add(free[0] + sums_latency)
        else:
            port.read(turn, 0)  # the word, then its gains, then its offsets
            port.read(turn, 0)
            free[1] = port.read(turn, free[1]) + chunks
            word[1] += 1
            if word[1] == words:
                word[1] = 0
                applied.append(free[1])
                end = free[1] + RESULT + WRITE_LATENCY
    return end
