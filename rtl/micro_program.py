"""The microprogram of a machine: start, fetch, dispatch, and what executes each instruction."""

from typing import NamedTuple

from celosia.config import MachineConfig
from celosia.isa import ARGUMENT_HALF, ARGUMENT_SLOTS, INSTRUCTION_BYTES, Cause, Opcode
from celosia.rtl.micro_attend import POWERS, write_attend, write_powers
from celosia.rtl.micro_common import MicroWriter, eq, ne
from celosia.rtl.micro_layout import MicroLayout
from celosia.rtl.micro_matrix import write_matmul
from celosia.rtl.micro_move import write_load, write_store
from celosia.rtl.micro_vector import (
    write_argmax,
    write_multiply,
    write_norm,
    write_vector_routines,
)
from celosia.rtl.micro_words import Reader, Writer

__all__ = ["Microprogram", "microprogram"]


class Microprogram(NamedTuple):
    """A microprogram.

    Attributes
    ----------
    words : list of int
        Its words; the first is executed first.
    registers : dict of int to int
        First values of registers that are not 0. Register i counts what `COUNTERS[i]` says, but
        for the cycles.
    layout : MicroLayout
        Where it has what in the local memory.
    """

    words: list[int]
    registers: dict[int, int]
    layout: MicroLayout


def microprogram(config: MachineConfig) -> Microprogram:
    """Write the microprogram of a machine.

    Raises
    ------
    ConfigError
        If there is none for it.
    """
    w = MicroWriter(config)
    boot, idle = w.label(), w.label()
    w.goto(boot)
    powers = len(w.words)
    write_powers(w)
    assert len(w.words) == powers + POWERS
    w.write_routines()
    write_vector_routines(w)
    _write_boot(w, boot)
    _write_run(w, idle)
    for opcode, write in (
        (Opcode.LOAD, write_load),
        (Opcode.STORE, write_store),
        (Opcode.MATMUL, write_matmul),
        (Opcode.ATTEND, lambda w: write_attend(w, powers)),
        (Opcode.NORM, write_norm),
        (Opcode.MULTIPLY, write_multiply),
        (Opcode.ARGMAX, write_argmax),
    ):
        w.place(w.label_of(opcode))
        write(w)
    return Microprogram(w.finish(), w.initial, w.layout)


def _write_boot(w: MicroWriter, boot: int) -> None:
    """Clear all memory: what lies there at first is not defined."""
    at, count, zero = *w.registers("at", "count"), w.constant(0)
    w.place(boot)
    w.set(at, 0)
    w.set(count, w.layout.words)
    with w.times(count):
        w.store(at, zero, word=True)
        w.add(at, at, 2)
    w.set(at, 0)
    w.set(count, w.config.on_chip_bytes // 4)
    w.write(Writer.STROBE, zero, 15)
    with w.times(count):
        w.write(Writer.WRITE, at, zero)
        w.add(at, at, 4)


def _write_run(w: MicroWriter, idle: int) -> None:
    """Wait for a start, then take instruction after instruction."""
    address, size, limit, at, flags, began, beat = w.registers(
        "address", "size", "limit", "instruction", "flags", "began", "beat"
    )
    left, pending, count, to, cause = w.registers("left", "pending", "beats", "to", "cause")
    w.place(idle)
    w.read(count, Reader.START)
    for counter in w.counters.values():
        w.set(counter, 0)
    w.read(at, Reader.PROGRAM)
    w.add(at, at, -INSTRUCTION_BYTES)

    w.place(w.next)
    w.add(at, at, INSTRUCTION_BYTES)
    w.read(began, Reader.CYCLES)
    w.set(address, at)
    w.set(size, INSTRUCTION_BYTES)
    w.set(limit, w.config.memory_bytes)
    w.call("check")
    w.set(count, INSTRUCTION_BYTES // 4)
    w.set(left, count)
    w.set(pending, 0)
    w.set(to, w.layout.instruction)
    with w.times(count):
        w.call("beat")
        w.store(to, beat, word=True)
        w.add(to, to, 2)
    _write_additions(w)

    opcode, base = w.register("opcode"), w.constant(w.layout.instruction)
    w.ldh(opcode, base, 0)
    w.and_(opcode, opcode, 0xFF)
    w.ldh(flags, base, 1)
    for code in (code for code in Opcode if code is not Opcode.HALT):
        w.branch(eq(opcode, int(code)), w.label_of(code))
    halt = w.label()
    w.branch(eq(opcode, int(Opcode.HALT)), halt)
    w.set(cause, int(Cause.ILLEGAL_INSTRUCTION))

    w.place(w.failed)
    w.write(Writer.FAULT, at, cause)
    w.goto(idle)
    w.place(halt)
    w.add(w.counters["instructions"], w.counters["instructions"], 1)
    w.write(Writer.HALT, at, at)
    w.goto(idle)


def _write_additions(w: MicroWriter) -> None:
    """Add arguments to the instruction in the local memory."""
    slot, count, half, value, argument, place, width = w.registers(
        "slot at", "count", "half", "value", "argument", "place", "width"
    )
    w.set(slot, w.layout.instruction + ARGUMENT_HALF)
    w.set(count, ARGUMENT_SLOTS)
    with w.times(count):
        w.ldh(value, slot, 0)
        w.and_(half, value, 31)
        with w.when(ne(half, 0)):
            short, done = w.label(), w.label()
            w.add(place, half, w.layout.instruction)
            w.shr(argument, value, 8)
            w.and_(argument, argument, 31)
            w.add(argument, argument, argument)
            w.ldw(argument, argument, w.layout.arguments)
            w.and_(width, value, 32)
            w.branch(eq(width, 0), short)
            w.ldw(value, place, 0)
            w.add(value, value, argument)
            w.store(place, value, word=True)
            w.goto(done)
            w.place(short)
            w.ldh(value, place, 0)
            w.add(value, value, argument)
            w.store(place, value)
            w.place(done)
        w.add(slot, slot, 1)
