import importlib.util
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celosia import isa
from celosia.errors import ProgramError
from celosia.isa import (
    ARGUMENT_SLOTS,
    ARGUMENTS,
    FLAGS,
    INSTRUCTION_BYTES,
    OPCODES,
    Flag,
    Instruction,
    Opcode,
    Unit,
    assemble,
    check_tokens,
    disassemble,
    format_listing,
)

ROOT = Path(__file__).parents[1]
HALT = Instruction(Opcode.HALT)
#: Operands of each operation that arguments can be added to.
ADDABLE = {
    opcode: [f.name for f in fields if f.width >= 16] for opcode, (_, fields) in OPCODES.items()
}
#: First bit of the additions.
ADDS = 384


@st.composite
def instructions(draw, opcodes=tuple(Opcode)):
    opcode = draw(st.sampled_from(opcodes))
    operands = {
        f.name: draw(st.sampled_from([0, 1, f.low, f.limit - 1]) | st.integers(f.low, f.limit - 1))
        for f in OPCODES[opcode][1]
    }
    flags = draw(st.sets(st.sampled_from(list(FLAGS[opcode])))) if FLAGS[opcode] else set()
    units = st.frozensets(st.sampled_from(Unit))
    adds = ()
    if ADDABLE[opcode]:
        add = st.tuples(st.sampled_from(ADDABLE[opcode]), st.integers(0, ARGUMENTS - 1))
        adds = tuple(draw(st.lists(add, max_size=ARGUMENT_SLOTS)))
    return Instruction(opcode, operands, Flag(sum(flags)), draw(units), draw(units), adds)


def work(opcode=Opcode.LOAD, *, wait=(), signal=()):
    return Instruction(opcode, wait=frozenset(wait), signal=frozenset(signal))


@given(instructions())
def test_encoding_round_trip(instruction):
    data = instruction.encode()
    assert len(data) == INSTRUCTION_BYTES
    assert Instruction.decode(data) == instruction


@given(instructions())
def test_text_round_trip(instruction):
    assert Instruction.parse(str(instruction)) == instruction


@given(instructions(), st.binary(min_size=64, max_size=64))
def test_bits_without_a_meaning_are_ignored(instruction, noise):
    opcode = instruction.opcode
    meant = 0xFFFF | int(FLAGS[opcode]) << 16
    for f in OPCODES[opcode][1]:
        meant |= ((1 << f.width) - 1) << f.lsb
    for slot in range(ARGUMENT_SLOTS):
        meant |= (0x1F3F if slot < len(instruction.adds) else 0xFFFF) << ADDS + 16 * slot
    word = int.from_bytes(instruction.encode(), "little")
    word |= int.from_bytes(noise, "little") & ~meant
    assert Instruction.decode(word.to_bytes(64, "little")) == instruction


@pytest.mark.parametrize("opcode", Opcode)
def test_additions_to_nothing_are_ignored(opcode):
    """Of all places only operands count, and only with the width that they have."""
    known = {(f.lsb // 16, f.width > 16): f.name for f in OPCODES[opcode][1] if f.width >= 16}
    for half in range(32):
        for wide in (False, True):
            slot = half | wide << 5 | 9 << 8
            # Also behind slots that are empty.
            word = int(opcode) | slot << ADDS + 80
            decoded = Instruction.decode(word.to_bytes(64, "little"))
            name = known.get((half, wide))
            assert decoded == Instruction(opcode, adds=((name, 9),) if name else ())


@given(st.lists(instructions([op for op in Opcode if op is not Opcode.HALT]), max_size=5))
def test_program_round_trip(program):
    # Tokens apart, any instructions make a program.
    program = [
        *(Instruction(ins.opcode, ins.operands, ins.flags, adds=ins.adds) for ins in program),
        HALT,
    ]
    data = assemble(program)
    assert disassemble(data) == program
    assert disassemble(data + bytes(100)) == program
    listing = format_listing(program).splitlines()
    assert [Instruction.parse(line.partition("  ")[2]) for line in listing] == program
    assert [int(line.split()[0], 16) for line in listing] == list(range(0, len(data), 64))


@pytest.mark.parametrize("opcode", Opcode)
def test_fields_do_not_overlap(opcode):
    fields = sorted(OPCODES[opcode][1], key=lambda f: f.lsb)
    assert len({f.name for f in fields}) == len(fields)
    for before, after in pairwise(fields):
        assert before.lsb + before.width <= after.lsb, (before.name, after.name)
    for f in fields:
        assert 32 <= f.lsb and f.lsb + f.width <= ADDS
        # Hardware and the host see whole fields in a word of 32 bits.
        assert f.lsb // 32 == (f.lsb + f.width - 1) // 32


def test_every_operation_is_described():
    assert set(OPCODES) == set(FLAGS) == set(Opcode)
    assert all(f.about for _, fields in OPCODES.values() for f in fields)


def test_known_encoding():
    """Pinned by hand: programs on disk outlive this source."""
    instruction = Instruction(
        Opcode.MATMUL,
        {"m": 0x1234, "n": 5, "k_tiles": 7, "r_shift": 0xAB, "p_base": 9, "w_address": 0x89ABCDEF},
        Flag.NARROW | Flag.WEIGHTS_IN_MEMORY,
        frozenset({Unit.LOAD, Unit.VECTOR}),
        frozenset({Unit.STORE}),
    )
    words = {0: 0x0011_8504, 1: 0x0005_1234, 3: 0x0007_0000, 5: 0x00AB_0000, 7: 0x0009_0000}
    words[9] = 0x89AB_CDEF
    expected = b"".join(words.get(i, 0).to_bytes(4, "little") for i in range(16))
    assert instruction.encode() == expected
    assert str(instruction) == (
        "MATMUL m=4660 n=5 k_tiles=7 r_shift=171 p_base=9 w_address=2309737967"
        " +weights_in_memory +narrow <load <vector >store"
    )


def test_known_encoding_of_operands_with_a_sign():
    instruction = Instruction(
        Opcode.ATTEND, {"diagonal": -2, "window": -(1 << 15)}, Flag.WINDOW | Flag.HOLD
    )
    words = {0: 0x0280_0005, 11: 0x8000_FFFE}
    assert instruction.encode() == b"".join(
        words.get(i, 0).to_bytes(4, "little") for i in range(16)
    )
    assert str(instruction) == "ATTEND diagonal=-2 window=-32768 +window +hold"


def test_known_encoding_of_additions():
    adds = (("address", 3), ("base", 31), ("address", 0))
    instruction = Instruction(Opcode.LOAD, {"rows": 1, "address": 0x40}, adds=adds)
    words = {0: 0x2, 1: 0x1, 3: 0x40, 12: 0x0326_0026, 13: 0x1F0C}
    assert instruction.encode() == b"".join(
        words.get(i, 0).to_bytes(4, "little") for i in range(16)
    )
    assert str(instruction) == "LOAD   rows=1 address=64 address@0 address@3 base@31"


@pytest.mark.parametrize(
    ("opcode", "operands", "adds", "expected"),
    [
        (Opcode.LOAD, {"address": 0x40}, [("address", 1)], {"address": 0x41}),
        (Opcode.LOAD, {}, [("rows", 1), ("base", 2)], {"rows": 1, "base": 0xFFFE}),
        # 32 bits wrap around, and 16 bits know no more of the argument.
        (Opcode.LOAD, {"address": 5}, [("address", 2)], {"address": 3}),
        (Opcode.LOAD, {"rows": 0xFFFF}, [("rows", 1)], {}),
        (Opcode.LOAD, {"rows": 7}, [("rows", 3)], {"rows": 7 + 0x5678}),
        # Several to one operand.
        (Opcode.LOAD, {"base": 9}, [("base", 1), ("base", 2), ("base", 1)], {"base": 9}),
        (Opcode.ATTEND, {"diagonal": -2}, [("diagonal", 1)], {"diagonal": -1}),
        (Opcode.ATTEND, {"diagonal": 1, "window": -1}, [("diagonal", 2)], {"diagonal": -1}),
        (Opcode.ATTEND, {"window": -(1 << 15)}, [("window", 2)], {"window": 0x7FFE}),
        (Opcode.ATTEND, {"window": 0x7FFF}, [("window", 1)], {"window": -(1 << 15)}),
        (Opcode.ATTEND, {}, [("window", 4)], {"window": -(1 << 15)}),
    ],
)
def test_additions_wrap_around(opcode, operands, adds, expected):
    arguments = [0, 1, 0xFFFF_FFFE, 0x1234_5678, 0x8000]
    instruction = Instruction(opcode, operands, adds=tuple(adds))
    resolved = instruction.resolved(arguments)
    kept = {name: value for name, value in operands.items() if name not in dict(adds)}
    assert resolved == Instruction(opcode, kept | expected)


def test_additions_have_one_order():
    adds = (("base", 31), ("address", 3), ("rows", 9), ("address", 0))
    instruction = Instruction(Opcode.LOAD, adds=adds)
    assert instruction.adds == (("rows", 9), ("address", 0), ("address", 3), ("base", 31))
    word = 2
    for index, slot in enumerate((0x1F0C, 0x0326, 0x0902, 0x0026)):
        word |= slot << ADDS + 16 * index
    assert Instruction.decode(word.to_bytes(64, "little")) == instruction


@given(instructions(), st.lists(st.integers(0, (1 << 32) - 1), min_size=32, max_size=32))
def test_operands_have_the_sum_of_their_arguments(instruction, arguments):
    resolved = instruction.resolved(arguments)
    assert not resolved.adds
    assert (resolved.flags, resolved.wait) == (instruction.flags, instruction.wait)
    assert resolved.signal == instruction.signal
    for f in OPCODES[instruction.opcode][1]:
        added = sum(arguments[register] for name, register in instruction.adds if name == f.name)
        assert f.low <= resolved[f.name] < f.limit
        assert (resolved[f.name] - instruction[f.name] - added) % (1 << f.width) == 0


def test_operands_default_to_zero():
    instruction = Instruction(Opcode.LOAD, {"rows": 3, "words": 0})
    assert (instruction["rows"], instruction["words"], instruction["pitch"]) == (3, 0, 0)
    assert instruction == Instruction(Opcode.LOAD, {"rows": 3})
    assert instruction.unit is Unit.LOAD and HALT.unit is None
    with pytest.raises(KeyError, match="LOAD has no operand 'm'"):
        instruction["m"]


@pytest.mark.parametrize(
    ("opcode", "operands", "flags", "message"),
    [
        (Opcode.LOAD, {"m": 1}, 0, r"LOAD has no operand 'm'; it has rows, words, space, address"),
        (Opcode.HALT, {"m": 1}, 0, r"HALT has no operand 'm'; it has none"),
        (Opcode.MATMUL, {"m": 65536}, 0, r"MATMUL: operand m must be 0 to 65535, not 65536"),
        (Opcode.MATMUL, {"r_shift": 256}, 0, r"MATMUL: operand r_shift must be 0 to 255, not 256"),
        (Opcode.NORM, {"m": -1}, 0, r"NORM: operand m must be 0 to 65535, not -1"),
        (
            Opcode.ATTEND,
            {"window": 1 << 15},
            0,
            r"ATTEND: operand window must be -32768 to 32767, not 32768",
        ),
        (Opcode.NORM, {}, Flag.RESIDUAL, r"NORM does not take the flag residual"),
        (Opcode.ATTEND, {}, Flag.KEEP_EXPONENT | Flag.NARROW, r"ATTEND does not .* narrow"),
        (Opcode.LOAD, {}, Flag.KEEP_EXPONENT, r"LOAD does not take the flag keep_exponent"),
    ],
)
def test_wrong_instruction(opcode, operands, flags, message):
    with pytest.raises(ProgramError, match=f"^{message}"):
        Instruction(opcode, operands, Flag(flags))


@pytest.mark.parametrize(
    ("opcode", "adds", "message"),
    [
        (Opcode.LOAD, [("address", 0)] * 9, "LOAD can add 8 arguments, not 9"),
        (Opcode.LOAD, [("m", 0)], "LOAD: no argument can be added to 'm'"),
        (Opcode.LOAD, [("space", 0)], "LOAD: no argument can be added to 'space'"),
        (Opcode.ATTEND, [("v_tiles", 0)], "ATTEND: no argument can be added to 'v_tiles'"),
        (Opcode.HALT, [("opcode", 0)], "HALT: no argument can be added to 'opcode'"),
        (Opcode.LOAD, [("address", 32)], "LOAD: argument register must be 0 to 31, not 32"),
        (Opcode.LOAD, [("address", -1)], "LOAD: argument register must be 0 to 31, not -1"),
    ],
)
def test_wrong_additions(opcode, adds, message):
    with pytest.raises(ProgramError, match=f"^{message}"):
        Instruction(opcode, adds=tuple(adds))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"cannot parse '': '' is not known"),
        ("DIVIDE m=1", r"cannot parse 'DIVIDE m=1': 'DIVIDE' is not known"),
        ("MATMUL m", r"cannot parse 'MATMUL m': 'm' is not NAME=NUMBER"),
        ("MATMUL m=x", r"'m=x' is not NAME=NUMBER"),
        ("MATMUL m@x", r"'m@x' is not NAME=NUMBER or NAME@REGISTER"),
        ("MATMUL r_shift@1", r"MATMUL: no argument can be added to 'r_shift'"),
        ("MATMUL +fast", r"'FAST' is not known"),
        ("MATMUL <host", r"'HOST' is not known"),
        ("MATMUL q=1", r"MATMUL has no operand 'q'"),
    ],
)
def test_wrong_text(text, message):
    with pytest.raises(ProgramError, match=message):
        Instruction.parse(text)


def test_text_takes_hexadecimal():
    assert Instruction.parse("LOAD address=0x40") == Instruction(Opcode.LOAD, {"address": 64})


@pytest.mark.parametrize("opcode", [0, 9, 255])
def test_illegal_opcode(opcode):
    with pytest.raises(ProgramError, match=f"^illegal opcode {opcode}$"):
        Instruction.decode(bytes([opcode]) + bytes(63))
    data = work().encode() + bytes([opcode]) + bytes(63)
    with pytest.raises(ProgramError, match=f"^instruction 1: illegal opcode {opcode}$"):
        disassemble(data)


def test_bytes_missing():
    with pytest.raises(ProgramError, match=r"^an instruction has 64 bytes, not 63$"):
        Instruction.decode(bytes(63))
    with pytest.raises(ProgramError, match=r"^no HALT in 127 bytes$"):
        disassemble(work().encode() + bytes(63))


LOAD, MATRIX, VECTOR, STORE = Unit


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ([], "^the program does not end in HALT"),
        ([work()], "^the program does not end in HALT"),
        ([HALT, work()], "^instruction 0: HALT before the end of the program"),
        ([HALT, HALT], "^instruction 0: HALT before the end"),
        ([work(Opcode.HALT, wait=[LOAD])], "^instruction 0: HALT takes no tokens"),
        ([work(Opcode.HALT, signal=[LOAD])], "^instruction 0: HALT takes no tokens"),
        (
            [work(), work(Opcode.MATMUL, wait=[LOAD]), HALT],
            "^instruction 1: MATMUL waits for a token from load that nothing before it signals",
        ),
        (
            # The signal comes too late.
            [work(Opcode.MATMUL, wait=[LOAD]), work(signal=[MATRIX]), HALT],
            "^instruction 0: MATMUL waits for a token from load",
        ),
        (
            # The token is for another unit.
            [work(signal=[VECTOR]), work(Opcode.MATMUL, wait=[LOAD]), HALT],
            "^instruction 1: MATMUL waits for a token from load",
        ),
        (
            # A unit's own token cannot be the instruction's own.
            [work(Opcode.MATMUL, wait=[MATRIX], signal=[MATRIX]), HALT],
            "^instruction 0: MATMUL waits for a token from matrix",
        ),
        (
            [work(signal=[STORE]), work(signal=[STORE]), HALT],
            "^2 tokens from load to store are never waited for",
        ),
        (
            [work(Opcode.NORM, signal=[LOAD])] * 256 + [HALT],
            "^instruction 255: more than 255 tokens from vector to load",
        ),
    ],
)
def test_token_errors(program, message):
    with pytest.raises(ProgramError, match=message):
        check_tokens(program)
    with pytest.raises(ProgramError, match=message):
        assemble(program)


def test_balanced_tokens():
    program = [work(Opcode.NORM, signal=[LOAD])] * 255
    program += [work(wait=[VECTOR], signal=[MATRIX, LOAD])]
    program += [work(wait=[VECTOR])] * 254
    program += [work(wait=[LOAD]), work(Opcode.ATTEND, wait=[LOAD], signal=[MATRIX])]
    program += [work(Opcode.MATMUL, wait=[MATRIX]), HALT]
    check_tokens(program)


def test_registers_do_not_overlap():
    addresses = list(isa.REGISTERS.values())
    assert len(set(addresses)) == len(addresses)
    assert all(address % 4 == 0 and address < isa.MEMORY_WINDOW for address in addresses)
    assert [isa.REGISTERS[name] for name in isa.COUNTERS[:2]] == [0x40, 0x44]
    assert [isa.REGISTERS[f"argument{n}"] for n in (0, 1, 31)] == [0x100, 0x104, 0x17C]


def test_page_is_up_to_date():
    script = ROOT / "scripts" / "write_isa_docs.py"
    spec = importlib.util.spec_from_file_location("write_isa_docs", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "isa.md").read_text() == module.page(), f"run {script.name}"
