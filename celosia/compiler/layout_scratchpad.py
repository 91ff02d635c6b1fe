"""Places in the scratchpad, exponent slots and parameter entries, and who has them."""

from collections.abc import Hashable
from dataclasses import dataclass

from celosia.config import MachineConfig

__all__ = ["Arena", "OutOfSpace", "ParameterRing", "Region", "Scratchpad"]


class OutOfSpace(Exception):
    """A plan does not fit; another, more frugal one may. `layer` is where."""

    layer = ""

    def __init__(self, what: str, needed: int, there: int) -> None:
        super().__init__(f"{needed} {what} are needed, {there} are there")
        self.what, self.needed, self.there = what, needed, there


@dataclass(frozen=True)
class Region:
    """Rows in the scratchpad.

    Attributes
    ----------
    base, stride, slot : int
        First word, words from row to row, exponent slot of the first row.
    rows, words : int
        Shape.
    """

    base: int
    stride: int
    slot: int
    rows: int
    words: int

    def part(self, first: int, rows: int) -> "Region":
        """Return some of the rows."""
        return Region(
            self.base + first * self.stride, self.stride, self.slot + first, rows, self.words
        )

    def columns(self, first: int, words: int | None = None) -> "Region":
        """Return some words of every row, by default all from `first` on."""
        words = self.words - first if words is None else words
        return Region(self.base + first, self.stride, self.slot, self.rows, words)

    def operand(self, name: str, *, slot: bool = True) -> dict[str, int]:
        """Return the operands of an instruction that say where this is."""
        place = {f"{name}_base": self.base, f"{name}_stride": self.stride}
        return place | ({f"{name}_slot": self.slot} if slot else {})


class Arena:
    """A range of places, handed out in runs.

    What was freed last is used again last, so that work on a new run need not wait for the end
    of work on an old one.
    """

    def __init__(self, what: str, size: int) -> None:
        self.what, self.size = what, size
        self.free = [(0, size)]
        self.next = 0
        self.used = self.peak = 0

    def take(self, count: int) -> int:
        """Return the first of `count` places.

        Raises
        ------
        OutOfSpace
            If no free run is long enough.
        """
        starts = [max(low, self.next) for low, high in self.free if high - self.next >= count]
        starts += [low for low, _ in self.free]
        ends = dict(self.free)
        for start in starts:
            low = max(run for run in ends if run <= start)
            if start + count <= ends[low]:
                self._cut(low, ends[low], start, count)
                return start
        # What is free may lie in pieces: count what would have to be behind the end.
        tail = sum(high - low for low, high in self.free if high == self.size)
        raise OutOfSpace(self.what, self.size - tail + count, self.size)

    def _cut(self, low: int, high: int, start: int, count: int) -> None:
        self.free.remove((low, high))
        self.free += [run for run in ((low, start), (start + count, high)) if run[0] < run[1]]
        self.free.sort()
        self.next = start + count
        self.used += count
        self.peak = max(self.peak, self.used)

    def give(self, start: int, count: int) -> None:
        """Take back what was handed out."""
        self.used -= count
        merged: list[tuple[int, int]] = []
        for low, high in sorted([*self.free, (start, start + count)]):
            if merged and merged[-1][1] == low:
                merged[-1] = merged[-1][0], high
            else:
                merged.append((low, high))
        self.free = merged


class Scratchpad:
    """Hands out regions of the scratchpad, with their exponent slots.

    Strides are odd if `padded`, so that rows one after the other lie in different banks.
    """

    def __init__(self, config: MachineConfig, *, padded: bool = True) -> None:
        self.padded = padded
        self.words = Arena("scratchpad words", config.scratchpad_words)
        self.slots = Arena("exponent slots", config.exponent_slots)

    def _size(self, rows: int, words: int) -> tuple[int, int]:
        stride = words | 1 if self.padded else words
        return stride, (rows - 1) * stride + words

    def take(self, rows: int, words: int) -> Region:
        """Return a free region of this shape."""
        stride, size = self._size(rows, words)
        base = self.words.take(size)
        try:
            slot = self.slots.take(rows)
        except OutOfSpace:
            self.words.give(base, size)
            raise
        return Region(base, stride, slot, rows, words)

    def give(self, region: Region) -> None:
        """Take a whole region back."""
        self.words.give(region.base, self._size(region.rows, region.words)[1])
        self.slots.give(region.slot, region.rows)


class ParameterRing:
    """Hands out parameter entries one run after the other, and knows what is still loaded."""

    def __init__(self, config: MachineConfig) -> None:
        self.size = config.parameter_entries
        self.next = 0
        self.loaded: dict[Hashable, tuple[int, int]] = {}

    def take(self, key: Hashable, count: int) -> tuple[int, bool]:
        """Return the first entry for `count` parameters, and whether they must be loaded."""
        if key in self.loaded:
            return self.loaded[key][0], False
        if self.next + count > self.size:
            self.next = 0
        first, last = self.next, self.next + count
        self.loaded = {
            other: run for other, run in self.loaded.items() if run[1] <= first or last <= run[0]
        }
        self.loaded[key] = first, last
        self.next = last
        return first, True
