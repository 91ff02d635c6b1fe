"""The store unit and the memory writer: one STORE after the other, until memory has answered."""

import math
from collections import deque

from celosia.compiler.cycles.latencies import WORD_LATENCY, WRITE_BEATS, burst_limit
from celosia.compiler.cycles.load import row_requests
from celosia.compiler.cycles.memory import FITS, STAGES, MemoryTiming
from celosia.compiler.cycles.network import Process
from celosia.compiler.cycles.sequencer import Machine
from celosia.config import MachineConfig
from celosia.isa import Instruction, Unit

__all__ = ["store_rows"]


def store_rows(machine: Machine, timing: MemoryTiming) -> Process:
    """Execute the STOREs."""
    queue = machine.queues[Unit.STORE]
    for instruction in queue.program:
        start = yield from queue.start()
        end = start + _cycles(instruction, machine.config, timing)
        queue.taken.add(end)
        queue.end(end)


def _cycles(instruction: Instruction, config: MachineConfig, timing: MemoryTiming) -> int:
    """Cycles of a STORE: nothing else is under way at the writer, so they depend on it alone."""
    limit = burst_limit(config, WRITE_BEATS)
    pace = timing.beat_cycles(config)
    asked, split = 0, deque([0] * STAGES)
    step = issue = slot = 0
    pushed = float(WORD_LATENCY)  # when the last beat was put into the writer's queue
    bus = 0.0  # when the next beat can be on the bus
    sent: deque[tuple[int, float]] = deque()  # bursts that may still be in the queue
    free = WRITE_BEATS
    free_request = 2
    for rows, beat, beats in row_requests(instruction, config):
        asked = max(free_request + rows, split.popleft())
        free_request = asked + 1
        split.append(max(asked + STAGES, step + 1))
        step = split[-1]
        while beats:
            count = min(beats, limit - beat % limit)
            while free < count:
                size, at = sent.popleft()
                free += size
                pushed = max(pushed, at + 1 - count)
            free -= count
            pushed += count
            step = max(step + 1, issue)
            issue = max(step + FITS, math.ceil(pushed) + FITS, issue + 2, slot)
            slot = max(issue + 1, math.ceil(bus - pace))
            bus = max(slot + 1, bus) + count * pace
            sent.append((count, bus - pace))
            beat, beats = beat + count, beats - count
    answer = 1 if config.memory == "on_chip" else timing.latency
    return math.ceil(bus - pace) + answer + 1
