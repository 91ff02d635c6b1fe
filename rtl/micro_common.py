"""What all parts of the microprogram share: operands, memory, scaling, exponents."""

from celosia.config import MachineConfig
from celosia.isa import COUNTERS, OPCODES, Cause, Flag, Opcode, Unit
from celosia.rtl.micro_layout import MicroLayout
from celosia.rtl.micro_words import Assembler, Condition, Op, Reader, Register, Writer

__all__ = ["MicroWriter", "eq", "ge", "lt", "ltu", "ne"]

#: Beats of a burst, and bytes that none crosses a multiple of.
_BURST, _BOUNDARY = 64, 4096
#: A product larger than this is certain to be saturated.
_LARGE = 1 << 24


def eq(a: Register, b: Register | int) -> Condition:
    """Return the condition `a == b`."""
    return Condition(Op.BEQ, a, b)


def ne(a: Register, b: Register | int) -> Condition:
    """Return the condition `a != b`."""
    return Condition(Op.BNE, a, b)


def lt(a: Register, b: Register | int) -> Condition:
    """Return the condition `a < b`."""
    return Condition(Op.BLT, a, b)


def ge(a: Register, b: Register | int) -> Condition:
    """Return the condition `a >= b`."""
    return Condition(Op.BGE, a, b)


def ltu(a: Register, b: Register | int) -> Condition:
    """Return the condition `a < b` without signs."""
    return Condition(Op.BLTU, a, b)


class MicroWriter(Assembler):
    """An assembler with the routines and idioms of a machine's microprogram.

    Routines have their operands in registers of fixed names: `address`, `size`, `beat`; `x`, `y`,
    `p`, `low`, `s`; `bits`, `place`, `fresh`.
    """

    def __init__(self, config: MachineConfig) -> None:
        super().__init__()
        self.config = config
        self.layout = MicroLayout(config)
        counters = self.array("counter", len(COUNTERS))
        self.counters: dict[str, Register] = dict(zip(COUNTERS, counters, strict=True))
        self.next = self.label()
        self.failed = self.label()
        self._opcodes = {opcode: self.label() for opcode in Opcode}

    def label_of(self, opcode: Opcode) -> int:
        """Return the label of what executes an instruction."""
        return self._opcodes[opcode]

    # Idioms.

    def operand(self, opcode: Opcode, name: str, *, scale: int = 1) -> Register:
        """Fetch an operand of the instruction, times `scale`, a power of two."""
        field = next(f for f in OPCODES[opcode][1] if f.name == name)
        d, base = self.register(f"i {name}"), self.constant(self.layout.instruction)
        half, bit = divmod(field.lsb, 16)
        if field.width == 32:
            self.ldw(d, base, half)
        else:
            self.ldh(d, base, half)
        if bit:
            self.shr(d, d, bit)
        if field.width < 32 and not field.signed:
            self.and_(d, d, (1 << field.width) - 1)
        self.doubled(d, scale.bit_length() - 1)
        return d

    def and_(self, d: Register, a: Register, b: Register | int) -> None:
        """`d = a & b`."""
        self._word(Op.AND, a, b, d)

    def or_(self, d: Register, a: Register, b: Register | int) -> None:
        """`d = a | b`."""
        self._word(Op.OR, a, b, d)

    def doubled(self, d: Register, times: int) -> None:
        """Double a register so many times."""
        for _ in range(times):
            self.add(d, d, d)

    def doubled_into(self, d: Register, a: Register, times: int) -> None:
        """`d = a · 2^times`, at least once."""
        self.add(d, a, a)
        self.doubled(d, times - 1)

    def has(self, flag: Flag) -> Condition:
        """Return whether the instruction has a flag."""
        masked = self.register(f"flag {flag.name}")
        self.and_(masked, self.register("flags"), int(flag))
        return ne(masked, 0)

    def clip(self, d: Register, low: Register | int, high: Register | int) -> None:
        """Bring a register into a range."""
        self.max(d, d, low)
        self.min(d, d, high)

    def account(self, unit: Unit) -> None:
        """Count the instruction and its cycles, and go on to the next one."""
        instructions = self.counters["instructions"]
        self.add(instructions, instructions, 1)
        busy, now = self.counters[f"{unit.name.lower()}_busy"], self.register("now")
        self.read(now, Reader.CYCLES)
        self.sub(now, now, self.register("began"))
        self.add(busy, busy, now)
        self.goto(self.next)

    def magnitude(self, value: Register) -> None:
        """Add the magnitude of a half-word to `bits`."""
        sign, bits = self.registers("sign", "bits")
        self.shr(sign, value, 15)
        self.xor(sign, sign, value)
        self.or_(bits, bits, sign)

    def end_row(self, slot: Register, fresh: Register | int) -> None:
        """Keep the exponent of the row in `bits` at `slot`, and go on to the next slot."""
        self.set(self.register("place"), slot)
        self.set(self.register("fresh"), fresh)
        self.call("exponent")
        self.add(slot, slot, 1)

    # Routines.

    def write_routines(self) -> None:
        """Write all routines."""
        self._write_check()
        self._write_beat()
        self._write_product()
        self._write_exponent()
        self._write_divide()

    def _write_check(self) -> None:
        """`check`: fail unless `size` bytes at `address` are there; below `limit` in memory.

        Leaves `physical`, the address in memory.
        """
        address, size, limit, end, physical = self.registers(
            "address", "size", "limit", "end", "physical"
        )
        cause, window, base = self.registers("cause", "window", "window base")
        with self.routine("check"):
            self.set(cause, int(Cause.OUTSIDE_WINDOW))
            self.add(end, address, size)
            self.branch(ltu(end, address), self.failed)
            self.read(window, Reader.WINDOW_SIZE)
            self.branch(ltu(window, end), self.failed)
            self.set(cause, int(Cause.MEMORY_ERROR))
            self.read(base, Reader.WINDOW_BASE)
            self.add(physical, address, base)
            self.branch(ltu(physical, address), self.failed)
            self.add(end, physical, size)
            self.branch(ltu(end, physical), self.failed)
            self.branch(ltu(limit, end), self.failed)

    def _write_beat(self) -> None:
        """`beat`: the next of `left` beats from `physical` on; `pending` is 0 at first."""
        beat, left, physical, pending, count = self.registers(
            "beat", "left", "physical", "pending", "count"
        )
        reads = self.counters["memory_reads"]
        with self.routine("beat"):
            with self.when(eq(pending, 0)):
                self.and_(count, physical, _BOUNDARY - 1)
                self.sub(count, self.constant(_BOUNDARY), count)
                self.shr(count, count, 2)
                self.min(count, count, _BURST)
                self.min(count, count, left)
                self.sub(left, left, count)
                self.add(reads, reads, count)
                self.set(pending, count)
                self.add(count, count, -1)
                self.write(Writer.READ, physical, count)
                self.add(count, pending, pending)
                self.add(count, count, count)
                self.add(physical, physical, count)
            self.read(beat, Reader.BEAT)
            self.add(pending, pending, -1)

    def _write_product(self) -> None:
        """`product`: `x·y = p·2^15 + low`, x of 31 bits, y of 16; `scaled` is rounded by `s`.

        `scaled` gives it in `p`, as far as it is below 2^24.
        """
        x, y, p, low, s, term, left = self.registers("x", "y", "p", "low", "s", "term", "lefts")
        with self.routine("product"):
            self.and_(low, x, 0x7FFF)
            self.mul(term, low, y)
            self.shr(p, x, 15)
            self.mul(p, p, y)
            self.and_(low, term, 0x7FFF)
            self.shr(term, term, 15)
            self.add(p, p, term)
        with self.routine("shifted"):
            small, done = self.label(), self.label()
            self.branch(lt(s, 16), small)
            self.add(term, s, -15)
            self.rnd(p, p, term)
            self.goto(done)
            self.place(small)
            self.rnd(low, low, s)
            self.sub(left, self.constant(15), s)
            with self.when(ne(left, 0)), self.times(left):
                self.add(p, p, p)
                self.clip(p, -_LARGE, _LARGE)
            self.add(p, p, low)
            self.place(done)

    def _write_exponent(self) -> None:
        """`exponent`: keep that of a row at `place`, whose magnitudes are in `bits`.

        It is there already if it is larger, unless the row is `fresh`.
        """
        bits, place, fresh, found, old = self.registers("bits", "place", "fresh", "found", "old")
        with self.routine("exponent"):
            start, end = self.label(), self.label()
            self.set(found, 0)
            self.shr(bits, bits, 7)
            self.place(start)
            self.branch(eq(bits, 0), end)
            self.shr(bits, bits, 1)
            self.add(found, found, 1)
            self.goto(start)
            self.place(end)
            with self.when(eq(fresh, 0)):
                self.ldh(old, place, 0)
                self.max(found, found, old)
            self.store(place, found)

    def _write_divide(self) -> None:
        """`divide`: `steps` more bits of the quotient of a `dividend`, its highest bit first.

        Goes on from `quotient` and `remainder`, the divisor having 30 bits at most.
        """
        dividend, divisor, quotient, remainder, steps = self.registers(
            "dividend", "divisor", "quotient", "remainder", "steps"
        )
        with self.routine("divide"), self.times(steps):
            self.add(remainder, remainder, remainder)
            with self.when(lt(dividend, 0)):
                self.add(remainder, remainder, 1)
            self.add(dividend, dividend, dividend)
            self.add(quotient, quotient, quotient)
            with self.when(ge(remainder, divisor)):
                self.sub(remainder, remainder, divisor)
                self.add(quotient, quotient, 1)
