"""The vector unit: one instruction after the other, the cycles of each a matter of its sizes."""

from functools import lru_cache

from celosia.compiler.cycles.latencies import RESULT, WRITE_LATENCY
from celosia.compiler.cycles.network import Alarm, Process
from celosia.compiler.cycles.norm import NORM_READS, norm_cycles, row_cycles
from celosia.compiler.cycles.sequencer import Machine
from celosia.compiler.cycles.vector_port import VectorPort
from celosia.config import MachineConfig
from celosia.isa import Instruction, Opcode, Unit

__all__ = ["execute_rows", "search_latency"]

#: Reads for a word of a MULTIPLY: both factors.
PRODUCT_READS = 2


def execute_rows(machine: Machine) -> Process:
    """Execute the instructions of the vector unit."""
    queue = machine.queues[Unit.VECTOR]
    for instruction in queue.program:
        start = yield from queue.start()
        cycles, reads, row = _sizes(machine.config, instruction)
        end = start + cycles
        yield Alarm(end)  # by then, what else is read is known
        # A read meets a row of the array in its bank, and waits a cycle, as often as there are rows
        # and as seldom as there are banks. What the rows wait for anyway hides that.
        meets = machine.reads.share(start, end) / machine.config.scratchpad_banks
        end += int(instruction["m"] * max(0, reads * (1 + meets) - max(reads, row)))
        queue.taken.add(end)
        queue.end(end)


def _sizes(config: MachineConfig, instruction: Instruction) -> tuple[int, int, int]:
    """Return the cycles of an instruction, the reads of a row, and a row's cycles without them."""
    m, words = instruction["m"], instruction["words"]
    chunks = config.lanes // config.vector_lanes
    match instruction.opcode:
        case Opcode.MULTIPLY:
            return product_cycles(config, m, words), PRODUCT_READS * words, words * chunks
        case Opcode.ARGMAX:
            cycles = search_cycles(config, m, words)
            return cycles, words + 1, cycles // m
        case _:
            return norm_cycles(config, m, words), NORM_READS * words, row_cycles(config, words)


def search_latency(config: MachineConfig) -> int:
    """Cycles from the last chunk of a row to its largest element."""
    return (config.vector_lanes - 1).bit_length() + 2


@lru_cache(maxsize=4096)
def product_cycles(config: MachineConfig, m: int, words: int) -> int:
    """Cycles of a MULTIPLY, from its start to its end."""
    port = VectorPort()
    free = 0
    for _ in range(m * words):
        port.read(port.turn, 0)
        free = port.read(port.turn, free) + config.lanes // config.vector_lanes
    return free + RESULT + WRITE_LATENCY


@lru_cache(maxsize=4096)
def search_cycles(config: MachineConfig, m: int, words: int) -> int:
    """Cycles of an ARGMAX, from its start to its end: a row begins when the last is done with."""
    port = VectorPort()
    chunks = config.lanes // config.vector_lanes
    free = [0, 0]
    for _ in range(m):
        turn = max(port.turn, free[1] + 1)
        for _ in range(words):
            free[0] = port.read(turn, free[0]) + chunks
            turn = port.turn
        free[1] = port.read(free[0] + search_latency(config) + 1, free[1]) + chunks
    return free[1] + RESULT + WRITE_LATENCY
