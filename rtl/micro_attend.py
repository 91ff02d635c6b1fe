"""ATTEND of the microprogram: block by block of four keys, all queries for each."""

from celosia.isa import Flag, Opcode, Unit
from celosia.rtl.micro_common import MicroWriter, eq, ge, lt, ne
from celosia.rtl.micro_layout import LANES, STRIP
from celosia.rtl.micro_matrix import fill_row, scale_sum
from celosia.rtl.micro_words import Assembler, Reader, Register, Writer

__all__ = ["POWERS", "write_attend", "write_powers"]

#: Words of the table of powers.
POWERS = 2 * 64
#: Logit of a key that is not seen: its probability is 0, and it raises no maximum.
_UNSEEN = -(1 << 20)
#: A denominator that is not below this is halved.
_LIMIT = 1 << 29


def write_powers(w: Assembler) -> None:
    """Write `255·256·2^(-f/64)` for all f: each as two words that end the routine `power`."""
    for f in range(POWERS // 2):
        w.set(w.register("power"), round(255 * 256 * 2 ** (-f / 64)))
        w.jump(w.register("from power"))


def write_attend(w: MicroWriter, powers: int) -> None:
    """Write ATTEND; the table of powers lies at `powers`."""
    m, t, x_slot, d_tiles, v_tiles, w_slot, period, y_slot, v_slot = (
        w.operand(Opcode.ATTEND, name)
        for name in (
            *("m", "t", "x_slot", "d_tiles", "v_tiles"),
            *("w_slot", "period", "y_slot", "v_slot"),
        )
    )
    w_base, w_stride, v_base, v_stride = (
        w.operand(Opcode.ATTEND, name, scale=4)
        for name in ("w_base", "w_stride", "v_base", "v_stride")
    )
    for name in ("x_base", "x_stride", "x_group", "y_base", "y_stride", "y_group"):
        w.operand(Opcode.ATTEND, name, scale=4)
    for name in ("multiplier", "shift", "y_shift", "diagonal", "window"):
        w.operand(Opcode.ATTEND, name)
    key, depth, strip, inputs = w.registers("key", "depth", "strip", "inputs")
    for slot in (x_slot, w_slot, y_slot, v_slot):
        w.add(slot, slot, w.layout.exponents)
    with w.when(eq(period, 0)):
        w.set(period, m)
    w.doubled_into(depth, d_tiles, 2)
    # The strip holds keys, and behind them values.
    w.doubled_into(inputs, v_tiles, 2)
    w.add(inputs, inputs, depth)
    w.set(w.register("cause"), 1)
    w.branch(lt(w.constant(STRIP), inputs), w.failed)
    w.doubled_into(strip, depth, 2)
    fresh = w.register("first block")
    w.set(fresh, 1)
    with w.when(w.has(Flag.CONTINUE)):
        w.set(fresh, 0)

    w.set(key, 0)
    with w.repeated(lt(key, t)):
        _fill_keys(w, t, w_base, w_stride, w_slot)
        _fill_values(w, v_base, v_stride, v_slot, v_tiles)
        _queries(w, m, "x")
        with w.times(w.register("query")):
            _scores(w, t, powers)
            _values(w, v_tiles)
            w.add(w.register("state"), w.register("state"), 4)
            rows = w.counters["mac_rows"]
            w.add(rows, rows, d_tiles)
            w.add(rows, rows, v_tiles)
            _next_query(w, period, "x")
        w.set(fresh, 0)
        w.add(v_base, v_base, LANES)
        w.add(key, key, LANES)

    held = w.label()
    w.branch(w.has(Flag.HOLD), held)
    _queries(w, m, "y")
    with w.times(w.register("query")):
        _divide(w, v_tiles, v_slot, y_slot)
        _next_query(w, period, "y")
    w.place(held)
    w.account(Unit.MATRIX)


def _queries(w: MicroWriter, m: Register, name: str) -> None:
    """Begin with the first query, of which x or y is at `at`, in `group`."""
    at, group, query, index, state, sums = w.registers(
        "at", "group at", "query", "query index", "state", "sums"
    )
    w.set(group, w.register(f"i {name}_base"))
    w.set(at, group)
    w.set(query, m)
    w.set(index, 0)
    w.set(state, w.layout.states)
    w.set(sums, w.layout.sums)


def _next_query(w: MicroWriter, period: Register, name: str) -> None:
    """Go on to the next query."""
    at, group, index = w.registers("at", "group at", "query index")
    w.add(index, index, 1)
    w.add(at, at, w.register(f"i {name}_stride"))
    with w.when(eq(index, period)):
        w.set(index, 0)
        w.add(group, group, w.register(f"i {name}_group"))
        w.set(at, group)


def _fill_keys(
    w: MicroWriter, t: Register, w_base: Register, w_stride: Register, w_slot: Register
) -> None:
    """Put four keys into the strip, their exponents into `keys`."""
    source, exponent, to, count, lane, place, index, depth, key = w.registers(
        "source", "exponent", "to", "count", "lane", "place", "index", "depth", "key"
    )
    w.set(lane, 0)
    w.set(place, w.layout.keys)
    w.set(index, key)
    with w.repeated(lt(lane, LANES)):
        with w.when(lt(index, t)):
            w.ldh(exponent, w_slot, 0)
            w.store(place, exponent)
            w.set(source, w_base)
            w.set(to, lane)
            w.set(count, depth)
            fill_row(w, source, exponent, to)
        w.add(w_base, w_base, w_stride)
        w.add(w_slot, w_slot, 1)
        w.add(place, place, 1)
        w.add(index, index, 1)
        w.add(lane, lane, 1)


def _fill_values(
    w: MicroWriter, v_base: Register, v_stride: Register, v_slot: Register, v_tiles: Register
) -> None:
    """Put four elements of all rows of Vᵀ into the strip."""
    source, exponent, to, count, lane, tile, slot, row, strip, first = w.registers(
        *("source", "exponent", "to", "count", "lane", "tile", "slot at", "row at", "strip"),
        "first at",
    )
    w.set(row, v_base)
    w.set(slot, v_slot)
    w.set(first, strip)
    w.set(tile, v_tiles)
    with w.times(tile):
        w.set(lane, LANES)
        with w.times(lane):
            w.ldh(exponent, slot, 0)
            w.set(source, row)
            w.set(to, first)
            w.set(count, LANES)
            fill_row(w, source, exponent, to)
            w.add(row, row, v_stride)
            w.add(slot, slot, 1)
            w.add(first, first, 1)
        w.add(first, first, LANES * (LANES - 1))


def _scores(w: MicroWriter, t: Register, powers: int) -> None:
    """Find the probabilities of four keys, and `a` and `b`, the shifts of sums and products."""
    at, index, key, depth, exponent, place, value = w.registers(
        "at", "query index", "key", "depth", "exponent", "place", "value"
    )
    lane, position, limit, p, s, logit, most, source, found = w.registers(
        *("lane", "position", "mask limit", "p", "s", "logit at", "block most", "source"),
        "key exponent at",
    )
    zero = w.constant(0)
    w.add(place, index, w.register("i x_slot"))
    w.ldh(exponent, place, 0)
    w.write(Writer.MODE, zero, exponent)
    w.write(Writer.ROW, at, depth)
    w.set(source, w.layout.row)
    for column in range(LANES):
        w.read(value, Reader.SUM + column)
        w.add(place, source, 2 * column)
        w.store(place, value, word=True)
    w.set(most, -32768)
    w.set(position, key)
    w.set(logit, w.layout.logits)
    w.set(found, w.layout.keys)
    w.set(lane, LANES)
    with w.times(lane):
        unseen = w.label()
        w.set(p, _UNSEEN)
        w.branch(ge(position, t), unseen)
        with w.when(w.has(Flag.CAUSAL)):
            w.add(limit, index, w.register("i diagonal"))
            w.branch(lt(limit, position), unseen)
        with w.when(w.has(Flag.WINDOW)):
            w.add(limit, index, w.register("i window"))
            w.branch(lt(position, limit), unseen)
        w.ldh(s, found, 0)
        w.sub(s, w.register("i shift"), s)
        w.sub(s, s, exponent)
        scale_sum(w, source, 0, w.register("i multiplier"))
        w.clip(p, -32768, 32767)
        w.max(most, most, p)
        w.place(unseen)
        w.store(logit, p, word=True)
        w.add(logit, logit, 2)
        w.add(source, source, 2)
        w.add(found, found, 1)
        w.add(position, position, 1)
    _softmax(w, powers)


def _softmax(w: MicroWriter, powers: int) -> None:
    """Take four logits into the softmax of a query."""
    most, block, delta, octaves, power, added, value = w.registers(
        "block most", "block exponent", "delta", "octaves", "power", "added", "value"
    )
    lane, logit, to, state, a, b, fresh = w.registers(
        "lane", "logit at", "to", "state", "a", "b", "first block"
    )
    exponent, old, denominator = w.registers("new exponent", "old exponent", "denominator")
    back = w.register("from power")
    w.add(block, most, 63)
    w.shr(block, block, 6)
    w.mul(most, block, 64)
    w.set(added, 0)
    w.set(logit, w.layout.logits)
    w.set(to, w.layout.probabilities)
    w.set(lane, LANES)
    with w.times(lane):
        w.ldw(value, logit, 0)
        w.sub(delta, most, value)
        w.shr(octaves, delta, 6)
        w.min(octaves, octaves, 31)
        w.add(octaves, octaves, 8)
        w.and_(delta, delta, 63)
        w.add(delta, delta, delta)
        w.add(delta, delta, powers)
        returns = w.label()
        w.set_address(back, returns)
        w.jump(delta)
        w.place(returns)
        w.rnd(power, power, octaves)
        w.store(to, power)
        w.add(added, added, power)
        w.add(logit, logit, 2)
        w.add(to, to, 1)
    w.mul(added, added, 1 << 14)
    w.set(exponent, block)
    w.set(a, 0)
    w.set(b, 0)
    first = w.label()
    w.set(denominator, 0)
    w.branch(ne(fresh, 0), first)
    w.ldw(old, state, 0)
    w.ldw(denominator, state, 2)
    w.max(exponent, exponent, old)
    w.sub(a, exponent, old)
    w.min(a, a, 31)
    w.shr(value, denominator, a)
    with w.when(ge(value, _LIMIT)):
        w.add(exponent, exponent, 1)
    w.sub(a, exponent, old)
    w.min(a, a, 31)
    w.sub(b, exponent, block)
    w.min(b, b, 31)
    w.shr(denominator, denominator, a)
    w.shr(added, added, b)
    w.place(first)
    w.add(denominator, denominator, added)
    w.store(state, exponent, word=True)
    w.add(value, state, 2)
    w.store(value, denominator, word=True)


def _values(w: MicroWriter, v_tiles: Register) -> None:
    """Add the product of probabilities and values to the sums of a query."""
    tile, place, value, old, a, b, fresh, sums = w.registers(
        "tile", "place", "value", "old", "a", "b", "first block", "sums"
    )
    strip, probabilities = w.registers("strip at", "probabilities")
    w.set(tile, v_tiles)
    w.set(strip, w.register("depth"))
    w.set(probabilities, w.layout.probabilities)
    with w.times(tile):
        w.write(Writer.MODE, strip, 16)
        w.write(Writer.ROW, probabilities, w.constant(LANES))
        for column in range(LANES):
            w.read(value, Reader.SUM + column)
            w.doubled(value, w.config.guard_bits)
            w.shr(value, value, b)
            w.add(place, sums, 2 * column)
            with w.when(eq(fresh, 0)):
                w.ldw(old, place, 0)
                w.shr(old, old, a)
                w.add(value, value, old)
            w.store(place, value, word=True)
        w.add(strip, strip, LANES)
        w.add(sums, sums, 2 * LANES)


def _divide(w: MicroWriter, v_tiles: Register, v_slot: Register, y_slot: Register) -> None:
    """Divide the sums of a query by its denominator, and write them."""
    at, index, state, sums, bits, place, fresh, group = w.registers(
        "at", "query index", "state", "sums", "bits", "place", "fresh", "group at"
    )
    denominator, length, value, left, shift, s, p = w.registers(
        "denominator", "length", "value", "left", "shift", "s", "p"
    )
    dividend, divisor, quotient, remainder, steps = w.registers(
        "dividend", "divisor", "quotient", "remainder", "steps"
    )
    to, slot, lanes, exponent = w.registers("to", "slot at", "lanes", "exponent")
    w.ldw(denominator, state, 2)
    w.max(denominator, denominator, 1)
    w.set(length, 0)
    w.set(value, denominator)
    small, normal = w.label(), w.label()
    with w.repeated(ne(value, 0)):
        w.shr(value, value, 1)
        w.add(length, length, 1)
    w.sub(left, w.constant(15), length)
    w.set(divisor, denominator)
    w.branch(ge(left, 1), small)
    w.add(left, length, -15)
    w.shr(divisor, divisor, left)
    w.goto(normal)
    w.place(small)
    with w.times(left):
        w.add(divisor, divisor, divisor)
    w.place(normal)
    w.set(dividend, ((1 << 29) - 1) << 3)
    w.set(quotient, 0)
    w.set(remainder, 0)
    w.set(steps, 29)
    w.call("divide")
    w.add(shift, length, w.config.guard_bits)
    w.sub(shift, shift, w.register("i y_shift"))

    w.set(bits, 0)
    w.set(to, at)
    w.set(slot, v_slot)
    w.doubled_into(lanes, v_tiles, 2)
    with w.times(lanes):
        w.ldh(exponent, slot, 0)
        w.sub(s, shift, exponent)
        scale_sum(w, sums, 0, quotient)
        w.clip(p, -32768, 32767)
        w.store(to, p)
        w.magnitude(p)
        w.add(sums, sums, 2)
        w.add(to, to, 1)
        w.add(slot, slot, 1)
    w.add(state, state, 4)
    w.add(place, index, y_slot)
    w.set(fresh, 0)
    first = w.label()
    w.branch(ne(group, w.register("i y_base")), first)
    w.branch(w.has(Flag.KEEP_EXPONENT), first)
    w.set(fresh, 1)
    w.place(first)
    w.call("exponent")
