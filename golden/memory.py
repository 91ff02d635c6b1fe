"""Memories of the golden machine: the window, the scratchpad with its exponents, the buffers."""

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from celosia.config import MachineConfig
from celosia.errors import ProgramError
from celosia.golden.fixed import IntArray, row_exponent
from celosia.golden.softmax import SoftmaxState
from celosia.isa import ARGUMENTS, Cause

__all__ = ["Fault", "HeldAttention", "HeldSums", "MachineState", "Scratchpad", "Window"]

ByteArray = NDArray[np.uint8]


class Fault(Exception):
    """The hardware stops here, with this cause in its register."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause.name)
        self.cause = cause


class Window:
    """The bytes that the machine may touch, in whole beats.

    Parameters
    ----------
    data : bytearray or (bytes,) uint8
        The memory; written in place.
    beat : int
        Bytes that one memory access moves.
    fixed : int
        First address that cannot be written; 0 if all can.
    """

    def __init__(self, data: bytearray | ByteArray, beat: int, fixed: int = 0) -> None:
        self.bytes = np.frombuffer(data, np.uint8) if isinstance(data, bytearray) else data
        if self.bytes.dtype != np.uint8 or self.bytes.ndim != 1:
            raise TypeError("memory must be a bytearray or a one-dimensional array of uint8")
        self.beat = beat
        self.fixed = fixed or len(self.bytes)

    def read(self, address: int, size: int, *, rows: int = 1, pitch: int = 0) -> ByteArray:
        """Return `rows` runs of `size` bytes, each `pitch` bytes after the one before.

        Returns
        -------
        (rows, size) uint8

        Raises
        ------
        Fault
            If a beat of it lies outside.
        """
        if rows == 1:
            self._check(address, size, 1, 0)
            return self.bytes[np.newaxis, address : address + size]
        return self.bytes[self._index(address, size, rows, pitch)]

    def write(self, address: int, values: ByteArray, *, pitch: int = 0, first: int = 0) -> None:
        """Write rows of bytes, each from its byte `first` on; with 0, the inverse of `read`.

        Raises
        ------
        Fault
            If a beat of it lies outside, or where nothing can be written.
        """
        rows, size = values.shape
        places = self._index(address, first + size, rows, pitch)[:, first:]
        if address + (rows - 1) * pitch + first + size > self.fixed:
            raise Fault(Cause.MEMORY_ERROR)
        self.bytes[places] = values

    def _index(self, address: int, size: int, rows: int, pitch: int) -> IntArray:
        self._check(address, size, rows, pitch)
        return address + pitch * np.arange(rows)[:, np.newaxis] + np.arange(size)

    def _check(self, address: int, size: int, rows: int, pitch: int) -> None:
        for name, value in (("address", address), ("pitch", pitch)):
            if value % self.beat:
                raise ProgramError(f"{name} must be a multiple of {self.beat}, not {value}")
        if address + (rows - 1) * pitch + -(-size // self.beat) * self.beat > len(self.bytes):
            raise Fault(Cause.OUTSIDE_WINDOW)


class Scratchpad:
    """Words of L int16, and the exponents of the rows that they make up.

    Attributes
    ----------
    words : (scratchpad_words, lanes) int16
        The contents.
    exponents : (exponent_slots,) int64
        0 to 8.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.words = np.zeros((config.scratchpad_words, config.lanes), np.int16)
        self.exponents = np.zeros(config.exponent_slots, np.int64)

    def addresses(
        self, base: int, stride: int, rows: int, width: int, *, period: int = 0, group: int = 0
    ) -> IntArray:
        """Return the words that hold `width` lanes of each row, row by row.

        With a `period`, rows come in groups of so many, `group` words apart.

        Returns
        -------
        (rows, words) int64

        Raises
        ------
        ProgramError
            If a word does not exist.
        """
        depth, lanes = self.words.shape
        number, row = divmod(np.arange(rows), period or rows)
        first = base + group * number + stride * row
        places = first[:, np.newaxis] + np.arange(-(-width // lanes))
        last = int(places.max())
        if last >= depth:
            raise ProgramError(f"scratchpad word {last} does not exist; there are {depth}")
        return places

    def read(
        self, base: int, stride: int, rows: int, width: int, *, period: int = 0, group: int = 0
    ) -> NDArray[np.int16]:
        """Return the first `width` lanes of each row; groups as in `addresses`.

        Returns
        -------
        (rows, width) int16
        """
        words = self.words[self.addresses(base, stride, rows, width, period=period, group=group)]
        return words.reshape(rows, -1)[:, :width]

    def slots(self, slot: int, rows: int) -> slice:
        """Return where the exponents of `rows` rows are, from `slot` on.

        Raises
        ------
        ProgramError
            If a slot does not exist.
        """
        if slot + rows > len(self.exponents):
            raise ProgramError(
                f"exponent slot {slot + rows - 1} does not exist; there are {len(self.exponents)}"
            )
        return slice(slot, slot + rows)

    def write(
        self,
        base: int,
        stride: int,
        values: NDArray[np.integer],
        slot: int,
        *,
        keep: bool = False,
        period: int = 0,
        group: int = 0,
    ) -> None:
        """Write the first lanes of each row and find its exponent.

        Parameters
        ----------
        base, stride : int
            Where the rows lie.
        values : (rows, width) int
            int16 values; the lanes that the last word has beyond `width` keep what they hold.
        slot : int
            Exponent slot of the first row.
        keep : bool
            The old exponents remain as lower bounds.
        period, group : int
            Groups of rows, as in `addresses`; their rows of the same index share an exponent.
        """
        rows, width = values.shape
        lanes = self.words.shape[1]
        places = self.addresses(base, stride, rows, width, period=period, group=group)
        elements = places[:, :, np.newaxis] * lanes
        elements = (elements + np.arange(lanes)).reshape(rows, -1)[:, :width]
        where = self.slots(slot, period or rows)
        self.words.reshape(-1)[elements] = values
        found = row_exponent(values).reshape(-1, period or rows).max(axis=0)
        self.exponents[where] = np.maximum(self.exponents[where], found) if keep else found

    def check_apart(self, name: str, one: IntArray, other: IntArray) -> None:
        """Refuse two operands that share words: hardware writes one while it reads the other."""
        taken = np.zeros(len(self.words), bool)
        taken[one] = True
        if taken[other].any():
            raise ProgramError(f"the result must not overlap {name}")


@dataclass(frozen=True)
class HeldAttention:
    """What an ATTEND leaves inside for the one that continues it.

    Attributes
    ----------
    softmax : SoftmaxState
        Exponents and denominators of the m queries.
    accumulators : (m, width) int64
        Output accumulators.
    exponents : (width,) int64
        Row exponents of Vᵀ.
    """

    softmax: SoftmaxState
    accumulators: IntArray
    exponents: IntArray


@dataclass(frozen=True)
class HeldSums:
    """What a MATMUL leaves in the accumulators for the one that continues it.

    Attributes
    ----------
    sums : (m, n) int64
        Sums of products.
    """

    sums: IntArray


@dataclass
class MachineState:
    """Everything that an instruction can read or write.

    Attributes
    ----------
    parameters : (parameter_entries, 3) int64
        Multiplier, shift and bias of each entry.
    table : (256, 2) int64
        Value and slope of each segment.
    arguments : (ARGUMENTS,) int64
        Argument registers, 0 to 2^32 - 1.
    held : HeldAttention or HeldSums or None
        Of an ATTEND or MATMUL with `hold` that has not been continued.
    chained : deque of int
        Words that chained LOADs have written and no chained MATMUL has streamed.
    """

    config: MachineConfig
    window: Window
    scratchpad: Scratchpad
    parameters: IntArray
    table: IntArray
    arguments: IntArray
    held: HeldAttention | HeldSums | None = None
    chained: deque[int] = field(default_factory=deque)

    @classmethod
    def blank(cls, config: MachineConfig, memory: bytearray | ByteArray) -> "MachineState":
        """Return the state after power-on: all zero but the memory itself."""
        return cls(
            config,
            Window(memory, config.memory_width, config.flash_base),
            Scratchpad(config),
            np.zeros((config.parameter_entries, 3), np.int64),
            np.zeros((256, 2), np.int64),
            np.zeros(ARGUMENTS, np.int64),
        )
