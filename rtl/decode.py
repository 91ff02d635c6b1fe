"""Views of the 512-bit instruction word, built from the fields of the instruction set."""

from amaranth import Const, Mux, Shape, Value, unsigned
from amaranth.lib import data
from amaranth.utils import exact_log2

from celosia.config import MachineConfig
from celosia.isa import INSTRUCTION_BYTES, OPCODES, Code, Flag, Opcode, Unit

__all__ = ["has_flag", "has_pairs", "header_layout", "operand_layout", "run_log", "unit_bits"]

_HEADER: dict[int | str, data.Field] = {
    "opcode": data.Field(unsigned(8), 0),
    "wait": data.Field(unsigned(4), 8),
    "signal": data.Field(unsigned(4), 12),
    "flags": data.Field(unsigned(16), 16),
}


def header_layout() -> data.FlexibleLayout:
    """View of any instruction: `opcode`, `wait`, `signal` and `flags`."""
    return data.FlexibleLayout(8 * INSTRUCTION_BYTES, _HEADER)


def operand_layout(opcode: Opcode) -> data.FlexibleLayout:
    """View of an instruction with this opcode: the header's fields and its operands."""
    operands: dict[int | str, data.Field] = {
        f.name: data.Field(Shape(f.width, f.signed), f.lsb) for f in OPCODES[opcode][1]
    }
    return data.FlexibleLayout(8 * INSTRUCTION_BYTES, _HEADER | operands)


def unit_bits(unit: Unit) -> list[int]:
    """Return the bits of an instruction that mean something to a unit, in order."""
    fields = {(field.offset, field.width) for field in _HEADER.values()}
    for of, operands in OPCODES.values():
        if of == unit:
            fields |= {(field.lsb, field.width) for field in operands}
    return sorted({first + bit for first, width in fields for bit in range(width)})


def has_flag(instruction: data.View, flag: Flag) -> Value:
    """Return the bit of a flag in a decoded instruction."""
    return instruction.flags[exact_log2(int(flag))]


def has_pairs(config: MachineConfig, matmul: data.View) -> Value:
    """Return whether the tiles of a decoded MATMUL have two channels a column."""
    return matmul.code != Code.INT8 if config.products > 1 else Const(0)


def run_log(matmul: data.View) -> Value:
    """Return the logarithm of the tiles of a run of a decoded MATMUL, 0 to 15."""
    return Mux(matmul.group == 0, 0, matmul.group - 1)[:4]
