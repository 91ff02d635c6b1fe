"""Executes a microprogram word by word: what the words mean, apart from the hardware."""

import numpy as np

from celosia.config import MachineConfig
from celosia.isa import COUNTERS, Cause
from celosia.rtl.micro_program import Microprogram
from celosia.rtl.micro_words import REGISTERS, Op, Reader, Writer

__all__ = ["Interpreter"]

_MASK = 0xFFFFFFFF


def signed(value: int, bits: int = 32) -> int:
    """Take the lower bits of a number as one with a sign."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


class Interpreter:
    """A microprogrammed machine without its clock: `memory` is the window, from its first byte."""

    def __init__(self, config: MachineConfig, program: Microprogram, memory: np.ndarray) -> None:
        self.config = config
        self.program = program
        self.memory = memory
        self.registers = [program.registers.get(index, 0) for index in range(REGISTERS)]
        self.registers = [signed(value) for value in self.registers]
        self.local = np.zeros(2 * program.layout.words, np.uint16)
        self.strip = np.zeros((512, 4), np.int64)
        self.sums = [0] * 4
        self.mode = 0, 0, False
        self.strobe = 0
        self.beats: list[int] = []
        self.address = 0
        self.executed = 0
        self.started = False

    def counter(self, name: str) -> int:
        """Return a counter."""
        return self.registers[COUNTERS.index(name)] & _MASK

    def run(self, arguments: list[int], image: np.ndarray) -> tuple[Cause, int]:
        """Load memory and run until the end; return the cause and the address of a fault, or 0."""
        place = self.program.layout.arguments
        if not self.executed:  # it clears all memory
            self._go()
        self.memory[:] = image
        words = np.array(arguments, np.uint32).view(np.uint16)
        self.local[place : place + len(words)] = words
        self.started = True
        return self._go()

    def _go(self) -> tuple[Cause, int]:
        """Execute words until a run ends, and from there until a start is waited for."""
        ended = Cause.NONE, 0
        r = self.registers
        while True:
            word = self.program.words[self.address]
            op = Op(word & 31)
            a_index, b_index, d = word >> 5 & 255, word >> 13 & 255, word >> 21 & 255
            target = word >> 21
            a = r[a_index]
            b = signed(b_index, 8) if word >> 29 & 1 and op < Op.BEQ else r[b_index]
            following = self.address + 1
            self.executed += 1
            match op:
                case Op.ADD:
                    r[d] = signed(a + b)
                case Op.SUB:
                    r[d] = signed(a - b)
                case Op.AND:
                    r[d] = a & b
                case Op.OR:
                    r[d] = a | b
                case Op.XOR:
                    r[d] = a ^ b
                case Op.SHR:
                    assert 0 <= b < 32, (self.address, b)
                    r[d] = a >> b
                case Op.RND:
                    assert 0 <= b < 64, (self.address, b)
                    r[d] = a + (1 << b >> 1) >> b
                case Op.MIN:
                    r[d] = min(a, b)
                case Op.MAX:
                    r[d] = max(a, b)
                case Op.MUL:
                    r[d] = signed(a, 16) * signed(b, 16)
                case Op.LDH:
                    r[d] = signed(int(self.local[a + b]), 16)
                case Op.LDW:
                    assert (a + b) % 2 == 0, self.address
                    low, high = self.local[a + b : a + b + 2].tolist()
                    r[d] = signed(low | high << 16)
                case Op.STH:
                    self.local[a] = b & 0xFFFF
                case Op.STW:
                    assert a % 2 == 0, self.address
                    self.local[a : a + 2] = b & 0xFFFF, b >> 16 & 0xFFFF
                case Op.IN:
                    if b_index == Reader.START and not self.started:
                        return ended
                    r[d] = signed(self._read(b_index))
                case Op.OUT:
                    if d in (Writer.HALT, Writer.FAULT):
                        self.started = False
                        ended = (Cause(b), a) if d == Writer.FAULT else ended
                    self._write(Writer(d), a, b)
                case Op.BEQ:
                    following = target if a == b else following
                case Op.BNE:
                    following = target if a != b else following
                case Op.BLT:
                    following = target if a < b else following
                case Op.BGE:
                    following = target if a >= b else following
                case Op.BLTU:
                    following = target if a & _MASK < b & _MASK else following
                case Op.BGEU:
                    following = target if a & _MASK >= b & _MASK else following
                case Op.DBNZ:
                    r[a_index] = signed(a - 1)
                    following = target if r[a_index] else following
                case Op.CALL:
                    r[b_index] = following
                    following = target
                case Op.JMP:
                    following = a
                case Op.LDI:
                    r[d] = word >> 5 & 0xFFFF
            self.address = following

    def _read(self, port: int) -> int:
        match port:
            case Reader.BEAT:
                return self.beats.pop(0)
            case Reader.WINDOW_SIZE:
                return len(self.memory)
            case Reader.CYCLES:
                return self.executed
            case Reader.START | Reader.PROGRAM | Reader.WINDOW_BASE:
                return 0
        return self.sums[port - Reader.SUM]

    def _write(self, port: Writer, a: int, b: int) -> None:
        match port:
            case Writer.READ:
                assert not self.beats
                self.beats = self.memory[a : a + 4 * b + 4].view("<u4").tolist()
            case Writer.WRITE:
                data = np.frombuffer((b & _MASK).to_bytes(4, "little"), np.uint8)
                for lane in range(4):
                    if self.strobe >> lane & 1:
                        self.memory[a + lane] = data[lane]
            case Writer.STROBE:
                self.strobe = b
            case Writer.STRIP:
                self.strip[a >> 2, a & 3] = signed(b, 8)
            case Writer.MODE:
                self.mode = a, b & 15, bool(b & 16)
            case Writer.ROW:
                first, exponent, raw = self.mode
                x = self.local[a : a + b].view(np.int16).astype(np.int64)
                if raw:
                    x = x & 0xFF
                else:
                    x = np.clip(x + (1 << exponent >> 1) >> exponent, -128, 127)
                self.sums = (x @ self.strip[first : first + b]).tolist()
