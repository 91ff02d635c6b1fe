"""Instruction set: fields, encodings, assembler, disassembler and registers, in one place.

An instruction is 64 bytes, sixteen little-endian words of 32 bits. Word 0 holds the opcode (bits
0-7), the wait mask (8-11), the signal mask (12-15) and the flags (16-31); the other words hold the
operands listed in `OPCODES`, and words 12 to 15 up to eight additions of argument registers to
operands. What instructions do is said in docs/architecture.md.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum, IntFlag

from celosia.errors import ProgramError

__all__ = [
    "ARGUMENTS",
    "ARGUMENT_SLOTS",
    "CHAINED_ROWS",
    "COUNTERS",
    "FLAGS",
    "ID",
    "INSTRUCTION_BYTES",
    "MEMORY_WINDOW",
    "OPCODES",
    "REGISTERS",
    "VERSION",
    "Cause",
    "Code",
    "Field",
    "Flag",
    "Instruction",
    "Opcode",
    "Space",
    "Status",
    "Unit",
    "assemble",
    "check_tokens",
    "disassemble",
    "format_listing",
]

#: Version of everything in this file; programs carry it and machines report it.
VERSION = 4
#: Bytes of one instruction.
INSTRUCTION_BYTES = 64
#: First register's value, "CELO".
ID = 0x43454C4F
#: Where the host sees on-chip memory on the register port.
MEMORY_WINDOW = 0x8000_0000
#: Argument registers, which the host writes before it starts a program.
ARGUMENTS = 32
#: Additions of arguments that one instruction can ask for.
ARGUMENT_SLOTS = 8
#: Half-word of the first of them: bits 0-4 the half-word of the operand, 5 set for one of 32 bits,
#: 8-12 the register. Half-word 0, which holds the opcode, stands for no addition.
ARGUMENT_HALF = 24
#: Fewest streamed rows of a chained MATMUL: rows that have waited for memory close up, and an
#: accumulator takes a few cycles until it can be added to again.
CHAINED_ROWS = 8
#: Largest value of a token counter.
TOKEN_LIMIT = 255


class Unit(IntEnum):
    """Units with a queue of their own; the value is the bit in wait and signal masks."""

    LOAD = 0
    MATRIX = 1
    VECTOR = 2
    STORE = 3


class Opcode(IntEnum):
    """Operations; 0 is left illegal so that blank memory stops the machine."""

    HALT = 1
    LOAD = 2
    STORE = 3
    MATMUL = 4
    ATTEND = 5
    NORM = 6
    MULTIPLY = 7
    ARGMAX = 8


class Space(IntEnum):
    """What a LOAD fills or a STORE reads."""

    ROWS16 = 0
    ROWS8 = 1
    PARAMETERS = 2
    TABLE = 3


class Code(IntEnum):
    """Number format of weights in memory; FP4 (E2M1) counts as twice its value."""

    INT8 = 0
    INT4 = 1
    FP4 = 2


class Flag(IntFlag):
    """Modifiers of instructions."""

    WEIGHTS_IN_MEMORY = 1
    ROW_PARAMETERS = 2
    RESIDUAL = 4
    ACTIVATE = 8
    NARROW = 16
    KEEP_EXPONENT = 32
    CAUSAL = 64
    WINDOW = 128
    CONTINUE = 256
    HOLD = 512
    WIDE = 1024
    RMS = 2048
    COMPLEX = 4096
    SPARSE = 8192
    CHAIN = 16384


class Status(IntFlag):
    """Bits of the status register."""

    BUSY = 1
    DONE = 2
    FAULT = 4


class Cause(IntEnum):
    """Why the machine stopped with a fault."""

    NONE = 0
    ILLEGAL_INSTRUCTION = 1
    OUTSIDE_WINDOW = 2
    MEMORY_ERROR = 3
    WATCHDOG = 4


@dataclass(frozen=True)
class Field:
    """Place of one operand: bits `lsb` to `lsb + width - 1` of the 512-bit instruction.

    Operands with a sign are in two's complement.
    """

    name: str
    lsb: int
    width: int
    about: str
    signed: bool = False

    @property
    def low(self) -> int:
        """Least value."""
        return -(1 << (self.width - 1)) if self.signed else 0

    @property
    def limit(self) -> int:
        """First value that does not fit."""
        return self.low + (1 << self.width)

    def insert(self, value: int) -> int:
        """Return the instruction's bits for a value."""
        return (value & ((1 << self.width) - 1)) << self.lsb

    def extract(self, word: int) -> int:
        """Return the value in an instruction."""
        value = word >> self.lsb & ((1 << self.width) - 1)
        return value if value < self.limit else value - (1 << self.width)


def _fields(*rows: tuple[float, str, int, str], signed: Sequence[str] = ()) -> tuple[Field, ...]:
    """Build fields from (half-word index, .5 for its upper byte, name, width, about)."""
    return tuple(
        Field(name, int(16 * half), width, about, name in signed)
        for half, name, width, about in rows
    )


def _names(values: type[IntEnum]) -> str:
    return ", ".join(f"{value.value} {value.name.lower()}" for value in values)


_X = (
    (4, "x_base", 16, "first scratchpad word of the streamed rows"),
    (5, "x_stride", 16, "words from one streamed row to the next"),
    (6, "x_slot", 16, "exponent slot of the first streamed row"),
)
_W = (
    (8, "w_base", 16, "first scratchpad word of the stationary rows"),
    (9, "w_stride", 16, "words from one stationary row to the next"),
    (10, "w_slot", 16, "exponent slot of the first stationary row"),
)
_Y = (
    (12, "y_base", 16, "first scratchpad word of the result"),
    (13, "y_stride", 16, "words from one result row to the next"),
    (14, "y_slot", 16, "exponent slot of the first result row"),
)
_MEMORY = (
    (2, "rows", 16, "rows to move"),
    (3, "words", 16, "scratchpad words per row, or entries"),
    (4, "space", 8, "what is moved: " + _names(Space)),
    (6, "address", 32, "byte offset of the first row in the window"),
    (8, "pitch", 32, "bytes from one row to the next in memory"),
    (12, "base", 16, "first scratchpad word, or entry"),
    (13, "stride", 16, "scratchpad words from one row to the next"),
)

#: Operands of each operation, and the unit that executes it.
OPCODES: dict[Opcode, tuple[Unit | None, tuple[Field, ...]]] = {
    Opcode.HALT: (None, ()),
    Opcode.LOAD: (
        Unit.LOAD,
        _fields(*_MEMORY, (14, "slot", 16, "exponent slot of the first row")),
    ),
    Opcode.STORE: (
        Unit.STORE,
        _fields(
            *_MEMORY,
            (15, "first", 16, "first element of each row that is written"),
            (16, "count", 16, "elements of each row that are written; 0 for all"),
        ),
    ),
    Opcode.MATMUL: (
        Unit.MATRIX,
        _fields(
            (2, "m", 16, "streamed rows"),
            (3, "n", 16, "stationary rows: columns of the result"),
            *_X,
            (7, "k_tiles", 16, "tiles of R lanes along the reduction"),
            *_W,
            (11, "r_shift", 8, "right shift of the residual"),
            *_Y,
            (15, "p_base", 16, "parameter entry of the first channel (or row)"),
            (16, "r_base", 16, "first scratchpad word of the residual"),
            (17, "r_stride", 16, "words from one residual row to the next"),
            (18, "w_address", 32, "byte offset of the stationary tiles in the window"),
            (20, "code", 8, "weights in memory: " + _names(Code)),
            (20.5, "group", 8, "1 + log2 of the k-tiles of a run; 0 without scales"),
            (22, "skip", 32, "runs of k-tiles, by bit, that are 0 and not in memory"),
        ),
    ),
    Opcode.ATTEND: (
        Unit.MATRIX,
        _fields(
            (2, "m", 16, "queries, of all groups"),
            (3, "t", 16, "keys"),
            *_X,
            (7, "d_tiles", 8, "tiles of R lanes of a query and a key"),
            (7.5, "v_tiles", 8, "tiles of C rows of the transposed values"),
            *_W,
            (11, "period", 16, "queries of a group; 0 if there is one group"),
            *_Y,
            (15, "x_group", 16, "words from the first query of a group to that of the next"),
            (16, "v_base", 16, "first scratchpad word of the transposed values"),
            (17, "v_stride", 16, "words from one row of transposed values to the next"),
            (18, "v_slot", 16, "exponent slot of the first row of transposed values"),
            (19, "y_group", 16, "words from the first result row of a group to that of the next"),
            (20, "multiplier", 16, "multiplier from scores to base-2 logits, 15 bits"),
            (21, "shift", 8, "right shift from scores to base-2 logits"),
            (21.5, "y_shift", 8, "fraction bits of the result below those of the values"),
            (22, "diagonal", 16, "last key that query 0 sees, with `causal`"),
            (23, "window", 16, "first key that query 0 sees, with `window`"),
            signed=("diagonal", "window"),
        ),
    ),
    Opcode.NORM: (
        Unit.VECTOR,
        _fields(
            (2, "m", 16, "rows"),
            (3, "n", 16, "elements of a row"),
            (4, "x_base", 16, "first scratchpad word of the input"),
            (5, "x_stride", 16, "words from one input row to the next"),
            (7, "words", 16, "scratchpad words of a row"),
            (8, "gamma", 16, "scratchpad word of the gain row"),
            (9, "beta", 16, "scratchpad word of the offset row"),
            (10, "shift", 8, "right shift after the gain"),
            *_Y,
            (16, "epsilon", 32, "added to the n² scaled variance; at least 1"),
        ),
    ),
    Opcode.MULTIPLY: (
        Unit.VECTOR,
        _fields(
            (2, "m", 16, "rows"),
            (3, "words", 16, "scratchpad words of a row"),
            (4, "x_base", 16, "first scratchpad word of the first factor"),
            (5, "x_stride", 16, "words from one row of it to the next"),
            (7, "period", 16, "words of a row of the second factor, repeated; 0 for all words"),
            (8, "w_base", 16, "first scratchpad word of the second factor"),
            (9, "w_stride", 16, "words from one row of it to the next"),
            (10, "shift", 8, "right shift of the products"),
            *_Y,
        ),
    ),
    Opcode.ARGMAX: (
        Unit.VECTOR,
        _fields(
            (2, "m", 16, "rows"),
            (3, "n", 16, "elements of a row"),
            (4, "x_base", 16, "first scratchpad word of the input"),
            (5, "x_stride", 16, "words from one input row to the next"),
            (7, "words", 16, "scratchpad words of a row"),
            *_Y,
            (16, "first", 32, "index of the first element"),
        ),
    ),
}

#: Flags that each operation takes; hardware ignores the others.
FLAGS: dict[Opcode, Flag] = {
    Opcode.HALT: Flag(0),
    Opcode.LOAD: Flag.CHAIN,
    Opcode.STORE: Flag(0),
    Opcode.MATMUL: Flag.WEIGHTS_IN_MEMORY
    | Flag.ROW_PARAMETERS
    | Flag.RESIDUAL
    | Flag.ACTIVATE
    | Flag.NARROW
    | Flag.KEEP_EXPONENT
    | Flag.CONTINUE
    | Flag.HOLD
    | Flag.WIDE
    | Flag.SPARSE
    | Flag.CHAIN,
    Opcode.ATTEND: Flag.KEEP_EXPONENT
    | Flag.CAUSAL
    | Flag.WINDOW
    | Flag.CONTINUE
    | Flag.HOLD
    | Flag.WIDE,
    Opcode.NORM: Flag.RMS,
    Opcode.MULTIPLY: Flag.NARROW | Flag.KEEP_EXPONENT | Flag.COMPLEX,
    Opcode.ARGMAX: Flag.CONTINUE,
}

#: Register name to byte address.
REGISTERS = {
    "id": 0x00,
    "version": 0x04,
    "digest": 0x08,
    "geometry": 0x0C,
    "control": 0x10,
    "status": 0x14,
    "cause": 0x18,
    "fault_address": 0x1C,
    "program": 0x20,
    "window_base": 0x24,
    "window_size": 0x28,
}

#: Counters, 32 bits each, cleared at start, one after the other from 0x40.
COUNTERS = (
    "cycles",
    "instructions",
    "mac_rows",
    "saturations",
    "load_busy",
    "matrix_busy",
    "vector_busy",
    "store_busy",
    "load_wait",
    "matrix_wait",
    "vector_wait",
    "store_wait",
    "stall_weights",
    "stall_rows",
    "stall_accumulators",
    "memory_reads",
    "memory_writes",
)
REGISTERS |= {name: 0x40 + 4 * index for index, name in enumerate(COUNTERS)}
REGISTERS |= {f"argument{index}": 0x100 + 4 * index for index in range(ARGUMENTS)}


@dataclass(frozen=True)
class Instruction:
    """One decoded instruction; operands that are not given are 0.

    `operands` keeps those that are not 0, in the order of their fields, so that equal encodings
    are equal instructions. `adds` has pairs (operand, argument register), in the same order: before
    the instruction is dispatched the register is added to the operand, modulo its width.

    Raises
    ------
    ProgramError
        If an operand, a flag or a register is unknown to the operation, an operand does not fit
        its field, or there are too many additions.
    """

    opcode: Opcode
    operands: dict[str, int] = field(default_factory=dict)
    flags: Flag = field(default=Flag(0))
    wait: frozenset[Unit] = frozenset()
    signal: frozenset[Unit] = frozenset()
    adds: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        known = {f.name: f for f in OPCODES[self.opcode][1]}
        for name, value in self.operands.items():
            if name not in known:
                names = ", ".join(known) or "none"
                raise ProgramError(f"{self.opcode.name} has no operand {name!r}; it has {names}")
            low, limit = known[name].low, known[name].limit
            if not low <= value < limit:
                raise ProgramError(
                    f"{self.opcode.name}: operand {name} must be {low} to {limit - 1}, not {value}"
                )
        for flag in self.flags & ~FLAGS[self.opcode]:
            raise ProgramError(
                f"{self.opcode.name} does not take the flag {str(flag.name).lower()}"
            )
        if len(self.adds) > ARGUMENT_SLOTS:
            raise ProgramError(
                f"{self.opcode.name} can add {ARGUMENT_SLOTS} arguments, not {len(self.adds)}"
            )
        for name, register in self.adds:
            if name not in known or known[name].lsb % 16 or known[name].width < 16:
                raise ProgramError(f"{self.opcode.name}: no argument can be added to {name!r}")
            if not 0 <= register < ARGUMENTS:
                raise ProgramError(
                    f"{self.opcode.name}: argument register must be 0 to {ARGUMENTS - 1}, "
                    f"not {register}"
                )
        canonical = {name: int(self.operands[name]) for name in known if self.operands.get(name)}
        object.__setattr__(self, "operands", canonical)
        # In this order the sequencer turns an instruction once.
        order = sorted(self.adds, key=lambda add: (known[add[0]].lsb, add[1]))
        object.__setattr__(self, "adds", tuple(order))

    @property
    def unit(self) -> Unit | None:
        """Unit that executes it; None for HALT, which the sequencer itself executes."""
        return OPCODES[self.opcode][0]

    def __getitem__(self, name: str) -> int:
        if name in self.operands:
            return self.operands[name]
        if all(name != f.name for f in OPCODES[self.opcode][1]):
            raise KeyError(f"{self.opcode.name} has no operand {name!r}")
        return 0

    def resolved(self, arguments: Sequence[int]) -> "Instruction":
        """Return the instruction with the arguments added, as it is dispatched."""
        if not self.adds:
            return self
        known = {f.name: f for f in OPCODES[self.opcode][1]}
        operands = dict(self.operands)
        for name, register in self.adds:
            f = known[name]
            value = operands.get(name, 0) + arguments[register]
            operands[name] = (value - f.low) % (1 << f.width) + f.low
        return replace(self, operands=operands, adds=())

    def encode(self) -> bytes:
        """Return the 64 bytes of the instruction."""
        word = int(self.opcode) | int(self.flags) << 16
        word |= sum(1 << unit for unit in self.wait) << 8
        word |= sum(1 << unit for unit in self.signal) << 12
        for f in OPCODES[self.opcode][1]:
            word |= f.insert(self[f.name])
        places = {f.name: f for f in OPCODES[self.opcode][1]}
        for index, (name, register) in enumerate(self.adds):
            slot = places[name].lsb // 16 | (places[name].width > 16) << 5 | register << 8
            word |= slot << 16 * (ARGUMENT_HALF + index)
        return word.to_bytes(INSTRUCTION_BYTES, "little")

    @classmethod
    def decode(cls, data: bytes) -> "Instruction":
        """Return the instruction of 64 bytes; bits without a meaning are ignored.

        Raises
        ------
        ProgramError
            If the opcode is not defined or bytes are missing.
        """
        if len(data) < INSTRUCTION_BYTES:
            raise ProgramError(f"an instruction has {INSTRUCTION_BYTES} bytes, not {len(data)}")
        word = int.from_bytes(data[:INSTRUCTION_BYTES], "little")
        try:
            opcode = Opcode(word & 0xFF)
        except ValueError as error:
            raise ProgramError(f"illegal opcode {word & 0xFF}") from error
        return cls(
            opcode,
            {f.name: f.extract(word) for f in OPCODES[opcode][1]},
            Flag(word >> 16 & FLAGS[opcode]),
            frozenset(unit for unit in Unit if word >> 8 & 1 << unit),
            frozenset(unit for unit in Unit if word >> 12 & 1 << unit),
            tuple(_decode_adds(opcode, word)),
        )

    def __str__(self) -> str:
        parts = [self.opcode.name.ljust(6)]
        parts += [f"{name}={value}" for name, value in self.operands.items() if value]
        parts += [f"{name}@{register}" for name, register in self.adds]
        parts += [f"+{flag.name.lower()}" for flag in self.flags if flag.name]
        parts += [f"<{unit.name.lower()}" for unit in sorted(self.wait)]
        parts += [f">{unit.name.lower()}" for unit in sorted(self.signal)]
        return " ".join(parts)

    @classmethod
    def parse(cls, text: str) -> "Instruction":
        """Return the instruction that `str` printed as `text`."""
        name, *parts = text.split() or [""]
        part = name
        try:
            opcode = Opcode[name]
            operands, flags, wait, signal = {}, Flag(0), set(), set()
            adds = []
            for part in parts:
                if part[0] == "+":
                    flags |= Flag[part[1:].upper()]
                elif part[0] == "<":
                    wait.add(Unit[part[1:].upper()])
                elif part[0] == ">":
                    signal.add(Unit[part[1:].upper()])
                elif "@" in part:
                    key, _, value = part.partition("@")
                    adds.append((key, int(value)))
                else:
                    key, _, value = part.partition("=")
                    operands[key] = int(value, 0)
        except KeyError as error:
            raise ProgramError(f"cannot parse {text!r}: {error} is not known") from error
        except ValueError as error:
            raise ProgramError(
                f"cannot parse {text!r}: {part!r} is not NAME=NUMBER or NAME@REGISTER"
            ) from error
        return cls(opcode, operands, flags, frozenset(wait), frozenset(signal), tuple(adds))


def _decode_adds(opcode: Opcode, word: int) -> Iterable[tuple[str, int]]:
    """Yield the additions of arguments to operands; others have no meaning."""
    places = {(f.lsb, f.width > 16): f.name for f in OPCODES[opcode][1] if f.width >= 16}
    for index in range(ARGUMENT_SLOTS):
        slot = word >> 16 * (ARGUMENT_HALF + index)
        name = places.get((16 * (slot & 31), bool(slot >> 5 & 1)))
        if name is not None:
            yield name, slot >> 8 & 31


def check_tokens(program: Sequence[Instruction]) -> None:
    """Check that the program can neither deadlock nor leave tokens behind.

    Taken in program order, every wait must find its token already signalled and no counter may
    pass its limit; since queues keep program order, the machine then cannot block.

    Raises
    ------
    ProgramError
        If a wait has no token, a counter would overflow, a token is never waited for, or the
        program does not end in its only HALT.
    """
    tokens: dict[tuple[Unit, Unit], int] = {}
    for index, instruction in enumerate(program):
        unit = instruction.unit
        if unit is None:
            if index != len(program) - 1:
                raise ProgramError(f"instruction {index}: HALT before the end of the program")
            if instruction.wait or instruction.signal:
                raise ProgramError(f"instruction {index}: HALT takes no tokens")
            continue
        for source in instruction.wait:
            if not tokens.get((source, unit)):
                raise ProgramError(
                    f"instruction {index}: {instruction.opcode.name} waits for a token from "
                    f"{source.name.lower()} that nothing before it signals"
                )
            tokens[source, unit] -= 1
        for target in instruction.signal:
            tokens[unit, target] = tokens.get((unit, target), 0) + 1
            if tokens[unit, target] > TOKEN_LIMIT:
                raise ProgramError(
                    f"instruction {index}: more than {TOKEN_LIMIT} tokens from "
                    f"{unit.name.lower()} to {target.name.lower()}"
                )
    if not program or program[-1].opcode is not Opcode.HALT:
        raise ProgramError("the program does not end in HALT")
    for (source, target), count in tokens.items():
        if count:
            raise ProgramError(
                f"{count} tokens from {source.name.lower()} to {target.name.lower()} are never "
                "waited for"
            )


def assemble(program: Sequence[Instruction]) -> bytes:
    """Return the bytes of a program, its tokens checked."""
    check_tokens(program)
    return b"".join(instruction.encode() for instruction in program)


def disassemble(data: bytes) -> list[Instruction]:
    """Return the instructions at the start of `data`, up to and including HALT.

    Raises
    ------
    ProgramError
        If an instruction is illegal or there is no HALT.
    """
    program = []
    for offset in range(0, len(data) - INSTRUCTION_BYTES + 1, INSTRUCTION_BYTES):
        try:
            program.append(Instruction.decode(data[offset : offset + INSTRUCTION_BYTES]))
        except ProgramError as error:
            raise ProgramError(f"instruction {len(program)}: {error}") from error
        if program[-1].opcode is Opcode.HALT:
            return program
    raise ProgramError(f"no HALT in {len(data)} bytes")


def format_listing(program: Iterable[Instruction]) -> str:
    """Return the program as text, a line each, with byte offsets."""
    return "\n".join(f"{INSTRUCTION_BYTES * i:08x}  {ins}" for i, ins in enumerate(program))
