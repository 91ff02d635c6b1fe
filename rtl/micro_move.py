"""LOAD and STORE of the microprogram."""

from celosia.isa import Opcode, Space, Unit
from celosia.rtl.micro_common import MicroWriter, eq, lt, ne
from celosia.rtl.micro_words import Register, Writer

__all__ = ["write_load", "write_store"]


def write_load(w: MicroWriter) -> None:
    """Write LOAD."""
    rows, words, address, pitch = (
        w.operand(Opcode.LOAD, name) for name in ("rows", "words", "address", "pitch")
    )
    space = w.operand(Opcode.LOAD, "space")
    base = w.operand(Opcode.LOAD, "base", scale=4)
    stride = w.operand(Opcode.LOAD, "stride", scale=4)
    slot = w.operand(Opcode.LOAD, "slot")
    at, limit, beats, to = w.registers("address", "limit", "beats", "to")
    w.set(at, address)
    w.set(limit, w.config.memory_bytes)
    w.set(beats, words)

    whole, narrow = w.label(), w.label()
    w.branch(eq(space, int(Space.ROWS8)), narrow)
    w.branch(eq(space, int(Space.ROWS16)), whole)
    # Parameters and the table lie as they do in memory.
    w.add(to, base, w.layout.parameters)
    w.add(beats, words, words)
    with w.when(eq(space, int(Space.TABLE))):
        w.set(to, w.layout.table)
        w.set(beats, words)
    _ask(w, beats)
    with w.times(beats):
        w.call("beat")
        w.store(to, w.register("beat"), word=True)
        w.add(to, to, 2)
    w.account(Unit.LOAD)

    w.place(whole)
    w.add(beats, words, words)
    w.place(narrow)
    w.add(slot, slot, w.layout.exponents)
    count, beat, value, bits = w.registers("loaded", "beat", "value", "bits")
    with w.times(rows):
        _ask(w, beats)
        w.set(bits, 0)
        w.set(to, base)
        w.set(count, beats)
        with w.times(count):
            other, done = w.label(), w.label()
            w.call("beat")
            w.branch(ne(space, int(Space.ROWS16)), other)
            w.store(to, beat, word=True)
            for half in range(2):
                w.ldh(value, to, half)
                w.magnitude(value)
            w.add(to, to, 2)
            w.goto(done)
            w.place(other)
            _bytes(w, to)
            w.place(done)
        w.end_row(slot, 1)
        w.add(base, base, stride)
        w.add(at, at, pitch)
    w.account(Unit.LOAD)


def _ask(w: MicroWriter, beats: Register) -> None:
    """Ask for so many beats at `address`."""
    size, left, pending = w.registers("size", "left", "pending")
    w.add(size, beats, beats)
    w.add(size, size, size)
    w.call("check")
    w.set(left, beats)
    w.set(pending, 0)


def _bytes(w: MicroWriter, to: Register) -> None:
    """Store the bytes of a beat as half-words."""
    beat, value, four = w.registers("beat", "value", "four")
    w.set(four, 4)
    with w.times(four):
        w.and_(value, beat, 0xFF)
        w.xor(value, value, 0x80)
        w.sub(value, value, 0x80)
        w.store(to, value)
        w.magnitude(value)
        w.shr(beat, beat, 8)
        w.add(to, to, 1)


def write_store(w: MicroWriter) -> None:
    """Write STORE."""
    rows, words, space, address, pitch, first, count = (
        w.operand(Opcode.STORE, name)
        for name in ("rows", "words", "space", "address", "pitch", "first", "count")
    )
    base = w.operand(Opcode.STORE, "base", scale=4)
    stride = w.operand(Opcode.STORE, "stride", scale=4)
    at, limit, size, physical, end, writes = w.registers(
        "address", "limit", "size", "physical", "last", "writes"
    )
    source, element, beat, strobe, each, bits = w.registers(
        "source", "element", "beat", "strobe", "each", "each strobe"
    )
    w.set(at, address)
    w.set(limit, w.config.on_chip_bytes)
    with w.when(eq(count, 0)):
        w.add(count, words, words)
        w.add(count, count, count)
    w.add(end, first, count)
    # Elements of a beat, and the beats up to the last one.
    w.set(each, 2)
    w.set(writes, 1)
    with w.when(eq(space, int(Space.ROWS8))):
        w.set(each, 4)
        w.set(writes, 2)
    skipped, beats = w.registers("skipped", "beats")
    w.add(beats, end, each)
    w.add(beats, beats, -1)
    w.shr(beats, beats, writes)
    w.add(size, beats, beats)
    w.add(size, size, size)
    w.shr(skipped, first, writes)
    w.sub(beats, beats, skipped)
    left, lane, edge = w.registers("left", "lane", "edge")
    written = w.counters["memory_writes"]
    with w.times(rows):
        w.call("check")
        w.set(left, beats)
        w.set(element, 0)
        w.set(source, base)
        with w.when(ne(skipped, 0)):  # those before the first one
            w.set(lane, skipped)
            with w.times(lane):
                w.add(physical, physical, 4)
                w.add(element, element, each)
                w.add(source, source, each)
        with w.times(left):
            given = w.label()
            w.set(strobe, 15)
            w.add(edge, element, each)
            with w.when(lt(element, first)):
                w.set(strobe, 0)
            with w.when(lt(end, edge)):
                w.set(strobe, 0)
            with w.when(eq(strobe, 0)):  # the first or the last
                w.set(bits, 1)
                with w.when(eq(each, 2)):
                    w.set(bits, 3)
                w.set(lane, each)
                w.set(edge, element)
                with w.times(lane):
                    out = w.label()
                    w.branch(lt(edge, first), out)
                    with w.when(lt(edge, end)):
                        w.or_(strobe, strobe, bits)
                    w.place(out)
                    w.add(bits, bits, bits)
                    with w.when(eq(each, 2)):
                        w.add(bits, bits, bits)
                    w.add(edge, edge, 1)
            w.ldw(beat, source, 0)
            w.branch(eq(each, 2), given)
            _gather(w, source)
            w.place(given)
            w.write(Writer.STROBE, strobe, strobe)
            w.write(Writer.WRITE, physical, beat)
            w.add(written, written, 1)
            w.add(physical, physical, 4)
            w.add(element, element, each)
            w.add(source, source, each)
        w.add(at, at, pitch)
        w.add(base, base, stride)
    w.account(Unit.STORE)


def _gather(w: MicroWriter, source: Register) -> None:
    """Put the low bytes of four half-words into a beat."""
    beat, value = w.registers("beat", "value")
    w.set(beat, 0)
    for lane in (3, 2, 1, 0):
        w.doubled(beat, 8 if lane < 3 else 0)
        w.ldh(value, source, lane)
        w.and_(value, value, 0xFF)
        w.or_(beat, beat, value)
