"""Words of the microprogram: operations, ports, and an assembler of them.

A word has 32 bits: the operation (0-4), register `a` (5-12), register or constant `b` (13-20),
register `d` (21-28), and whether `b` is a constant of 8 bits (29). Branches have their target in
the bits 21-31, `LDI` 16 bits of a constant in the bits 5-20.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import NamedTuple

__all__ = ["REGISTERS", "WORDS", "Assembler", "Condition", "Op", "Reader", "Register", "Writer"]

#: Words of a microprogram, and registers of 32 bits.
WORDS, REGISTERS = 2048, 256


class Op(IntEnum):
    """What a word does; registers are signed where it matters."""

    #: d = a + b, and so on.
    ADD = 0
    SUB = 1
    AND = 2
    OR = 3
    XOR = 4
    #: Shift to the right by 0 to 31; with rounding half up, by 32 to 63 as well, which gives 0.
    SHR = 5
    RND = 6
    MIN = 7
    MAX = 8
    #: The product of the lower halves as signed numbers.
    MUL = 9
    #: Local memory at half-word a + b: a half-word with its sign, a word.
    LDH = 10
    LDW = 11
    #: Store `b` at half-word a.
    STH = 12
    STW = 13
    #: Read a port; it is `b`. Write a port; it is `d`.
    IN = 14
    OUT = 15
    #: Branch if a == b and so on; the last two without signs.
    BEQ = 16
    BNE = 17
    BLT = 18
    BGE = 19
    BLTU = 20
    BGEU = 21
    #: a -= 1, and branch unless it is 0.
    DBNZ = 22
    #: Branch; the next word's address goes to register b. Branch to where register a says.
    CALL = 23
    JMP = 24
    #: d is a constant, 0 to 65535.
    LDI = 25


class Reader(IntEnum):
    """Ports to read; the first two wait."""

    #: The next beat of a burst; until the host starts a run.
    BEAT = 0
    START = 1
    #: What the host has written.
    PROGRAM = 2
    WINDOW_BASE = 3
    WINDOW_SIZE = 4
    #: Cycles of the run.
    CYCLES = 5
    #: Sums of the columns.
    SUM = 8


class Writer(IntEnum):
    """Ports to write; reads, writes and rows wait until they are taken, or done."""

    #: Read `b` + 1 beats from byte `a` on. Write the beat `b` there.
    READ = 0
    WRITE = 1
    #: Bytes of beats to write.
    STROBE = 2
    #: Byte `b` of the strip at `a`: four for each input, one for each column.
    STRIP = 3
    #: Multiply `b` elements, from half-word `a` of the local memory on, with the strip.
    ROW = 4
    #: Where in the strip a row begins, in inputs; the row's exponent, + 16 to take bytes as they
    #: are, without sign.
    MODE = 5
    #: The run has ended. The instruction at `a` has failed because of `b`.
    HALT = 6
    FAULT = 7


class Register(NamedTuple):
    """A register of the processor."""

    number: int


class Condition(NamedTuple):
    """A branch to be."""

    op: Op
    a: Register
    b: "Register | int"

    def inverse(self) -> "Condition":
        """Return the condition under which this one does not hold."""
        return Condition(_INVERSE[self.op], self.a, self.b)


_INVERSE = {Op.BEQ: Op.BNE, Op.BLT: Op.BGE, Op.BLTU: Op.BGEU}
_INVERSE |= {inverse: op for op, inverse in _INVERSE.items()}
_IMMEDIATE = range(-128, 128)


class Assembler:
    """Collects the words of a microprogram, gives out registers and resolves labels.

    The methods with the names of operations write one word each, `set` one or two. `b` may be an
    integer: a constant of 8 bits in the word, or a register of its own with that value.

    Attributes
    ----------
    words : list of int
        What has been written; `finish` fills in the targets.
    initial : dict of int to int
        First values of registers that are not 0.
    """

    def __init__(self) -> None:
        self.words: list[int] = []
        self.initial: dict[int, int] = {}
        self._names: dict[str, Register] = {}
        self._constants: dict[int, Register] = {}
        self._labels: list[int | None] = []
        self._targets: list[tuple[int, int]] = []
        self._addresses: list[tuple[int, int]] = []
        self._routines: dict[str, int] = {}
        self._taken = 0

    def register(self, name: str) -> Register:
        """Return the register of that name."""
        if name not in self._names:
            self._names[name] = Register(self._take())
        return self._names[name]

    def registers(self, *names: str) -> list[Register]:
        """Return registers by their names."""
        return [self.register(name) for name in names]

    def array(self, name: str, count: int) -> list[Register]:
        """Return registers that lie one behind the other."""
        return [self.register(f"{name}{index}") for index in range(count)]

    def constant(self, value: int) -> Register:
        """Return the register that holds `value`."""
        value &= 0xFFFFFFFF
        if value not in self._constants:
            self._constants[value] = Register(self._take())
            self.initial[self._constants[value].number] = value
        return self._constants[value]

    def _take(self) -> int:
        if self._taken == REGISTERS:
            raise ValueError(f"a microprogram has at most {REGISTERS} registers")
        self._taken += 1
        return self._taken - 1

    # Words.

    def _word(self, op: Op, a: Register, b: Register | int, d: Register | int = 0) -> None:
        immediate = isinstance(b, int) and b in _IMMEDIATE
        if isinstance(b, int):
            low = b & 0xFF if immediate else self.constant(b).number
        else:
            low = b.number
        high = d.number if isinstance(d, Register) else d
        self.words.append(op | a.number << 5 | low << 13 | high << 21 | immediate << 29)

    def __getattr__(self, name: str) -> Callable[..., None]:
        op = Op.__members__.get(name.upper())
        if op is None or op >= Op.STH:
            raise AttributeError(name)
        return lambda d, a, b: self._word(op, a, b, d)

    def set(self, d: Register, value: Register | int) -> None:
        """`d = value`."""
        if isinstance(value, int) and 0 <= value < 1 << 16:
            self.words.append(Op.LDI | value << 5 | d.number << 21)
        elif isinstance(value, int):
            self._word(Op.ADD, self.constant(value), 0, d)
        else:
            self._word(Op.ADD, value, 0, d)

    def store(self, address: Register, value: Register, *, word: bool = False) -> None:
        """Store a half-word, or a word."""
        self._word(Op.STW if word else Op.STH, address, value)

    def read(self, d: Register, port: int) -> None:
        """Read a port."""
        self._word(Op.IN, d, port, d)

    def write(self, port: Writer, a: Register, b: Register | int) -> None:
        """Write a port."""
        self._word(Op.OUT, a, b, port)

    # Branches.

    def label(self) -> int:
        """Return a new label."""
        self._labels.append(None)
        return len(self._labels) - 1

    def place(self, label: int) -> None:
        """Let a label mean the next word."""
        self._labels[label] = len(self.words)

    def _branch(self, op: Op, a: Register, b: Register | int, label: int) -> None:
        self._targets.append((len(self.words), label))
        self._word(op, a, b if isinstance(b, Register) else self.constant(b))

    def branch(self, condition: Condition, label: int) -> None:
        """Go to a label if a condition holds."""
        self._branch(*condition, label)

    def goto(self, label: int) -> None:
        """Go to a label."""
        zero = self.constant(0)
        self._branch(Op.BEQ, zero, zero, label)

    def repeat(self, counter: Register, label: int) -> None:
        """Count down, and go to a label unless that makes 0."""
        self._branch(Op.DBNZ, counter, counter, label)

    @contextmanager
    def when(self, condition: Condition) -> Iterator[None]:
        """Do what is written inside if a condition holds."""
        end = self.label()
        self.branch(condition.inverse(), end)
        yield
        self.place(end)

    @contextmanager
    def times(self, counter: Register) -> Iterator[None]:
        """Do what is written inside `counter` times, at least once; it counts down to 0."""
        start = self.label()
        self.place(start)
        yield
        self.repeat(counter, start)

    @contextmanager
    def repeated(self, condition: Condition) -> Iterator[None]:
        """Do what is written inside, at least once, as long as a condition holds at its end."""
        start = self.label()
        self.place(start)
        yield
        self.branch(condition, start)

    @contextmanager
    def routine(self, name: str) -> Iterator[None]:
        """Write a routine, to be called by its name; it may not call itself."""
        self.place(self._routine(name))
        yield
        self._word(Op.JMP, self.register(f"from {name}"), 0)

    def jump(self, address: Register) -> None:
        """Go to the word whose address a register holds."""
        self._word(Op.JMP, address, 0)

    def call(self, name: str) -> None:
        """Call a routine."""
        self._branch(Op.CALL, self.constant(0), self.register(f"from {name}"), self._routine(name))

    def set_address(self, d: Register, label: int) -> None:
        """`d` is where a label will be."""
        self._addresses.append((len(self.words), label))
        self.set(d, 0)

    def address_of(self, label: int) -> int:
        """Return the address of a label that has been placed."""
        address = self._labels[label]
        if address is None:
            raise ValueError("the label has not been placed")
        return address

    def _routine(self, name: str) -> int:
        if name not in self._routines:
            self._routines[name] = self.label()
        return self._routines[name]

    def finish(self) -> list[int]:
        """Return the words with all targets."""
        for place, label in self._targets:
            self.words[place] |= self.address_of(label) << 21
        for place, label in self._addresses:
            self.words[place] |= self.address_of(label) << 5
        self._targets.clear()
        self._addresses.clear()
        if len(self.words) > WORDS:
            raise ValueError(f"a microprogram has at most {WORDS} words, not {len(self.words)}")
        return self.words
