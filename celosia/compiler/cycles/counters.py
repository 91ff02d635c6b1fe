"""The machine's counters, as far as they follow from the times that were worked out."""

from celosia.compiler.cycles.matrix import Stalls
from celosia.compiler.cycles.memory import ReadChannel
from celosia.compiler.cycles.sequencer import Machine, UnitQueue
from celosia.isa import Unit

__all__ = ["count"]


def count(machine: Machine, stalls: Stalls, channel: ReadChannel) -> dict[str, int]:
    """Return the counters by their names in `isa.COUNTERS`; only saturations are not known."""
    counters = {
        "instructions": 1 + sum(len(queue.program) for queue in machine.queues.values()),
        "mac_rows": stalls.rows,
        "stall_weights": stalls.tiles,
        "stall_accumulators": stalls.accumulators,
        "memory_reads": channel.beats,
        "memory_writes": machine.beats_written,
    }
    for unit, queue in machine.queues.items():
        counters[f"{unit.name.lower()}_busy"] = _busy(queue)
        counters[f"{unit.name.lower()}_wait"] = _waiting(queue)
    rest = stalls.rows + stalls.tiles + stalls.accumulators
    counters["stall_rows"] = counters[f"{Unit.MATRIX.name.lower()}_busy"] - rest
    return counters


def _busy(queue: UnitQueue) -> int:
    """Cycles in which the unit had an instruction, waiting or not."""
    total = end = 0
    for given, done in zip(queue.given, queue.done, strict=True):
        total += done - max(given, end)
        end = done
    return total


def _waiting(queue: UnitQueue) -> int:
    """Cycles in which the first instruction in the queue waited for tokens."""
    total = taken = 0
    for given, started, next_taken in zip(queue.given, queue.started, queue.taken, strict=True):
        total += max(0, started - max(given, taken) - 2)
        taken = next_taken
    return total
