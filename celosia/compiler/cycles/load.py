"""The load unit: requests run ahead of the data, rows are written as they come."""

from collections.abc import Iterator

from celosia.compiler.cycles.latencies import BURST_BEATS, LOADS_AHEAD, WRITE_LATENCY
from celosia.compiler.cycles.network import Alarm, Process, Times
from celosia.compiler.cycles.read_client import ReadClient
from celosia.compiler.cycles.sequencer import Machine
from celosia.compiler.rows import ENTRY_BYTES, memory_rows, touched
from celosia.config import MachineConfig
from celosia.isa import Flag, Instruction, Space, Unit

__all__ = ["ask_for_rows", "row_requests", "write_rows"]


def row_requests(instruction: Instruction, config: MachineConfig) -> Iterator[tuple[int, int, int]]:
    """Yield (rows joined, first beat, beats) of each memory request of a LOAD or STORE.

    Rows that follow each other at once are joined up to the length of the longest burst.
    """
    _, touches = touched(instruction, config)
    beats = len(touches)
    rows = memory_rows(instruction)
    joined = 1
    if instruction["pitch"] == beats * config.memory_width:
        joined = -(-BURST_BEATS // beats)
    for row in range(0, rows, joined):
        count = min(joined, rows - row)
        address = instruction["address"] + row * instruction["pitch"]
        yield count, address // config.memory_width + touches.start, count * beats


def ask_for_rows(machine: Machine, client: ReadClient, jobs: Times, written: Times) -> Process:
    """Take the LOADs and ask for their rows; `jobs` says when each was taken."""
    queue = machine.queues[Unit.LOAD]
    free = 0
    asked = 0
    for index, instruction in enumerate(queue.program):
        time = max((yield from queue.start()), free)
        time = max(time, (yield from written.item(index - LOADS_AHEAD)) + 1)
        queue.taken.add(time)
        jobs.add(time)
        free = time + 2
        for rows, beat, beats in row_requests(instruction, machine.config):
            client.ask(free + rows, beat, beats)
            free = (yield from client.taken.item(asked)) + 1
            asked += 1


def write_rows(machine: Machine, client: ReadClient, jobs: Times, written: Times) -> Process:
    """Write what was loaded, one LOAD after the other; `written` says when each was."""
    config = machine.config
    queue = machine.queues[Unit.LOAD]
    end = 0
    for index, instruction in enumerate(queue.program):
        begin = max((yield from jobs.item(index)), end) + 2
        space = Space(instruction["space"])
        if space in ENTRY_BYTES:
            # An entry a cycle, or a beat a cycle if that is less.
            pace = max(1, config.memory_width // ENTRY_BYTES[space])
            beats = len(touched(instruction, config)[1])
            _, last = yield from client.take(beats, begin, pace)
            end = last + (instruction["words"] - 1) % pace
        else:
            # A word is one beat or more, or two words that are written in two cycles.
            words, beats = map(len, touched(instruction, config))
            rows = memory_rows(instruction)
            chained = Flag.CHAIN in instruction.flags
            if chained:  # the words of a beat at a time
                words = max(1, config.memory_width // config.lanes)
                beats = max(1, config.lanes // config.memory_width)
                rows = -(-rows * instruction["rows"] // words)
            pace = -(-words // beats)
            end = begin
            for _ in range(rows):
                first, last = yield from client.take(beats, end, pace)
                yield Alarm(last)  # by then, what else is written is known
                end = last + words - (beats - 1) * pace if pace > 1 else last + 1
                word = max(1, beats // words)
                end = machine.writes.delayed(first + word, end, word)
                if chained:
                    for index in range(words):
                        machine.chained.add(end - (words - 1 - index) * word)
        written.add(end)
        queue.end(end + WRITE_LATENCY)
