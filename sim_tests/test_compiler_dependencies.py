from dataclasses import replace

import numpy as np
import pytest
from compiler_runs import run_shuffled

from celosia.compiler.dependencies import hoist_loads, insert_tokens
from celosia.compiler.dependencies_effects import effects
from celosia.config import PRESETS
from celosia.errors import ProgramError
from celosia.golden.machine import GoldenMachine
from celosia.isa import Flag, Instruction, Opcode, Space, Unit

TINY = PRESETS["tiny"].replace(
    on_chip_bytes=1 << 13, scratchpad_words=128, exponent_slots=32, parameter_entries=32
)
CONFIGS = {
    "square": TINY,
    "tall": TINY.replace(rows=8, columns=4),
    "wide": TINY.replace(rows=2, columns=8, accumulator_rows=32),
}
HALT = Instruction(Opcode.HALT)


def ins(opcode, flags=Flag(0), **operands):  # noqa: B008
    return Instruction(Opcode[opcode.upper()], operands, flags)


def random_instruction(config, rng):
    """One instruction of any kind, its operands crowded into a little of everything."""

    def word():
        return int(rng.integers(0, 60))

    def slot():
        return int(rng.integers(0, 20))

    def place(*names):
        found = {}
        for name in names:
            found |= {f"{name}_base": word(), f"{name}_stride": int(rng.integers(1, 4))}
            found |= {} if name == "r" else {f"{name}_slot": slot()}
        return found

    few = int(rng.integers(1, 5))
    address = int(rng.integers(0, 64)) * 16
    move = {"address": address, "pitch": 32, "base": word(), "stride": 2}
    match rng.integers(10):
        case 0:
            space = Space(int(rng.integers(2)))
            return ins("load", space=space, rows=few, words=2, slot=slot(), **move)
        case 1:
            move = {"address": address, "base": slot(), "words": few, "rows": 1}
            return ins("load", space=Space.PARAMETERS, **move)
        case 2:
            return ins("load", space=Space.TABLE, address=address, rows=1, words=256)
        case 3:
            space = Space(int(rng.integers(2)))
            first = int(rng.integers(2 * config.lanes))
            count = int(rng.integers(2 * config.lanes - first + 1))
            range_ = {"first": first, "count": count} if count else {}
            return ins("store", space=space, rows=few, words=2, **range_, **move)
        case 4:
            x = place("x")
            del x["x_slot"]
            n = {"m": few, "n": config.lanes + 1, "words": 2, "gamma": word(), "beta": word()}
            return ins("norm", shift=12, epsilon=1, **x, **place("y"), **n)
        case 8 | 9 as kind:
            operands = place("x", "y", "w")
            del operands["x_slot"], operands["w_slot"]
            if kind == 8:
                flags = Flag(int(rng.integers(2)) * Flag.KEEP_EXPONENT)
                size = {"m": few, "words": 2, "period": int(rng.integers(3)), "shift": 12}
                return ins("multiply", flags, **size, **operands)
            del operands["w_base"], operands["w_stride"]
            flags = Flag(int(rng.integers(2)) * Flag.CONTINUE)
            return ins("argmax", flags, m=few, words=2, n=config.lanes + 1, **operands)
        case 5:
            tiles = {"m": few, "t": int(rng.integers(1, 9)), "d_tiles": 1, "v_tiles": 1}
            flags = Flag(int(rng.integers(2)) * Flag.KEEP_EXPONENT)
            scale = {"multiplier": 20000, "shift": 24}
            return ins("attend", flags, **tiles, **place("x", "w", "v", "y"), **scale)
        case _:
            flags = Flag(int(rng.integers(64))) & ~Flag.NARROW
            size = {"m": few, "n": int(rng.integers(1, 9)), "k_tiles": 2, "w_address": address}
            return ins("matmul", flags, **size, **place("x", "w", "y", "r"), p_base=slot())


def machine(config):
    """A machine in a state that is the same each time, and its memory."""
    rng = np.random.default_rng(7)
    memory = rng.integers(0, 256, config.on_chip_bytes, np.uint8)
    found = GoldenMachine(config, memory)
    state = found.state
    state.scratchpad.words[:] = rng.integers(-3000, 3000, state.scratchpad.words.shape)
    state.scratchpad.exponents[:] = rng.integers(0, 9, state.scratchpad.exponents.shape)
    state.parameters[:, 0] = rng.integers(1 << 14, 1 << 15, len(state.parameters))
    state.parameters[:, 1] = 22
    state.table[:] = rng.integers(-(1 << 15), 1 << 15, state.table.shape)
    return found, memory


def random_program(config, rng, length):
    """Instructions that are legal one after the other, some ATTENDs in chains."""
    golden, _ = machine(config)
    program, held = [], None
    while len(program) < length or held:
        instruction = random_instruction(config, rng)
        if instruction.opcode is Opcode.ATTEND:
            flags = Flag.HOLD if rng.random() < 0.5 and len(program) < length else Flag(0)
            if held:
                same = {name: held[name] for name in ("m", "v_base", "v_stride", "v_slot")}
                instruction = replace(instruction, operands=instruction.operands | same)
                flags |= Flag.CONTINUE
            instruction = replace(instruction, flags=instruction.flags | flags)
        elif held and instruction.unit is not Unit.STORE:
            continue  # it might change the exponents of what is held
        try:
            golden._execute(instruction, 0)
        except ProgramError:
            continue
        program.append(instruction)
        if instruction.opcode is Opcode.ATTEND:
            held = instruction if Flag.HOLD in instruction.flags else None
    return [*program, HALT]


def assert_same_state(one, other):
    np.testing.assert_array_equal(one[1], other[1])
    for name in ("scratchpad.words", "scratchpad.exponents", "parameters", "table"):
        values = []
        for state in (one[0].state, other[0].state):
            for part in name.split("."):
                state = getattr(state, part)
            values.append(state)
        np.testing.assert_array_equal(*values, err_msg=name)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("seed", range(6))
def test_random_programs_in_any_order(config, seed):
    config = CONFIGS[config]
    rng = np.random.default_rng(seed)
    program = random_program(config, rng, 40)
    expected = machine(config)
    for instruction in program[:-1]:
        expected[0]._execute(instruction, 0)

    hoisted = [program[i] for i in hoist_loads(program, config)]
    assert sorted(map(str, hoisted)) == sorted(map(str, program))
    for order in (program, hoisted):
        linked = insert_tokens(order, config)
        for _ in range(4):
            found = machine(config)
            run_shuffled(linked, found[0], rng)
            assert_same_state(found, expected)


def tokens(*program):
    """Waits and signals of each instruction as text."""
    linked = insert_tokens([*program, HALT], TINY)
    names = [(sorted(u.name for u in x.wait), sorted(u.name for u in x.signal)) for x in linked]
    return [
        " ".join([*(f"<{n.lower()}" for n in wait), *(f">{n.lower()}" for n in signal)])
        for wait, signal in names[:-1]
    ]


LOAD = {"rows": 1, "words": 1, "pitch": 8, "stride": 1}


def test_each_kind_of_hazard():
    load = ins("load", base=1, **LOAD)
    store = ins("store", base=1, address=64, **LOAD)
    assert tokens(load, store) == [">store", "<load"]  # after a write
    assert tokens(store, load) == [">load", "<store"]  # after a read
    again = ins("load", base=1, slot=5, **LOAD)
    assert tokens(load, again) == ["", ""]  # both write, and a unit writes in order
    norm = ins("norm", m=1, n=1, words=1, epsilon=1, x_base=8, y_base=1, y_slot=5)
    assert tokens(load, norm) == [">vector", "<load"]  # both write
    apart = ins("load", base=2, slot=1, **LOAD)
    assert tokens(load, apart) == ["", ""]
    assert tokens(store, ins("store", base=1, address=72, **LOAD)) == ["", ""]  # both read


def test_parts_of_rows():
    """Of each row only the words and the beats in which its range lies."""
    rows = {"rows": 2, "words": 3, "stride": 4, "base": 10, "pitch": 64}
    store = ins("store", address=128, first=4, count=4, **rows)  # word 1, bytes 8 to 15

    def waits(**where):
        load = ins("load", **LOAD | {"slot": 40, "base": 40, "address": 1024} | where)
        found = tokens(load, store)
        assert tokens(store, load) == ([">load", "<store"] if any(found) else ["", ""])
        return any(found)

    words = range(9, 18)
    assert [waits(base=word) for word in words] == [word in (11, 15) for word in words]
    beats = range(128, 256, 4)
    # A load of one word reads two beats.
    assert [waits(address=beat) for beat in beats] == [
        any(at % 64 in (8, 12) for at in (beat, beat + 4)) for beat in beats
    ]
    one = ins("store", address=128, first=11, count=1, **rows)  # one element ends a row
    assert tokens(ins("load", **LOAD | {"base": 12}), one) == [">store", "<load"]
    assert tokens(ins("load", **LOAD | {"base": 11}), one) == ["", ""]


def test_each_space():
    product = {"m": 1, "n": 1, "k_tiles": 1, "y_base": 9, "y_slot": 9, "w_address": 128}
    in_memory = Flag.WEIGHTS_IN_MEMORY
    activated = ins("matmul", in_memory | Flag.ACTIVATE, **product)
    table = ins("load", space=Space.TABLE, rows=1, words=256)
    assert tokens(table, activated) == [">matrix", "<load"]
    assert tokens(activated, table) == [">load", "<matrix"]
    parameters = ins("load", space=Space.PARAMETERS, rows=1, words=1)
    assert tokens(parameters, activated) == [">matrix", "<load"]
    assert tokens(ins("store", base=50, address=128, **LOAD), activated) == [">matrix", "<store"]
    assert tokens(ins("load", base=50, slot=0, **LOAD), activated) == [">matrix", "<load"]
    # A search that goes on reads its result; one that begins only writes it.
    found = {"m": 1, "n": 1, "words": 1, "y_base": 9, "y_slot": 9}
    norm = ins("norm", m=1, n=1, words=1, epsilon=1, gamma=5, beta=5, y_base=9, y_slot=9)
    assert tokens(norm, ins("argmax", Flag.CONTINUE, **found)) == [">vector", "<vector"]
    assert tokens(norm, ins("argmax", **found)) == ["", ""]
    # Of a second factor, only the words that are repeated.
    factor = {"m": 2, "words": 4, "w_base": 20, "w_stride": 4, "y_base": 30, "y_stride": 9}
    for base, period in ((26, 2), (25, 2), (27, 3), (23, 0)):
        read = base in (25, 23)
        load = ins("load", base=base, slot=20, **LOAD)
        multiply = ins("multiply", period=period, **factor)
        assert tokens(load, multiply) == ([">vector", "<load"] if read else ["", ""])
    kept = ins("matmul", in_memory | Flag.KEEP_EXPONENT, **product)
    assert tokens(ins("load", base=50, slot=9, **LOAD), kept) == [">matrix", "<load"]


def test_what_follows_from_other_tokens_is_left_out():
    load = ins("load", base=1, **LOAD)
    norm = {"m": 1, "n": 1, "words": 1, "epsilon": 1, "x_base": 1, "gamma": 1, "beta": 1}
    first = ins("norm", y_base=2, y_slot=2, **norm)
    store = ins("store", base=2, address=64, **LOAD)
    # The last instruction reads what the load wrote, but has waited for the norm, which had.
    both = ins("store", base=1, address=128, **LOAD | {"words": 2})
    assert tokens(load, first, store, both) == [">vector", "<load >store", "<vector", ""]


def test_tokens_that_were_there_are_dropped():
    waiting = Instruction(Opcode.LOAD, {"rows": 1, "words": 1}, wait=frozenset([Unit.STORE]))
    assert tokens(waiting) == [""]


def test_loads_move_ahead_of_other_work_only():
    norm = ins("norm", m=1, n=1, words=1, epsilon=1, gamma=1, beta=1, y_base=2)
    free, bound = ins("load", base=9, slot=3, **LOAD), ins("load", base=2, slot=4, **LOAD)
    assert hoist_loads([norm, free, HALT], TINY) == [1, 0, 2]
    assert hoist_loads([norm, bound, free, HALT], TINY) == [0, 1, 2, 3]


def test_held_attention():
    size = {"m": 2, "t": 5, "d_tiles": 1, "v_tiles": 1}
    place = {"w_base": 10, "w_stride": 1, "v_base": 20, "v_stride": 2, "y_base": 40, "y_slot": 9}
    first = ins("attend", Flag.HOLD, **size, **place)
    last = ins("attend", Flag.CONTINUE, **size, **place)
    assert effects(first, TINY).reads.keys() == {"scratchpad", "slots"}
    assert not effects(first, TINY).writes
    # Keys are loaded again once the run that reads them has ended; the chain itself never waits.
    keys = ins("load", base=10, slot=30, **LOAD)
    assert tokens(keys, first, keys, last) == [
        ">matrix",
        "<load >load",
        "<matrix >matrix",
        "<load",
    ]
    result = ins("store", base=40, address=64, **LOAD)
    assert tokens(first, last, result) == ["", ">store", "<matrix"]


def test_effects_of_rows_with_gaps():
    found = effects(ins("load", rows=3, words=2, stride=5, base=10, slot=4), TINY)
    assert found.writes["scratchpad"][0].tolist() == [10, 11, 15, 16, 20, 21]
    assert found.writes["slots"][0].tolist() == [4, 5, 6]
