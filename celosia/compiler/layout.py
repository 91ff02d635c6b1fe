"""Where things lie: the memory image, the scratchpad, exponent slots and parameter entries."""

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from celosia.compiler.program import Section
from celosia.config import MachineConfig
from celosia.errors import ModelError

__all__ = [
    "FREE",
    "PARAMETER_BYTES",
    "Arena",
    "Matrix",
    "MemoryLayout",
    "OutOfSpace",
    "ParameterRing",
    "Region",
    "Scratchpad",
    "ceil_div",
    "parameter_bytes",
    "tile_bytes",
]

#: Addresses from here on are relative to the free memory behind the image, until it is linked.
FREE = 1 << 31
#: Bytes of one parameter entry in memory.
PARAMETER_BYTES = 8
#: Bytes that sections are aligned to: bursts then start where they are longest.
ALIGNMENT = 64


def ceil_div(a: int, b: int) -> int:
    """Divide and round up."""
    return -(-a // b)


class OutOfSpace(Exception):
    """A plan does not fit; another, more frugal one may."""

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
        raise OutOfSpace(self.what, self.used + count, self.size)

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


@dataclass(frozen=True)
class Matrix:
    """Weights and parameters in memory.

    Attributes
    ----------
    name : str
        Layer, for messages.
    outputs, k_tiles : int
        Channels, padded, and tiles of the reduction.
    weights, parameters : int
        Addresses. Weights are tiles, or rows if the machine streams them.
    r_shift : int
        Right shift of the residual.
    """

    name: str
    outputs: int
    k_tiles: int
    weights: int
    parameters: int
    r_shift: int = 0


class MemoryLayout:
    """The memory image as it grows, and the free memory behind it.

    Parameters
    ----------
    config : MachineConfig
        The machine.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        self.image = bytearray()
        self.sections: list[Section] = []
        self.free_size = 0

    def place(self, name: str, data: bytes | NDArray) -> int:
        """Append a section of constants; return its address."""
        raw = data.tobytes() if isinstance(data, np.ndarray) else data
        self.image += bytes(-len(self.image) % ALIGNMENT)
        address = len(self.image)
        self.sections.append(Section(name, address, len(raw)))
        self.image += raw
        return address

    def reserve(self, name: str, size: int) -> int:
        """Reserve free memory; return an address to be linked."""
        address = FREE + self.free_size
        size = ceil_div(size, ALIGNMENT) * ALIGNMENT
        self.sections.append(Section(name, address, size))
        self.free_size += size
        return address

    def fork(self) -> "MemoryLayout":
        """Return a layout whose reservations do not touch this one, over the same image."""
        other = MemoryLayout(self.config)
        other.image, other.sections = self.image, list(self.sections)
        other.free_size = self.free_size
        return other

    def adopt(self, other: "MemoryLayout") -> None:
        """Take over the reservations of a fork."""
        self.sections, self.free_size = other.sections, other.free_size

    def link(self, address: int) -> int:
        """Return the final address; the image must be complete."""
        if address < FREE:
            return address
        return address - FREE + ceil_div(len(self.image), ALIGNMENT) * ALIGNMENT

    def linked_sections(self, model: str) -> tuple[Section, ...]:
        """Return all sections at their final addresses.

        Raises
        ------
        ModelError
            If they do not fit the memory.
        """
        size = self.link(FREE + self.free_size)
        limit = self.config.on_chip_bytes or FREE
        if size > limit:
            raise ModelError(
                f"{model}: weights, program and activations take {size} bytes of memory, but "
                f"configuration {self.config.name!r} has {limit}; "
                + ("raise on_chip_bytes or " if self.config.on_chip_bytes else "")
                + "take a smaller model"
            )
        return tuple(
            Section(section.name, self.link(section.address), section.bytes)
            for section in self.sections
        )


def tile_bytes(weight: NDArray[np.int8], config: MachineConfig) -> NDArray[np.int8]:
    """Arrange weights (out, in) as the array takes them: by C outputs, R inputs, then C by R.

    Both are padded with zeros to whole tiles.
    """
    rows, columns = config.rows, config.columns
    n, k = (
        ceil_div(size, step) * step
        for size, step in zip(weight.shape, (columns, rows), strict=True)
    )
    padded = np.zeros((n, k), np.int8)
    padded[: weight.shape[0], : weight.shape[1]] = weight
    tiles = padded.reshape(n // columns, columns, k // rows, rows)
    return np.ascontiguousarray(tiles.swapaxes(1, 2))


def parameter_bytes(multiplier: ArrayLike, shift: ArrayLike, bias: ArrayLike) -> NDArray[np.void]:
    """Arrange parameters as memory holds them, 8 bytes each."""
    entries = np.zeros(
        np.shape(multiplier),
        np.dtype({
            "names": ["multiplier", "shift", "bias"],
            "formats": ["<u2", "u1", "<i2"],
            "offsets": [0, 2, 4],
            "itemsize": PARAMETER_BYTES,
        }),
    )
    entries["multiplier"], entries["shift"], entries["bias"] = multiplier, shift, bias
    return entries
