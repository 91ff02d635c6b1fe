"""Predicts the cycles that a program takes, from the sizes of its instructions alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from celosia.arguments import resolve
from celosia.compiler.cycles.counters import count
from celosia.compiler.cycles.latencies import (
    FETCH_AHEAD,
    RESERVED_TILES,
    ROW_BEATS,
    WEIGHT_BEATS,
)
from celosia.compiler.cycles.load import ask_for_rows, write_rows
from celosia.compiler.cycles.matrix import MatrixUnit, Stalls, fetch_weights
from celosia.compiler.cycles.memory import MemoryTiming, ReadChannel
from celosia.compiler.cycles.network import Network
from celosia.compiler.cycles.sequencer import Machine, addition_cycles, sequence
from celosia.compiler.cycles.store import store_rows
from celosia.compiler.cycles.vector import execute_rows
from celosia.config import MachineConfig
from celosia.isa import INSTRUCTION_BYTES, Instruction, check_tokens

__all__ = ["MemoryTiming", "Prediction", "predict"]

#: Memory on the chip: cycles from an address to its first beat.
ON_CHIP = MemoryTiming(latency=3)


@dataclass(frozen=True)
class Prediction:
    """What a program takes.

    Attributes
    ----------
    cycles : int
        From start to end, as the machine's counter counts them.
    spans : tuple of (int, int)
        For each instruction, when it started, its tokens being there, and when it had ended.
    counters : mapping of str to int
        Those of the machine, by their names in `isa.COUNTERS`, but for the saturations.
    """

    cycles: int
    spans: tuple[tuple[int, int], ...]
    counters: Mapping[str, int]


def predict(
    program: Sequence[Instruction],
    config: MachineConfig,
    memory: MemoryTiming | None = None,
    *,
    entry: int = 0,
    arguments: Sequence[int] = (),
) -> Prediction:
    """Predict the cycles of a program.

    Parameters
    ----------
    program : sequence of Instruction
        With its tokens, to its HALT.
    config : MachineConfig
        The machine.
    memory : MemoryTiming, optional
        External memory; by default one that answers after 40 cycles. Memory on the chip, SDRAM and
        flash are known.
    entry : int
        Byte address of the first instruction.
    arguments : sequence of int
        Values of the argument registers from 0 on; the others are 0.

    Raises
    ------
    ProgramError
        If the program's tokens are wrong, or it does not end in HALT.
    """
    check_tokens(program)
    delays = [addition_cycles(instruction, config) for instruction in program]
    program = resolve(program, arguments)
    match config.memory:
        case "on_chip":
            timing = ON_CHIP
        case "sdram":
            timing = MemoryTiming.of_sdram(config)
        case "flash":
            timing = MemoryTiming.of_flash(config)
        case _:
            timing = memory or MemoryTiming()
    network = Network()
    machine = Machine(network, config, program)
    fetch_beats = FETCH_AHEAD * INSTRUCTION_BYTES // config.memory_width
    reserve = min(RESERVED_TILES * config.tile_bytes // config.memory_width, WEIGHT_BEATS // 2)
    sizes = ((fetch_beats, fetch_beats), (ROW_BEATS, 0), (WEIGHT_BEATS, reserve))
    channel = ReadChannel(network, config, timing, sizes)
    instructions, rows, weights = channel.clients
    stalls = Stalls()
    jobs, written = network.times(), network.times()
    for process in (
        sequence(machine, instructions, program, delays, entry),
        ask_for_rows(machine, rows, jobs, written),
        write_rows(machine, rows, jobs, written),
        fetch_weights(machine, weights),
        MatrixUnit(machine, weights, stalls).run(),
        execute_rows(machine),
        store_rows(machine, timing),
    ):
        network.add(process)
    _run(network, channel)

    spans = [(0, 0)] * len(program)
    last = machine.halted[0]
    for queue in machine.queues.values():
        for index, start, end in zip(queue.indices, queue.started, queue.done, strict=True):
            spans[index] = (start, end)
            last = max(last, end)
    spans[-1] = (last, last + 1)
    cycles = last + 2
    counters = {"cycles": cycles, **count(machine, stalls, channel)}
    return Prediction(cycles, tuple(spans), counters)


def _run(network: Network, channel: ReadChannel) -> None:
    """Let the processes go on, and then what comes first: a burst, or an alarm."""
    network.settle()
    while True:
        issue, alarm = channel.next_issue(), network.next_alarm()
        if alarm is not None and (issue is None or alarm <= issue):
            network.ring()
        elif issue is not None:
            channel.issue(issue)
        else:
            return
        network.settle()
