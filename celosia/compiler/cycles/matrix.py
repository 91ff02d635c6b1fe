"""The matrix unit: in which order passes leave the walkers, and when each streams its rows."""

from collections import deque
from collections.abc import Generator, Iterable, Sequence

from celosia.compiler.cycles.drains import Drains
from celosia.compiler.cycles.latencies import (
    PASS_QUEUE,
    STEPS_AHEAD,
    WORD_LATENCY,
    WORDS_AHEAD,
    WORDS_THERE,
    WRITE_LATENCY,
)
from celosia.compiler.cycles.network import Alarm, Process, Times
from celosia.compiler.cycles.passes import (
    Pass,
    key_blocks,
    matmul_passes,
    output_passes,
    score_passes,
)
from celosia.compiler.cycles.read_client import ReadClient
from celosia.compiler.cycles.reads import ROWS, Run
from celosia.compiler.cycles.sequencer import Machine, fetches_weights
from celosia.compiler.cycles.tiles import TileLoader
from celosia.isa import Instruction, Opcode, Unit
from celosia.tiles import instruction_tiles

__all__ = ["MatrixUnit", "Stalls", "fetch_weights"]

#: Runs of rows that are read while later tiles are loaded.
RUNS_KEPT = 8
#: Blocks of keys whose scores are there and whose output is not.
BLOCKS_WAITING = 2


class Stalls:
    """Rows that the array had, and cycles in which it had none for want of a tile or a bank."""

    rows = tiles = accumulators = 0


def fetch_weights(machine: Machine, client: ReadClient) -> Process:
    """Ask for the tiles in memory as soon as their MATMUL is decoded."""
    config = machine.config
    program = [ins for ins in machine.queues[Unit.MATRIX].program if fetches_weights(ins)]
    free = asked = 0
    for index, ins in enumerate(program):
        time = max((yield from machine.prefetched.item(index)), free) + 2
        tiles = instruction_tiles(config, ins)
        beats = tiles.bytes(ins["k_tiles"], ins["skip"]) // config.memory_width
        beat = ins["w_address"] // config.memory_width
        for _ in range(0, ins["n"], tiles.channels):
            client.ask(time, beat, beats)
            free = yield from client.taken.item(asked)
            asked += 1
            beat += beats
            time = free + 1
        machine.prefetch_taken.add(free)


class MatrixUnit:
    """Executes the MATMULs and ATTENDs, pass by pass."""

    def __init__(self, machine: Machine, client: ReadClient, stalls: Stalls) -> None:
        self.config = machine.config
        self.queue = machine.queues[Unit.MATRIX]
        self.stalls = stalls
        self.reads = machine.reads.runs[ROWS]
        self.tiles = TileLoader(machine.config, client, machine.reads)
        self.drains = Drains(machine.config, machine.reads, machine.writes)
        self.chained = machine.chained
        self._words = 0  # of chained LOADs that have gone
        self._bank = 0
        self._step = 0  # when the last step went to the queues, the cycle after the walkers
        self._asked = self._end = -1  # when the last row was asked for, and went
        self._tile_pops = deque([-1] * PASS_QUEUE, PASS_QUEUE)
        self._row_pops = deque([-1] * PASS_QUEUE, PASS_QUEUE)
        # The last passes, all and those with words: when their last row went, how many, and the
        # cycles of one.
        self._gone = deque([(-1, STEPS_AHEAD, 1)], STEPS_AHEAD)
        self._words_gone = deque([(-1, WORDS_AHEAD, 1)], WORDS_AHEAD)
        # Rows of short passes that were read while later tiles are loaded.
        self._behind: deque[Run] = deque(maxlen=2 * WORDS_THERE)
        self._outputs: deque[tuple[Instruction, int]] = deque()  # blocks that wait

    def run(self) -> Process:
        """Take instruction after instruction; output waits for the scores of the next block."""
        for ins in self.queue.program:
            offered = yield from self._offered(ins)
            if ins.opcode is Opcode.ATTEND:
                yield from self._attend(ins, offered + 2)
            else:
                self._step = max(self._step, offered)
                yield from self._pass_all(matmul_passes(ins, self.config, self._bank))
                self.queue.taken.add(self._step - 1)
                self.queue.end(self.drains.finish())
        while self._outputs:
            yield from self._output(self._hungry())

    def _offered(self, ins: Instruction) -> Generator[Times | Alarm, None, int]:
        """Wait for the next instruction; output goes on as soon as the array would wait for it."""
        start = self.queue.start()
        while True:
            try:
                stream = next(start)
            except StopIteration as known:
                offered = known.value
                break
            if self._outputs:
                alarm = Alarm(max(self._hungry(), self._step + 1), stream)
                yield alarm
                if alarm.rang:
                    yield from self._output(self._hungry())
            else:
                yield stream
        while self._outputs:
            ready = offered
            if ins.opcode is Opcode.ATTEND:
                ready += 1
                if ready <= max(self._hungry(), self._step + 1):
                    break
            yield from self._output(min(self._hungry(), ready))
        return offered

    def _hungry(self) -> int:
        """When only one pass is left in the queue of rows."""
        return self._row_pops[-2] + 1

    def _attend(self, ins: Instruction, ready: int) -> Generator[Times | Alarm, None, None]:
        """Form the scores of an ATTEND, and between them the output of the block before."""
        for block in range(key_blocks(ins, self.config)):
            if len(self._outputs) == BLOCKS_WAITING:
                yield from self._output(0)
            self._step = max(self._step + 1, ready)
            joins = self.config.score_halves and bool(self._outputs)
            yield from self._pass_all(score_passes(ins, self.config, block, joins))
            self._outputs.append((ins, block))
        self.queue.taken.add(self._step - 1)

    def _output(self, time: int) -> Generator[Times | Alarm, None, None]:
        """Add the output of the block that has waited longest, from `time` on."""
        ins, block = self._outputs.popleft()
        self._step = max(self._step + 1, time)
        yield from self._pass_all(output_passes(ins, self.config, block))
        if block == key_blocks(ins, self.config) - 1:
            self.queue.end(self.drains.finish())

    def _pass_all(self, passes: Iterable[Pass]) -> Generator[Times | Alarm, None, None]:
        """Stream the rows of passes, one pass after the other."""
        tiles, drains, stalls = self.tiles, self.drains, self.stalls
        passes = list(passes)
        for index, p in enumerate(passes):
            # The walker hands the pass to the queues.
            queued = max(self._step, self._tile_pops[0]) + 1
            rows_queued = max(self._step, self._row_pops[0]) + 1
            self._step = max(queued, rows_queued)
            if p.drain is not None:
                self._step = max(self._step, drains.room())

            # Its tile is loaded, behind the first rows that are read.
            asked = read = max(rows_queued, self._asked) + 1
            if not p.from_probabilities:
                read = max(asked, _gone(self._words_gone, (0, 1, 1), WORDS_THERE))
                pace = 1 if read == asked else p.pace  # as the rows before go, then
                self._read(p.reads(0, min(p.rows, WORDS_THERE), read, pace))
                tiles.rows += self._behind
            there = yield from tiles.load(p, queued)
            self._tile_pops.append(tiles.popped)

            # Then its rows go.
            wanted = max(self._end + 1, rows_queued + 2)
            free = drains.free(p.bank, p.joins) if p.opens else 0
            words = drains.block() if p.from_probabilities else read + WORD_LATENCY
            start = max(wanted, free, there, words)
            end = start + p.rows * p.pace - 1
            came = 0  # when the last row could be asked for
            if p.chained:
                start, end, came = yield from self._chain(p, start)
            stalls.accumulators += max(0, free - wanted)
            stalls.tiles += max(0, there - max(wanted, free))
            stalls.rows += p.rows * p.pace
            tiles.taken, self._end = start, end

            rows = end, p.rows, p.pace
            self._asked = max(asked + p.rows - 1, came, _gone(self._gone, rows, STEPS_AHEAD) + 1)
            if not p.from_probabilities:
                self._asked = max(self._asked, _gone(self._words_gone, rows, WORDS_AHEAD) + 1)
                self._words_gone.append(rows)
            self._gone.append(rows)
            self._row_pops.append(self._asked)
            del tiles.rows[:-RUNS_KEPT]
            if p.from_probabilities:
                if p.releases:
                    drains.blocks.popleft()
            else:
                # Each row that goes lets another one be read.
                self._read(p.reads(WORDS_THERE, p.rows, start + p.pace - 1, p.pace))
            self._give_room(passes[index : index + WORDS_THERE + 1], start)
            if p.drain is not None:
                drains.add(p.drain, self._step, start, end)
                if p.more is not None:
                    self._step = max(self._step + 1, drains.room())
                    drains.add(p.more, self._step, start, end)
            self._bank ^= p.turns

    def _chain(self, p: Pass, start: int) -> Generator[Times | Alarm, None, tuple[int, int, int]]:
        """Let each row go as soon as it has been loaded, but none before `start`.

        Returns
        -------
        start, end, came : int
            When the first row goes, the last cycle of the last one, and when that had come.
        """
        begin = came = 0
        time = start
        for row in range(p.rows):
            came = (yield from self.chained.item(self._words + row)) + WRITE_LATENCY
            time = max(time, came + WORD_LATENCY)
            begin = begin or time
            time += p.pace
        self._words += p.rows
        return begin, time - 1, came

    def _read(self, runs: Iterable[Run]) -> None:
        """Note how rows are read, which comes before columns."""
        for run in runs:
            self.tiles.rows.append(run)
            self.reads.append(run)

    def _give_room(self, passes: Sequence[Pass], start: int) -> None:
        """Note what the rows of a short pass let be read: the rows of passes behind it."""
        first = passes[0]
        if first.from_probabilities or first.rows >= WORDS_THERE:
            return
        for row in range(first.rows):
            behind, place = divmod(row + WORDS_THERE, first.rows)
            if behind < len(passes):
                time = start + (row + 1) * first.pace - 1
                self._behind += passes[behind].reads(place, place + 1, time, 1)


def _gone(before: Iterable[tuple[int, int, int]], rows: tuple[int, int, int], ahead: int) -> int:
    """When the row went that is `ahead` rows before the last one of `rows`."""
    for last, count, pace in (rows, *reversed(list(before))):
        if ahead < count:
            return last - ahead * pace
        ahead -= count
    return -1
