"""NORM, MULTIPLY and ARGMAX of the microprogram."""

from celosia.isa import Flag, Opcode, Unit
from celosia.rtl.micro_common import MicroWriter, eq, ge, lt, ne
from celosia.rtl.micro_words import Register

__all__ = ["write_argmax", "write_multiply", "write_norm", "write_vector_routines"]


def write_norm(w: MicroWriter) -> None:
    """Write NORM."""
    m, n, words, gamma, beta, shift, y_slot, epsilon = (
        w.operand(Opcode.NORM, name, scale=4 if name in ("words", "gamma", "beta") else 1)
        for name in ("m", "n", "words", "gamma", "beta", "shift", "y_slot", "epsilon")
    )
    x_base, x_stride, y_base, y_stride = (
        w.operand(Opcode.NORM, name, scale=4)
        for name in ("x_base", "x_stride", "y_base", "y_stride")
    )
    w.min(shift, shift, 36)
    w.add(y_slot, y_slot, w.layout.exponents)
    with w.times(m):
        _sums(w, n, x_base)
        _row_scale(w, n, epsilon)
        _normalise(w, n, words, x_base, y_base, gamma, beta, shift)
        w.end_row(y_slot, 1)
        w.add(x_base, x_base, x_stride)
        w.add(y_base, y_base, y_stride)
    w.account(Unit.VECTOR)


def _sums(w: MicroWriter, n: Register, x_base: Register) -> None:
    """`total = Σx` and `high·2^30 + low = Σx²` of a row; `total` is 0 with `rms`."""
    at, count, value, square, low, high, total = w.registers(
        "at", "count", "value", "square", "low", "high", "total"
    )
    for register in (low, high, total):
        w.set(register, 0)
    w.set(at, x_base)
    w.set(count, n)
    with w.times(count):
        w.ldh(value, at, 0)
        w.add(total, total, value)
        w.mul(square, value, value)
        w.add(low, low, square)
        w.shr(square, low, 30)  # as a number without sign it is below 2^31
        w.add(high, high, square)
        w.and_(low, low, (1 << 30) - 1)
        w.add(at, at, 1)
    with w.when(w.has(Flag.RMS)):
        w.set(total, 0)


def _row_scale(w: MicroWriter, n: Register, epsilon: Register) -> None:
    """Find `mean`, `gain` (in two parts), `offset` and `scale`, the shift of a row."""
    total, low, high, mean, gain, offset, scale, term, part = w.registers(
        "total", "low", "high", "mean", "gain", "offset", "scale", "term", "part"
    )
    dividend, divisor, quotient, remainder, steps = w.registers(
        "dividend", "divisor", "quotient", "remainder", "steps"
    )
    middle, half, root, size, fraction = w.registers("middle", "half", "root", "size", "fraction")

    # The mean, of positive numbers: 29 bits before the point and 20 behind it.
    w.mul(dividend, n, 1 << 14)
    w.add(dividend, dividend, dividend)
    w.add(dividend, dividend, total)
    w.doubled(dividend, 3)
    w.set(divisor, n)
    w.set(quotient, 0)
    w.set(remainder, 0)
    w.set(steps, 29)
    w.call("divide")
    w.sub(mean, quotient, 1 << 15)
    w.set(quotient, 0)
    w.set(steps, 20)
    w.call("divide")
    w.set(fraction, quotient)

    # v = n·Σx² - (Σx)² + epsilon in parts of 15 bits, the highest with all that is above.
    with w.when(lt(total, 0)):
        w.sub(total, w.constant(0), total)
    w.and_(part, low, 0x7FFF)
    w.shr(middle, low, 15)
    w.mul(low, part, n)
    w.mul(middle, middle, n)
    w.mul(high, high, n)
    w.and_(part, total, 0x7FFF)
    w.shr(total, total, 15)
    w.mul(term, part, part)
    w.sub(low, low, term)
    w.mul(term, part, total)
    w.add(term, term, term)
    w.sub(middle, middle, term)
    w.mul(term, total, total)
    w.sub(high, high, term)
    w.and_(term, epsilon, 0x7FFF)
    w.add(low, low, term)
    w.shr(term, epsilon, 15)
    w.and_(part, term, 0x7FFF)
    w.add(middle, middle, part)
    w.shr(term, term, 15)
    w.and_(term, term, 3)
    w.add(high, high, term)
    w.shr(term, low, 15)
    w.add(middle, middle, term)
    w.and_(low, low, 0x7FFF)
    w.shr(term, middle, 15)
    w.add(high, high, term)
    w.and_(middle, middle, 0x7FFF)
    w.doubled(middle, 15)
    w.or_(low, low, middle)

    # Its root, two bits of v for each of 20 bits; pairs of zeros before the first are left out.
    start, found = w.label(), w.label()
    top = w.register("top")
    w.set(half, 28)
    w.place(start)
    w.shr(top, high, 24)
    w.branch(ne(top, 0), found)
    w.call("pair")
    w.add(half, half, -1)
    w.goto(start)
    w.place(found)
    w.set(root, 0)
    w.set(remainder, 0)
    w.set(steps, 20)
    with w.times(steps):
        w.call("pair")
        w.doubled(remainder, 2)
        w.add(remainder, remainder, top)
        w.doubled(root, 1)
        w.add(term, root, root)
        w.add(term, term, 1)
        with w.when(ge(remainder, term)):
            w.sub(remainder, remainder, term)
            w.add(root, root, 1)

    # The gain, n over it.
    w.set(size, 32)
    w.set(dividend, n)
    with w.repeated(ge(dividend, 0)):
        w.add(dividend, dividend, dividend)
        w.add(size, size, -1)
    w.set(divisor, root)
    w.set(quotient, 0)
    w.set(remainder, 0)
    w.set(steps, 38)
    w.call("divide")
    w.shr(term, quotient, 18)
    w.add(term, term, 1)
    w.rnd(gain, quotient, term)
    w.min(gain, gain, (1 << 17) - 1)
    w.sub(scale, half, size)
    w.sub(scale, scale, term)
    w.add(scale, scale, 10)
    w.max(scale, scale, 0)
    w.set(w.register("x"), fraction)
    _times_gain(w)
    w.shr(offset, w.register("p"), 1)


def write_vector_routines(w: MicroWriter) -> None:
    """Write `pair`: the highest two of the 56 bits in `high` and `low` go to `top`."""
    high, low, top, term = w.registers("high", "low", "top", "term")
    with w.routine("pair"):
        w.shr(top, high, 24)
        w.and_(high, high, (1 << 24) - 1)
        w.doubled(high, 2)
        w.shr(term, low, 28)
        w.add(high, high, term)
        w.and_(low, low, (1 << 28) - 1)
        w.doubled(low, 2)


def _times_gain(w: MicroWriter) -> None:
    """Multiply `x` by the gain, 17 bits of which the highest is set."""
    x, y, gain, p, top = w.registers("x", "y", "gain", "p", "top")
    w.and_(y, gain, 0x7FFF)
    w.call("product")
    w.shr(top, gain, 15)
    w.add(p, p, x)
    w.add(p, p, x)
    with w.when(eq(top, 3)):
        w.add(p, p, x)


def _normalise(
    w: MicroWriter,
    n: Register,
    words: Register,
    x_base: Register,
    y_base: Register,
    gamma: Register,
    beta: Register,
    shift: Register,
) -> None:
    """Write the elements of a row, and zeros behind them."""
    at, to, count, value, x, y, p, low, s, term, bits = w.registers(
        "at", "to", "count", "value", "x", "y", "p", "low", "s", "term", "bits"
    )
    gain_at, offset_at = w.registers("gamma at", "beta at")
    w.set(bits, 0)
    w.set(at, x_base)
    w.set(to, y_base)
    w.set(gain_at, gamma)
    w.set(offset_at, beta)
    w.set(count, n)
    with w.times(count):
        w.ldh(value, at, 0)
        w.sub(x, value, w.register("mean"))
        _times_gain(w)
        # Four bits more, less the offset.
        w.doubled(p, 4)
        w.doubled(low, 4)
        w.sub(low, low, w.register("offset"))
        w.shr(term, low, 15)
        w.add(p, p, term)
        w.and_(low, low, 0x7FFF)
        w.set(s, w.register("scale"))
        w.call("shifted")
        w.set(x, p)
        w.ldh(y, gain_at, 0)
        w.call("product")
        w.set(s, shift)
        w.call("shifted")
        w.ldh(value, offset_at, 0)
        w.add(p, p, value)
        w.clip(p, -32768, 32767)
        w.store(to, p)
        w.magnitude(p)
        for register in (at, to, gain_at, offset_at):
            w.add(register, register, 1)
    w.sub(count, words, n)
    with w.when(ne(count, 0)):
        w.set(value, 0)
        with w.times(count):
            w.store(to, value)
            w.add(to, to, 1)


def write_multiply(w: MicroWriter) -> None:
    """Write MULTIPLY, two elements at a time."""
    m, words, period, shift, y_slot = (
        w.operand(Opcode.MULTIPLY, name) for name in ("m", "words", "period", "shift", "y_slot")
    )
    x_base, x_stride, w_base, w_stride, y_base, y_stride = (
        w.operand(Opcode.MULTIPLY, name, scale=4)
        for name in ("x_base", "x_stride", "w_base", "w_stride", "y_base", "y_stride")
    )
    most, least, kept, bits, p, low, s, term = w.registers(
        "most", "least", "kept", "bits", "p", "low", "s", "term"
    )
    at, to, factor, count, left, other = w.registers("at", "to", "factor", "count", "left", "other")
    x_0, x_1, w_0, w_1 = w.registers("x 0", "x 1", "w 0", "w 1")
    w.add(y_slot, y_slot, w.layout.exponents)
    w.set(most, 32767)
    with w.when(w.has(Flag.NARROW)):
        w.set(most, 127)
    w.sub(least, w.constant(-1), most)
    w.set(kept, 1)
    with w.when(w.has(Flag.KEEP_EXPONENT)):
        w.set(kept, 0)
    w.add(words, words, words)
    w.add(period, period, period)
    with w.when(eq(period, 0)):
        w.set(period, words)
    with w.times(m):
        w.set(at, x_base)
        w.set(to, y_base)
        w.set(left, 0)
        w.set(bits, 0)
        w.set(count, words)
        with w.times(count):
            with w.when(eq(left, 0)):  # the second factor begins again
                w.set(factor, w_base)
                w.set(left, period)
            w.add(left, left, -1)
            for offset, (x, y) in enumerate(((x_0, w_0), (x_1, w_1))):
                w.ldh(x, at, offset)
                w.ldh(y, factor, offset)
            whole, done = w.label(), w.label()
            w.branch(w.has(Flag.COMPLEX).inverse(), whole)
            w.mul(p, x_0, w_0)
            w.mul(term, x_1, w_1)
            w.sub(other, p, term)
            # The sum of these two may have 33 bits.
            w.mul(p, x_0, w_1)
            w.mul(term, x_1, w_0)
            w.and_(low, p, 0x7FFF)
            w.and_(s, term, 0x7FFF)
            w.add(low, low, s)
            w.shr(p, p, 15)
            w.shr(term, term, 15)
            w.add(p, p, term)
            w.shr(term, low, 15)
            w.add(p, p, term)
            w.and_(low, low, 0x7FFF)
            w.set(s, shift)
            w.call("shifted")
            w.goto(done)
            w.place(whole)
            w.mul(other, x_0, w_0)
            w.mul(p, x_1, w_1)
            w.rnd(p, p, shift)
            w.place(done)
            w.rnd(other, other, shift)
            for value in (other, p):
                w.clip(value, least, most)
                w.store(to, value)
                w.magnitude(value)
                w.add(to, to, 1)
            w.add(at, at, 2)
            w.add(factor, factor, 2)
        w.end_row(y_slot, kept)
        w.add(x_base, x_base, x_stride)
        w.add(w_base, w_base, w_stride)
        w.add(y_base, y_base, y_stride)
    w.account(Unit.VECTOR)


def write_argmax(w: MicroWriter) -> None:
    """Write ARGMAX."""
    m, n, y_slot, first = (w.operand(Opcode.ARGMAX, name) for name in ("m", "n", "y_slot", "first"))
    x_base, x_stride, y_base, y_stride = (
        w.operand(Opcode.ARGMAX, name, scale=4)
        for name in ("x_base", "x_stride", "y_base", "y_stride")
    )
    value, found, index, at, count, low, to, bits, here = w.registers(
        "value", "found value", "index", "at", "count", "low", "to", "bits", "here"
    )
    w.add(y_slot, y_slot, w.layout.exponents)
    with w.times(m):
        w.set(found, -32769)
        w.set(index, 0)
        with w.when(w.has(Flag.CONTINUE)):
            w.ldh(found, y_base, 0)
            w.ldh(low, y_base, 1)
            w.and_(low, low, 0xFFFF)
            w.ldh(index, y_base, 2)
            w.doubled(index, 16)
            w.or_(index, index, low)
        w.set(at, x_base)
        w.set(here, first)
        w.set(count, n)
        with w.times(count):
            w.ldh(value, at, 0)
            with w.when(lt(found, value)):
                w.set(found, value)
                w.set(index, here)
            w.add(at, at, 1)
            w.add(here, here, 1)
        w.set(bits, 0)
        w.set(to, y_base)
        w.store(to, found)
        w.add(to, to, 1)
        w.store(to, index)
        w.add(to, to, 1)
        w.shr(index, index, 16)
        w.store(to, index)
        w.add(to, to, 1)
        w.set(value, 0)
        w.store(to, value)
        for lane in range(3):
            w.ldh(value, y_base, lane)
            w.magnitude(value)
        w.end_row(y_slot, 1)
        w.add(x_base, x_base, x_stride)
        w.add(y_base, y_base, y_stride)
    w.account(Unit.VECTOR)
