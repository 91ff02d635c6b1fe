"""The part of a scratchpad word that the array's R lanes take."""

from amaranth import Module, Value
from amaranth.lib import data

__all__ = ["select_part"]


def select_part(m: Module, word: Value | data.View, part: Value, target: data.View) -> None:
    """Drive `target` with the `part`-th of the equal parts, as wide as it, of `word`."""
    whole, taken = Value.cast(word), Value.cast(target)
    if len(whole) == len(taken):
        m.d.comb += taken.eq(whole)
    else:
        m.d.comb += taken.eq(whole.word_select(part, len(taken)))
