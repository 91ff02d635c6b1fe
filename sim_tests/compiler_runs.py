"""Runs compiled programs on the golden machine, in order and in every order tokens allow."""

import numpy as np

from celosia.compiler.dependencies_effects import effects
from celosia.golden.machine import GoldenMachine
from celosia.isa import Cause, Flag, Opcode, disassemble
from celosia.runtime.host import finish, prepare

#: Instructions of one unit that may be under way at once.
WINDOW = 3


def load(program):
    """The window with the image in it, and nothing but noise elsewhere."""
    size = max(section.address + section.bytes for section in program.sections)
    memory = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    end = program.base + len(program.image)
    memory[program.base : end] = np.frombuffer(program.image, np.uint8)
    return memory


def write_input(program, memory, values):
    for address, data in prepare(program, values):
        memory[address : address + len(data)] = np.frombuffer(data, np.uint8)


def run(program, values, memory=None):
    """The output for one input, and what the machine counted."""
    memory = load(program) if memory is None else memory
    write_input(program, memory, values)
    result = GoldenMachine(program.config, memory).run(program.entry)
    assert result.cause is Cause.NONE
    return finish(program, memory), result


def run_shuffled(instructions, machine, rng):
    """Execute in a random order that the tokens allow.

    Instructions of a unit start and end in order, several under way at once; each takes effect
    as a whole at some time between. A unit makes its writes in order, after the reads of earlier
    instructions, but it may read before earlier instructions have written.
    """
    config = machine.config
    queues = {}
    for instruction in instructions:
        queues.setdefault(instruction.unit, []).append(instruction)
    halt = queues.pop(None)
    assert [ins.opcode for ins in halt] == [Opcode.HALT]
    tokens, under_way = {}, {unit: [] for unit in queues}
    while any(queues.values()) or any(under_way.values()):
        moves = []
        for unit, queue in queues.items():
            flight = under_way[unit]
            if queue and len(flight) < WINDOW and all(tokens.get((s, unit)) for s in queue[0].wait):
                moves.append(("start", unit, 0))
            for i, (instruction, done) in enumerate(flight):
                earlier = [other for other, gone in flight[:i] if not gone]
                free = not overwrites(instruction, earlier, config)
                if not done and free and not chained(instruction, earlier):
                    moves.append(("execute", unit, i))
            if flight and flight[0][1]:
                moves.append(("end", unit, 0))
        assert moves, "deadlock"
        what, unit, i = moves[rng.integers(len(moves))]
        flight = under_way[unit]
        if what == "start":
            instruction = queues[unit].pop(0)
            for source in instruction.wait:
                tokens[source, unit] -= 1
            assert not reads(instruction, [other for other, _ in flight], config), "reads too early"
            flight.append((instruction, False))
        elif what == "execute":
            machine._execute(flight[i][0], 0)
            flight[i] = flight[i][0], True
        else:
            for target in flight.pop(0)[0].signal:
                tokens[unit, target] = tokens.get((unit, target), 0) + 1
                assert tokens[unit, target] <= 255
    assert not any(tokens.values())


def chained(instruction, earlier):
    """Whether it must come after earlier instructions, as a part of a chain or next to one."""
    links = Flag.HOLD | Flag.CONTINUE
    return bool(earlier) and any(links & ins.flags for ins in (instruction, *earlier))


def overwrites(instruction, earlier, config):
    """Whether it writes what earlier instructions read or write."""
    mine = effects(instruction, config).writes
    others = [effects(other, config) for other in earlier]
    return any(meet(mine, other.writes) or meet(mine, other.reads) for other in others)


def reads(instruction, earlier, config):
    """Whether it reads what earlier instructions write."""
    mine = effects(instruction, config).reads
    return any(meet(mine, effects(other, config).writes) for other in earlier)


def meet(one, other):
    return any(
        np.intersect1d(a, b).size
        for space in one.keys() & other.keys()
        for a in one[space]
        for b in other[space]
    )


def agrees_in_any_order(program, values, seeds=3):
    """Whether shuffled runs leave the memory of the run in order."""
    expected = load(program)
    run(program, values, expected)
    instructions = disassemble(program.code)
    for seed in range(seeds):
        memory = load(program)
        write_input(program, memory, values)
        machine = GoldenMachine(program.config, memory)
        run_shuffled(instructions, machine, np.random.default_rng(seed))
        if not np.array_equal(memory, expected):
            return False
    return True
