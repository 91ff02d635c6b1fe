"""The tile loader: when each stationary tile is complete."""

from collections import deque
from collections.abc import Generator

from celosia.compiler.cycles.latencies import (
    STEPS_AHEAD,
    WORD_LATENCY,
    WORDS_AHEAD,
    WORDS_THERE,
)
from celosia.compiler.cycles.network import Times
from celosia.compiler.cycles.passes import Pass
from celosia.compiler.cycles.read_client import ReadClient
from celosia.compiler.cycles.reads import TILES, Reads, Run
from celosia.config import MachineConfig

__all__ = ["TileLoader"]


class TileLoader:
    """Loads a tile, a column a cycle; all but the first wait until the one before is in use."""

    def __init__(self, config: MachineConfig, client: ReadClient, reads: Reads) -> None:
        self.client = client
        self.reads = reads.runs[TILES]
        self.columns = config.columns
        self.banks = config.scratchpad_banks
        self.column_bytes, self.width = config.rows, config.memory_width
        # A column is gathered of beats, or a beat holds several columns.
        self.gathers = max(1, config.rows // config.memory_width)
        self.pace = max(1, config.memory_width // config.rows)
        #: When the tile in use came into use.
        self.taken = -1
        #: When the last tile was taken from its queue.
        self.popped = 0
        self._step = 0  # when the last column was stepped over
        self._go = 0  # when the last column was taken
        self._words = deque([-1] * WORDS_AHEAD, WORDS_AHEAD)  # and the last ones of the scratchpad
        #: Rows that are asked for, which come before columns.
        self.rows: list[Run] = []

    def load(self, tile: Pass, queued: int) -> Generator[Times, None, int]:
        """Load a tile that was queued at `queued`; return when it is complete."""
        step = max(queued + 1, self._step + 1)
        if tile.from_memory:
            last = yield from self._from_memory(tile, max(step, self._go) + 1)
        elif tile.columns:
            last = self._from_scratchpad(tile, step)
        else:
            last = max(max(step, self._go) + 1, self.taken) + self.columns - 1
        ahead = STEPS_AHEAD if tile.from_memory else WORDS_AHEAD
        steps = tile.stored // self.column_bytes if tile.from_memory else self.columns
        self._step = self.popped = max(step + steps - 1, last - ahead + 1)
        self._go = last
        return last + 1

    def _from_memory(self, tile: Pass, start: int) -> Generator[Times, None, int]:
        """Take the columns as their weights come; return when the last one is taken."""
        beats = tile.stored // self.width
        if self.gathers == 1:
            _, first = yield from self.client.take(1, start, 1)
            start = max(first, self.taken) + self.pace
            _, last = yield from self.client.take(beats - 1, start, self.pace)
            return last + self.pace - 1
        # A column is gathered as soon as the one before it is taken.
        _, last = yield from self.client.take(self.gathers, self._go, 1)
        start = max(start, last + 1)
        _, last = yield from self.client.take(self.gathers, start, 1)
        start = max(last, self.taken) + 1
        _, last = yield from self.client.take(beats - 2 * self.gathers, start, 1)
        return last + 1

    def _from_scratchpad(self, tile: Pass, step: int) -> int:
        """Take the columns as their words come; return when the last one is taken."""
        request = read = step - 1
        begin = step
        first = word = tile.tile
        words = self._words
        for column in range(tile.columns):
            request = max(request, words[0]) + 1
            last, read = read, max(read + 1, request, words[-WORDS_THERE])
            for run in self.rows:
                read = run.free(word, read, self.banks)
            if read > last + 1:
                self.reads.append(Run(begin, last, first, tile.tile_stride))
                begin, first = read, word
            free = self.taken if column else 0
            self._go = max(read + WORD_LATENCY, free + 1, self._go + 1)
            words.append(self._go)
            word += tile.tile_stride
        self.reads.append(Run(begin, read, first, tile.tile_stride))
        return max(self._go, self.taken if tile.columns == 1 else 0) + self.columns - tile.columns
