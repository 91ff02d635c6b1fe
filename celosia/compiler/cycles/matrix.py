"""The matrix unit: when each pass streams its rows."""

from collections import deque

from celosia.compiler.cycles.drains import Drains
from celosia.compiler.cycles.latencies import (
    PASS_QUEUE,
    STEPS_AHEAD,
    WORD_LATENCY,
    WORDS_AHEAD,
)
from celosia.compiler.cycles.memory import ReadClient
from celosia.compiler.cycles.network import Process
from celosia.compiler.cycles.passes import OUTPUT, passes
from celosia.compiler.cycles.sequencer import Machine, fetches_weights
from celosia.compiler.cycles.tiles import TileLoader
from celosia.isa import Opcode, Unit

__all__ = ["Stalls", "fetch_weights", "multiply"]


class Stalls:
    """Cycles in which the array had no row, and why; rows that it had."""

    rows = tiles = words = accumulators = 0


def fetch_weights(machine: Machine, client: ReadClient) -> Process:
    """Ask for the tiles in memory as soon as their MATMUL is decoded."""
    config = machine.config
    program = [ins for ins in machine.queues[Unit.MATRIX].program if fetches_weights(ins)]
    free = asked = 0
    for index, ins in enumerate(program):
        time = max((yield from machine.prefetched.item(index)) + 2, free + 2)
        beats = ins["k_tiles"] * config.tile_bytes // config.memory_width
        beat = ins["w_address"] // config.memory_width
        for _ in range(0, ins["n"], config.columns):
            client.ask(time, beat, beats)
            free = yield from client.taken.item(asked)
            asked += 1
            beat += beats
            time = free + 1
        machine.prefetch_taken.add(free)


def multiply(machine: Machine, client: ReadClient, stalls: Stalls) -> Process:
    """Execute the MATMULs and ATTENDs, pass by pass."""
    config = machine.config
    queue = machine.queues[Unit.MATRIX]
    tiles = TileLoader(config, client)
    drains = Drains(config)
    bank = 0
    step = 0  # when the last step left the walker
    asked = end = -1  # when the last row was asked for, and went
    tile_pops = deque([-1] * PASS_QUEUE)
    row_pops = deque([-1] * PASS_QUEUE)
    for ins in queue.program:
        step = max(step, (yield from queue.start()) - 1)
        if ins.opcode is Opcode.ATTEND:
            step += 1
        for p in passes(ins, config, bank):
            # The walker hands the pass to the queues.
            queued = max(step + 1, tile_pops.popleft() + 1)
            rows_queued = max(step + 1, row_pops.popleft() + 1)
            step = max(queued, rows_queued)
            if p.drain is not None:
                step = max(step, drains.room())

            # Its tile is loaded, then its rows go.
            there = yield from tiles.load(p, queued)
            tile_pops.append(tiles.popped)
            if p.from_probabilities:
                words = max(rows_queued + 2, drains.block())
                ahead = STEPS_AHEAD
            else:
                words = max(rows_queued + 1, asked + 1) + WORD_LATENCY
                ahead = WORDS_AHEAD
            start = max(end + 1, words, there)
            if p.opens:
                free = drains.free(p.bank)
                stalls.accumulators += max(0, free - max(end + 1, words))
                start = max(start, free)
                stalls.tiles += max(0, start - max(end + 1, words, free))
            else:
                stalls.tiles += max(0, there - max(end + 1, words))
            stalls.rows += p.rows
            tiles.taken = start
            end = start + p.rows - 1
            asked = max(words - WORD_LATENCY + p.rows - 1, end - ahead + 1)
            row_pops.append(asked)
            if p.releases:
                drains.blocks.popleft()
            if p.bank == OUTPUT and ins.opcode is Opcode.ATTEND:
                drains.busy.append((start, end))
            if p.drain is not None:
                drains.add(p.drain, step, end)
                bank ^= ins.opcode is Opcode.MATMUL
        queue.taken.add(step)
        queue.end(drains.finish())
