"""Building blocks of datapaths: trees, shifts, saturation, leading ones, delays.

A plain expression that is used twice is emitted twice. The functions here use each argument
once, or say that they want a signal, or take the module and name what they use twice.
"""

from collections.abc import Callable, Iterable

from amaranth import Cat, Const, Module, Mux, Signal, Value

__all__ = [
    "adder_tree",
    "bit_length",
    "count",
    "delayed",
    "magnitude",
    "or_tree",
    "overflows",
    "round_shift",
    "saturate",
]


def adder_tree(terms: Iterable[Value]) -> Value:
    """Sum of `terms` by a balanced tree, one bit wider per level."""
    return _tree(terms, lambda a, b: a + b)


def or_tree(terms: Iterable[Value]) -> Value:
    """Bitwise OR of `terms` by a balanced tree."""
    return _tree(terms, lambda a, b: a | b)


def _tree(terms: Iterable[Value], join: Callable[[Value, Value], Value]) -> Value:
    level = list(terms)
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        level = [join(a, b) for a, b in pairs] + level[len(level) & ~1 :]
    return level[0]


def magnitude(x: Value) -> Value:
    """One's complement magnitude of a signed signal, one bit narrower: `x ^ (x >> (n - 1))`."""
    return x[:-1] ^ x[-1].replicate(len(x) - 1)


def bit_length(m: Module, value: Value, name: str = "bit_length") -> Signal:
    """Position of the highest set bit plus one, combinational; 0 for 0.

    Returns
    -------
    Signal(range(len(value) + 1))
        Found by bisection, one level of logic per bit of the result.
    """
    levels = len(value).bit_length()
    rest = Signal((1 << levels) - 1, name=f"{name}_rest_{levels}")
    m.d.comb += rest.eq(value)
    digits = []
    for level in reversed(range(levels)):
        # The length has digit `level` if a bit from 2**level - 1 up is set.
        half = 1 << level
        upper = Signal(name=f"{name}_upper_{level}")
        m.d.comb += upper.eq(rest[half - 1 :].any())
        digits.insert(0, upper)
        if level > 0:
            below = Signal(half - 1, name=f"{name}_rest_{level}")
            m.d.comb += below.eq(Mux(upper, rest[half:], rest[: half - 1]))
            rest = below
    length = Signal(range(len(value) + 1), name=name)
    m.d.comb += length.eq(Cat(*digits))
    return length


def round_shift(x: Value, s: Value | int) -> Value:
    """Shift a signed value right and round half up: `(x + (1 << (s - 1))) >> s`; `x` for s = 0.

    The bit below the point is kept in the shift and added after it.

    Returns
    -------
    signed(len(x) + 1)
    """
    doubled = Cat(Const(0, 1), x).as_signed() >> s
    return (doubled + 1) >> 1


def overflows(x: Value, bits: int) -> Value:
    """Whether a signed signal is outside the range of a signed number of `bits` bits."""
    upper = x[bits - 1 :]
    return ~(upper.all() | ~upper.any())


def saturate(x: Value, bits: int, overflow: Value | None = None) -> Value:
    """Clip a signed signal to `bits` bits.

    Parameters
    ----------
    x : Signal(signed(n))
        The value, n ≥ `bits`.
    bits : int
        Width of the result.
    overflow : Signal(1), optional
        `overflows(x, bits)`, if a signal holds it already.

    Returns
    -------
    signed(bits)
    """
    if overflow is None:
        overflow = overflows(x, bits)
    limit = Cat((~x[-1]).replicate(bits - 1), x[-1])
    return Mux(overflow, limit, x[:bits]).as_signed()


def count(m: Module, counter: Signal, up: Value, down: Value) -> None:
    """Let a counter rise or fall by one; only a carry chain, with an enable, lies before it."""
    changes, falls = Signal(name=f"{counter.name}_changes"), Signal(name=f"{counter.name}_falls")
    m.d.comb += [changes.eq(up ^ down), falls.eq(down)]
    with m.If(changes):
        m.d.sync += counter.eq(counter + Cat(Const(1, 1), falls.replicate(len(counter) - 1)))


def delayed(m: Module, value: Value, cycles: int, name: str, *, reset_less: bool = True) -> Value:
    """Return `value` as it was some cycles ago."""
    for stage in range(cycles):
        register = Signal.like(value, name=f"{name}_delay_{stage}", reset_less=reset_less)
        m.d.sync += register.eq(value)
        value = register
    return value
