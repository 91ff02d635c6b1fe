"""MATMUL of the microprogram, and what ATTEND shares with it."""

from celosia.isa import Flag, Opcode, Unit
from celosia.rtl.micro_common import MicroWriter, ge, lt, ne
from celosia.rtl.micro_layout import LANES, STRIP
from celosia.rtl.micro_words import Reader, Register, Writer

__all__ = ["fill_row", "scale_sum", "write_matmul"]


def fill_row(w: MicroWriter, source: Register, exponent: Register, to: Register) -> None:
    """Put `count` half-words into one column of the strip, as bytes; leaves `to` behind them."""
    value, count = w.registers("value", "count")
    with w.times(count):
        w.ldh(value, source, 0)
        w.rnd(value, value, exponent)
        w.clip(value, -128, 127)
        w.write(Writer.STRIP, to, value)
        w.add(source, source, 1)
        w.add(to, to, LANES)


def scale_sum(w: MicroWriter, place: Register, offset: int, multiplier: Register) -> None:
    """Scale the sum at `place` + `offset` by `s`, which is clipped; the result is in `p`."""
    x, y, s = w.registers("x", "y", "s")
    w.ldw(x, place, offset)
    w.set(y, multiplier)
    w.clip(s, 0, 47)
    w.call("product")
    w.call("shifted")


def write_matmul(w: MicroWriter) -> None:
    """Write MATMUL: for each four channels, their weights once, then all rows."""
    for name in ("m", "n", "x_slot", "w_slot", "r_shift", "y_slot", "w_address"):
        w.operand(Opcode.MATMUL, name)
    for name in ("x_base", "x_stride", "w_base", "w_stride", "y_base", "y_stride"):
        w.operand(Opcode.MATMUL, name, scale=4)
    for name in ("r_base", "r_stride", "p_base"):
        w.operand(Opcode.MATMUL, name, scale=4)
    n, x_slot, w_slot, r_shift, y_slot, at, w_base, w_stride, p_base = w.registers(
        *("i n", "i x_slot", "i w_slot", "i r_shift", "i y_slot", "i w_address"),
        *("i w_base", "i w_stride", "i p_base"),
    )
    k_tiles = w.operand(Opcode.MATMUL, "k_tiles")
    address, limit, fresh, channel, most = w.registers(
        "address", "limit", "fresh", "channel", "most"
    )
    w.add(x_slot, x_slot, w.layout.exponents)
    w.add(w_slot, w_slot, w.layout.exponents)
    w.add(y_slot, y_slot, w.layout.exponents)
    w.add(p_base, p_base, w.layout.parameters)
    w.set(address, at)
    w.set(limit, w.config.memory_bytes)
    w.set(most, 32767)
    with w.when(w.has(Flag.NARROW)):
        w.set(most, 127)
    w.set(fresh, 1)
    with w.when(w.has(Flag.KEEP_EXPONENT)):
        w.set(fresh, 0)
    w.set(channel, 0)

    # The strip takes a part of the inputs at a time.
    tiles, part, left_tiles, skipped = w.registers("tiles", "part", "left tiles", "skipped")
    with w.repeated(lt(channel, n)):
        w.set(left_tiles, k_tiles)
        w.set(skipped, 0)
        with w.repeated(ge(left_tiles, 1)):
            w.set(tiles, left_tiles)
            w.min(tiles, tiles, STRIP // LANES)
            w.sub(left_tiles, left_tiles, tiles)
            w.doubled_into(part, tiles, 2)
            _fill_strip(w, n, w_base, w_stride, w_slot)
            _multiply_rows(w, n, r_shift)
            w.add(skipped, skipped, part)
        w.set(fresh, 0)
        w.add(channel, channel, LANES)
        for _ in range(LANES):
            w.add(w_base, w_base, w_stride)
        w.add(w_slot, w_slot, LANES)
        with w.when(w.has(Flag.ROW_PARAMETERS).inverse()):
            w.add(p_base, p_base, 4 * LANES)
    w.account(Unit.MATRIX)


def _multiply_rows(w: MicroWriter, n: Register, r_shift: Register) -> None:
    """Multiply all rows with the strip: add to sums kept before, and keep or finish them."""
    m, x_base, x_stride, x_slot, y_base, y_stride, y_slot, r_base, r_stride, p_base = w.registers(
        *("i m", "i x_base", "i x_stride", "i x_slot", "i y_base", "i y_stride", "i y_slot"),
        *("i r_base", "i r_stride", "i p_base"),
    )
    channel, part, tiles, left_tiles, skipped = w.registers(
        "channel", "part", "tiles", "left tiles", "skipped"
    )
    row, x_at, y_at, r_at, p_at, x_exponent, y_exponent, sums, exponent = w.registers(
        *("row", "x at", "y at", "r at", "p at", "x exponent at", "y exponent at", "sums"),
        "exponent",
    )
    w.set(row, m)
    w.add(x_at, x_base, skipped)
    w.add(y_at, y_base, channel)
    w.add(r_at, r_base, channel)
    w.set(p_at, p_base)
    w.set(x_exponent, x_slot)
    w.set(y_exponent, y_slot)
    w.set(sums, w.layout.sums)
    zero = w.constant(0)
    with w.times(row):
        w.ldh(exponent, x_exponent, 0)
        w.write(Writer.MODE, zero, exponent)
        w.write(Writer.ROW, x_at, part)
        value, old = w.registers("value", "old")
        for column in range(LANES):
            w.read(value, Reader.SUM + column)
            with w.when(ne(skipped, 0)):
                w.ldw(old, sums, 2 * column)
                w.add(value, value, old)
            w.add(old, sums, 2 * column)
            w.store(old, value, word=True)
        with w.when(lt(left_tiles, 1)):
            _finish_row(w, n, r_shift)
        w.add(x_at, x_at, x_stride)
        w.add(y_at, y_at, y_stride)
        w.add(r_at, r_at, r_stride)
        w.add(x_exponent, x_exponent, 1)
        w.add(y_exponent, y_exponent, 1)
        w.add(sums, sums, 2 * LANES)
        w.add(w.counters["mac_rows"], w.counters["mac_rows"], tiles)


def _fill_strip(
    w: MicroWriter, n: Register, w_base: Register, w_stride: Register, w_slot: Register
) -> None:
    """Fill the strip with `part` inputs of four channels, and `keys` with their exponents."""
    channel, part, skipped, count, to = w.registers("channel", "part", "skipped", "count", "to")
    source, exponent, place, lane = w.registers("source", "exponent", "place", "lane")
    memory, done = w.label(), w.label()
    w.branch(w.has(Flag.WEIGHTS_IN_MEMORY), memory)
    first, slot, index = w.registers("first at", "slot at", "index")
    w.add(first, w_base, skipped)
    w.set(slot, w_slot)
    w.set(place, w.layout.keys)
    w.set(index, channel)
    w.set(lane, 0)
    with w.repeated(lt(lane, LANES)):
        w.set(exponent, 0)
        with w.when(lt(index, n)):
            w.ldh(exponent, slot, 0)
            w.set(source, first)
            w.set(to, lane)
            w.set(count, part)
            fill_row(w, source, exponent, to)
        w.store(place, exponent)
        w.add(first, first, w_stride)
        w.add(slot, slot, 1)
        w.add(place, place, 1)
        w.add(index, index, 1)
        w.add(lane, lane, 1)
    w.goto(done)

    # A tile has four inputs of one channel after those of the other.
    w.place(memory)
    address, size, left, pending, beat, tiles = w.registers(
        "address", "size", "left", "pending", "beat", "tiles here"
    )
    w.doubled_into(size, part, 2)
    w.call("check")
    w.set(left, part)
    w.set(pending, 0)
    w.add(address, address, size)
    w.set(place, w.layout.keys)
    w.set(exponent, 0)
    for _ in range(LANES):
        w.store(place, exponent)
        w.add(place, place, 1)
    w.set(to, 0)
    w.set(tiles, w.register("tiles"))
    with w.times(tiles):
        w.set(lane, LANES)
        with w.times(lane):
            w.call("beat")
            for k in range(LANES):
                w.write(Writer.STRIP, to, beat)
                w.add(to, to, LANES if k < LANES - 1 else 1 - LANES * (LANES - 1))
                if k < LANES - 1:
                    w.shr(beat, beat, 8)
        w.add(to, to, LANES * (LANES - 1))
    w.place(done)


def _finish_row(w: MicroWriter, n: Register, r_shift: Register) -> None:
    """Scale the four sums of a row, and write them."""
    channel, sums, y_at, r_at, p_at, bits, p, most = w.registers(
        "channel", "sums", "y at", "r at", "p at", "bits", "p", "most"
    )
    lane, source, key, to, from_, place, s = w.registers(
        "lane", "source", "key", "to", "residual at", "place", "s"
    )
    multiplier, bias, value, exponent, entry, index = w.registers(
        "multiplier", "bias", "value", "exponent", "entry", "index"
    )
    w.set(bits, 0)
    w.set(source, sums)
    w.set(key, w.layout.keys)
    w.set(to, y_at)
    w.set(from_, r_at)
    w.set(entry, p_at)
    w.set(index, channel)
    w.set(lane, LANES)
    with w.times(lane):
        done = w.label()
        w.set(p, 0)
        w.branch(ge(index, n), done)
        w.ldh(multiplier, entry, 0)
        w.and_(multiplier, multiplier, 0x7FFF)
        w.ldh(s, entry, 1)
        w.and_(s, s, 0x3F)
        w.ldh(bias, entry, 2)
        w.sub(s, s, exponent)
        w.ldh(value, key, 0)
        w.sub(s, s, value)
        scale_sum(w, source, 0, multiplier)
        w.add(p, p, bias)
        with w.when(w.has(Flag.RESIDUAL)):
            w.ldh(value, from_, 0)
            w.rnd(value, value, r_shift)
            w.add(p, p, value)
        w.min(value, p, most)
        w.sub(bias, w.constant(-1), most)
        w.max(value, value, bias)
        with w.when(ne(value, p)):
            w.add(w.counters["saturations"], w.counters["saturations"], 1)
        w.set(p, value)
        with w.when(w.has(Flag.ACTIVATE)):
            _activate(w, p)
        w.place(done)
        w.store(to, p)
        w.magnitude(p)
        w.add(to, to, 1)
        w.add(from_, from_, 1)
        w.add(source, source, 2)
        w.add(key, key, 1)
        w.add(index, index, 1)
        with w.when(w.has(Flag.ROW_PARAMETERS).inverse()):
            w.add(entry, entry, 4)
    w.set(place, w.register("y exponent at"))
    w.call("exponent")
    with w.when(w.has(Flag.ROW_PARAMETERS)):
        w.add(p_at, p_at, 4)


def _activate(w: MicroWriter, p: Register) -> None:
    """Replace `p` by the table's value."""
    at, value, slope = w.registers("at", "value", "slope")
    w.shr(at, p, 8)
    w.add(at, at, at)
    w.add(at, at, w.layout.table + 256)
    w.ldh(value, at, 0)
    w.ldh(slope, at, 1)
    w.and_(p, p, 0xFF)
    w.mul(p, p, slope)
    w.rnd(p, p, 8)
    w.add(p, p, value)
    w.clip(p, -32768, 32767)
