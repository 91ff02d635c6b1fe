"""The sequencer and the units' queues: when instructions are fetched, dispatched and started."""

from collections.abc import Generator, Sequence

from celosia.compiler.cycles.latencies import (
    ADDITION_BYTES,
    FETCH_AHEAD,
    OPERAND_BYTES,
    QUEUE_DEPTH,
    UNDER_WAY,
)
from celosia.compiler.cycles.network import Network, Process, Times
from celosia.compiler.cycles.read_client import ReadClient
from celosia.compiler.cycles.reads import Reads, Writes
from celosia.config import MachineConfig
from celosia.isa import INSTRUCTION_BYTES, OPCODES, Flag, Instruction, Opcode, Unit

__all__ = ["Machine", "UnitQueue", "addition_cycles", "fetches_weights", "sequence"]


class UnitQueue:
    """Queue of one unit: its instructions, and when each was given, started, taken and done."""

    def __init__(self, network: Network, unit: Unit, program: Sequence[Instruction]) -> None:
        self.unit = unit
        self.indices = [i for i, ins in enumerate(program) if ins.unit is unit]
        self.program = [program[i] for i in self.indices]
        self.given = network.times()
        self.started = network.times()
        self.taken = network.times()
        self.done = network.times()
        self.tokens = {source: network.times() for source in Unit}
        self._waits = dict.fromkeys(Unit, 0)
        self.others: dict[Unit, UnitQueue] = {}

    def start(self) -> Generator[Times, None, int]:
        """Wait for the next instruction and its tokens; return when the unit is offered it."""
        index = len(self.started)
        # Whether it may start is known the cycle before.
        time = (yield from self.given.item(index)) + 2
        time = max(time, (yield from self.taken.item(index - 1)) + 1)
        for source in self.program[index].wait:
            token = yield from self.tokens[source].item(self._waits[source])
            self._waits[source] += 1
            time = max(time, token + 1)
        time = max(time, (yield from self.done.item(index - UNDER_WAY)) + 1)
        self.started.add(time)
        return time + 1

    def end(self, time: int) -> None:
        """Say when the oldest instruction has ended; hand out its tokens."""
        for target in self.program[len(self.done)].signal:
            self.others[target].tokens[self.unit].add(time + 1)
        self.done.add(time)


class Machine:
    """The parts that processes share."""

    def __init__(
        self, network: Network, config: MachineConfig, program: Sequence[Instruction]
    ) -> None:
        self.network = network
        self.config = config
        self.queues = {unit: UnitQueue(network, unit, program) for unit in Unit}
        for queue in self.queues.values():
            queue.others = self.queues
        #: MATMULs that the fetcher of the weights was given, and has taken.
        self.prefetched = network.times()
        self.prefetch_taken = network.times()
        self.reads = Reads(config.scratchpad_banks)
        self.writes = Writes()
        self.beats_written = 0
        #: When each word of the chained LOADs was written.
        self.chained = network.times()
        #: When HALT, and everything read after it, has been taken.
        self.halted = network.times()


def fetches_weights(instruction: Instruction) -> bool:
    """Whether an instruction's stationary tiles come from memory."""
    return instruction.opcode is Opcode.MATMUL and Flag.WEIGHTS_IN_MEMORY in instruction.flags


def addition_cycles(instruction: Instruction, config: MachineConfig) -> int:
    """Return how much later an instruction is dispatched because arguments are added to it.

    It is turned round, a step of bytes a cycle, until each of its words has come by.
    """
    if not instruction.adds:
        return 0
    step = min(config.memory_width, ADDITION_BYTES)
    steps = OPERAND_BYTES // step
    places = {f.name: f.lsb // (8 * step) for f in OPCODES[instruction.opcode][1]}
    at = 0
    for name, _ in instruction.adds:
        at += 1 + (places[name] - at) % steps
    return at + -at % steps + len(instruction.adds) + 1


def sequence(
    machine: Machine,
    client: ReadClient,
    program: Sequence[Instruction],
    delays: Sequence[int],
    entry: int,
) -> Process:
    """Fetch a program, dispatch its instructions, and drop what was read after HALT.

    `delays` are the cycles that additions of arguments take, for each instruction.
    """
    beats = INSTRUCTION_BYTES // machine.config.memory_width
    first = entry // machine.config.memory_width
    given = 0
    read = len(program) + FETCH_AHEAD - 1
    for index in range(FETCH_AHEAD):
        client.ask(1 + index, first + index * beats, beats)
    for index in range(read):
        _, last = yield from client.take(beats, given + 1, 1)
        given = last + 1
        if index < len(program):
            given += delays[index]
        if index < len(program) - 1:
            given = max(given, (yield from _dispatch(machine, program[index], given)))
            client.ask(given + 1, first + (index + FETCH_AHEAD) * beats, beats)
    machine.halted.add(given)


def _dispatch(machine: Machine, instruction: Instruction, time: int) -> Generator[Times, None, int]:
    """Wait for room in the queues that an instruction goes to; return when it goes."""
    assert instruction.unit is not None
    queue = machine.queues[instruction.unit]
    prefetches = fetches_weights(instruction)
    if queue.unit is Unit.MATRIX:
        time = max(time, (yield from queue.taken.item(len(queue.given) - QUEUE_DEPTH)) + 1)
    else:  # one waits
        time = max(time, (yield from queue.started.item(len(queue.given) - 1)) + 1)
    if prefetches:
        room = machine.prefetch_taken.item(len(machine.prefetched) - QUEUE_DEPTH)
        time = max(time, (yield from room) + 1)
        machine.prefetched.add(time)
    queue.given.add(time)
    return time
