"""Write docs/isa.md from celosia/isa.py, which defines every encoding."""

import argparse
from collections.abc import Iterable
from pathlib import Path

from celosia import isa
from celosia.isa import Cause, Field, Flag, Opcode, Space, Status, Unit

PAGE = Path(__file__).parents[1] / "docs" / "isa.md"

UNITS = {
    Unit.LOAD: "memory to scratchpad, parameters, table",
    Unit.MATRIX: "products and attention",
    Unit.VECTOR: "norms, element products, largest elements",
    Unit.STORE: "scratchpad to memory",
}
OPCODES = {
    Opcode.HALT: "stop when all units are idle",
    Opcode.LOAD: "fill the scratchpad, the parameter buffer or the table from memory",
    Opcode.STORE: "write scratchpad rows to memory",
    Opcode.MATMUL: "`y = x · wᵀ`, scaled, with residual and activation",
    Opcode.ATTEND: "`y = softmax(x · wᵀ) · v`, over a run of keys",
    Opcode.NORM: "LayerNorm or RMSNorm of rows",
    Opcode.MULTIPLY: "`y = x · w`, element by element, real or complex",
    Opcode.ARGMAX: "the largest element of each row and its index",
}
SPACES = {
    Space.ROWS16: "rows of scratchpad words, two bytes a lane",
    Space.ROWS8: "rows of scratchpad words, one byte a lane: sign-extended, or the low byte",
    Space.PARAMETERS: "entries of 8 bytes: multiplier u16, shift u8, 0, bias i16, 0, 0 (LOAD only)",
    Space.TABLE: "256 entries of 4 bytes: value i16, slope i16 (LOAD only)",
}
FLAGS = {
    Flag.WEIGHTS_IN_MEMORY: "the stationary tiles come from `w_address`, not from the scratchpad",
    Flag.ROW_PARAMETERS: "row i takes parameter entry `p_base + i`, for all channels",
    Flag.RESIDUAL: "add `rnd(r, r_shift)` before saturation",
    Flag.ACTIVATE: "pass the result through the table",
    Flag.NARROW: "saturate to 8 bits in place of 16",
    Flag.KEEP_EXPONENT: "the result's exponents only grow: its rows have lanes elsewhere",
    Flag.CAUSAL: "query i sees keys 0 to `i + diagonal` of the run only",
    Flag.WINDOW: "query i sees keys from `i + window` of the run on only",
    Flag.CONTINUE: "the run goes on where the ATTEND before, with `hold`, has stopped; MATMUL: the"
    " sums of the one before are added to; ARGMAX: the result row holds the largest element so far",
    Flag.HOLD: "the next ATTEND or MATMUL goes on: nothing is written",
    Flag.WIDE: "streamed rows keep all 16 bits: two cycles a row, exponents are not used",
    Flag.CHAIN: "LOAD: memory has runs of one word of each row, `pitch` bytes from one to the next;"
    " MATMUL: streams what chained LOADs have written, each word as it comes",
    Flag.SPARSE: "the tiles in memory hold half of their inputs' weights, with indices",
    Flag.RMS: "RMSNorm: no mean is taken off",
    Flag.COMPLEX: "lanes 2k and 2k + 1 are the real and imaginary part of a number",
}
STATUS = {
    Status.BUSY: "a program runs",
    Status.DONE: "HALT was reached",
    Status.FAULT: "the machine stopped; see `cause` and `fault_address`",
}
CAUSES = {
    Cause.NONE: "no fault",
    Cause.ILLEGAL_INSTRUCTION: "an opcode that is not defined",
    Cause.OUTSIDE_WINDOW: "an address outside the window; it was not accessed",
    Cause.MEMORY_ERROR: "the memory answered with an error",
    Cause.WATCHDOG: "the memory did not answer in time",
}
REGISTERS = {
    "id": f"{isa.ID:#010X}, “CELO”".replace("0X", "0x"),
    "version": f"version of the instruction set, {isa.VERSION}",
    "digest": "the configuration's digest",
    "geometry": "rows, columns << 8, memory width << 16",
    "control": "1 starts the program",
    "status": "see below",
    "cause": "see below",
    "fault_address": "byte offset of the instruction that faulted, in the window",
    "program": "byte offset of the first instruction, in the window",
    "window_base": "first address of the window",
    "window_size": "bytes of the window",
}
REGISTERS |= {
    f"argument{index}": "added to operands; kept from program to program"
    for index in range(isa.ARGUMENTS)
}
COUNTERS = {
    "cycles": "cycles from start to stop",
    "instructions": "instructions executed, HALT included",
    "mac_rows": "rows streamed into the array",
    "saturations": "elements that MATMUL clipped to 16 (or 8) bits",
    "load_busy": "cycles the load unit had an instruction under way",
    "matrix_busy": "cycles the matrix unit had an instruction under way",
    "vector_busy": "cycles the vector unit had an instruction under way",
    "store_busy": "cycles the store unit had an instruction under way",
    "load_wait": "cycles the load unit waited for a token",
    "matrix_wait": "cycles the matrix unit waited for a token",
    "vector_wait": "cycles the vector unit waited for a token",
    "store_wait": "cycles the store unit waited for a token",
    "stall_weights": "cycles the array waited for a stationary tile",
    "stall_rows": "cycles the array waited for streamed rows",
    "stall_accumulators": "cycles the array waited for an accumulator bank",
    "memory_reads": "beats read",
    "memory_writes": "beats written",
}


def table(*header: str, rows: Iterable[tuple[object, ...]]) -> str:
    """Return a Markdown table."""
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def bits(lsb: int, width: int) -> str:
    """Return a range of bits, high one first."""
    return f"{lsb + width - 1}:{lsb}" if width > 1 else str(lsb)


def layout(fields: Iterable[Field]) -> str:
    """Return the table of an operation's operands."""
    rows = [
        (
            f"`{f.name}`" + (" (signed)" if f.signed else ""),
            f.lsb // 32,
            bits(f.lsb % 32, f.width),
            bits(f.lsb, f.width),
            f.about,
        )
        for f in sorted(fields, key=lambda f: f.lsb)
    ]
    return table("operand", "word", "bits", "of the instruction", "meaning", rows=rows)


def operation(opcode: Opcode) -> str:
    """Return the section of one operation."""
    unit, fields = isa.OPCODES[opcode]
    flags = ", ".join(f"`{flag.name.lower()}`" for flag in isa.FLAGS[opcode] if flag.name)
    about = OPCODES[opcode]
    text = [
        f"### {opcode.name}",
        f"{about[0].upper()}{about[1:]}. Unit: {unit.name.lower() if unit is not None else 'none'}."
        f" Flags: {flags or 'none'}.",
    ]
    return "\n\n".join([*text, layout(fields)] if fields else text)


def page() -> str:
    """Return docs/isa.md."""
    opcodes = [
        (f"`{op.name}`", op.value, unit.name.lower() if unit is not None else "none", OPCODES[op])
        for op, (unit, _) in isa.OPCODES.items()
    ]
    flags = [
        (
            f"`{flag.name.lower()}`",
            16 + flag.value.bit_length() - 1,
            ", ".join(op.name for op in Opcode if flag in isa.FLAGS[op]),
            FLAGS[flag],
        )
        for flag in Flag
        if flag.name
    ]
    registers = [
        (f"`{name}`", f"0x{address:02X}", COUNTERS.get(name) or REGISTERS[name])
        for name, address in isa.REGISTERS.items()
    ]
    return (
        "\n\n".join([
            "# Instruction set",
            "<!-- Written by scripts/write_isa_docs.py from celosia/isa.py; do not edit. -->",
            f"Version {isa.VERSION}. What instructions compute is said in"
            " [architecture.md](architecture.md); this page has the encodings.",
            f"An instruction is {isa.INSTRUCTION_BYTES} bytes: little-endian words of 32 bits. All"
            " operands are unsigned, but for those marked signed (two's complement). Bits without a"
            " meaning are written 0 and ignored.",
            "## Word 0",
            table(
                "bits",
                "meaning",
                rows=[
                    ("7:0", "opcode"),
                    (
                        "11:8",
                        "wait mask: a token is taken from each of these units before the start",
                    ),
                    ("15:12", "signal mask: each of these units gets a token at the end"),
                    ("31:16", "flags"),
                ],
            ),
            "## Words 12 to 15",
            f"Up to {isa.ARGUMENT_SLOTS} additions of 16 bits each: before the instruction is"
            " dispatched an argument register is added to an operand of 16 or 32 bits, modulo its"
            " width.",
            table(
                "bits",
                "meaning",
                rows=[
                    ("4:0", "half-word at which the operand begins; 0 for no addition"),
                    ("5", "set if the operand has 32 bits"),
                    ("12:8", "argument register"),
                ],
            ),
            "## Opcodes",
            "All others, 0 among them, are illegal.",
            table("opcode", "value", "unit", "meaning", rows=opcodes),
            "## Units",
            "The bit of a unit in the wait and signal masks.",
            table("unit", "bit", "does", rows=[(u.name.lower(), u.value, UNITS[u]) for u in Unit]),
            "## Flags",
            table("flag", "bit of word 0", "taken by", "meaning", rows=flags),
            "## Operations",
            *map(operation, Opcode),
            "## Spaces",
            "What `space` says in LOAD and STORE.",
            table(
                "space",
                "value",
                "meaning",
                rows=[(s.name.lower(), s.value, SPACES[s]) for s in Space],
            ),
            "## Registers",
            "32 bits each, at these byte addresses. Counters are cleared at the start of a program."
            f" On-chip memory is at 0x{isa.MEMORY_WINDOW:08X}.",
            table("register", "address", "meaning", rows=registers),
            "### Status",
            table(
                "bit",
                "value",
                "meaning",
                rows=[(s.name.lower(), s.value, STATUS[s]) for s in Status],
            ),
            "### Causes",
            table(
                "cause",
                "value",
                "meaning",
                rows=[(c.name.lower(), c.value, CAUSES[c]) for c in Cause],
            ),
        ])
        + "\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=PAGE, help="where to write the page")
    args = parser.parse_args()
    args.output.write_text(page())


if __name__ == "__main__":
    main()
