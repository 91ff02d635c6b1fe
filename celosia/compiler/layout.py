"""Where things lie in memory: the image of constants, and free memory behind it or elsewhere."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from celosia.compiler.program import Section
from celosia.config import MachineConfig
from celosia.errors import ModelError
from celosia.isa import Instruction
from celosia.tiles import TileShape, tile_shape

__all__ = [
    "FREE",
    "PARAMETER_BYTES",
    "Matrix",
    "MemoryLayout",
    "ceil_div",
    "parameter_bytes",
]

#: Addresses from here on are relative to the free memory, until it is linked.
FREE = 1 << 31
#: Bytes of one parameter entry in memory.
PARAMETER_BYTES = 8
#: Bytes that sections are aligned to: bursts then start where they are longest.
ALIGNMENT = 64


def ceil_div(a: int, b: int) -> int:
    """Divide and round up."""
    return -(-a // b)


@dataclass(frozen=True)
class Matrix:
    """Weights and parameters in memory.

    Attributes
    ----------
    name : str
        Layer, for messages.
    outputs, k_tiles : int
        Channels, and tiles of the reduction.
    weights, parameters : int
        Addresses. Weights are tiles, or rows if the machine streams them.
    r_shift : int
        Right shift of the residual.
    code, group, sparse : int, int, bool
        Operands of its MATMUL, and whether it is SPARSE.
    skips : tuple of int
        For the channels of each tile the operand `skip`; empty if nothing is left out.
    """

    name: str
    outputs: int
    k_tiles: int
    weights: int
    parameters: int
    r_shift: int = 0
    code: int = 0
    group: int = 0
    sparse: bool = False
    skips: tuple[int, ...] = ()

    def tiles(self, config: MachineConfig) -> TileShape:
        """Return the shape of its tiles."""
        return tile_shape(config, self.code, self.group, sparse=self.sparse)


class MemoryLayout:
    """The memory image as it grows, and the free memory.

    That lies behind the image; where the image lies in a flash, in the memory on the chip.

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
        address = self.config.flash_base + len(self.image)
        self.sections.append(Section(name, address, len(raw)))
        self.image += raw
        return address

    def fill(self, address: int, data: bytes) -> None:
        """Write into a section of constants."""
        place = address - self.config.flash_base
        self.image[place : place + len(data)] = data

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
        behind = ceil_div(len(self.image), ALIGNMENT) * ALIGNMENT
        return address - FREE + (0 if self.config.flash_base else behind)

    def linked(self, instruction: Instruction) -> Instruction:
        """Return an instruction with its final address."""
        name = "w_address" if "w_address" in instruction.operands else "address"
        address = instruction.operands.get(name, 0)
        if address < FREE:
            return instruction
        return replace(instruction, operands=instruction.operands | {name: self.link(address)})

    def linked_sections(self, model: str) -> tuple[Section, ...]:
        """Return all sections at their final addresses.

        Raises
        ------
        ModelError
            If they do not fit the memory.
        """
        config = self.config
        more = "raise on_chip_bytes or " if config.on_chip_bytes else ""
        if config.memory == "flash":
            room = config.memory_bytes - config.flash_base
            lower = "lower flash_offset or " if config.flash_offset else ""
            parts = [
                ("activations", self.free_size, config.on_chip_bytes, more),
                ("weights and program", len(self.image), room, lower),
            ]
        else:
            size, limit = self.link(FREE + self.free_size), config.memory_bytes or FREE
            parts = [("weights, program and activations", size, limit, more)]
        for what, size, limit, cure in parts:
            if size > limit:
                raise ModelError(
                    f"{model}: {what} take {size} bytes of memory, but configuration "
                    f"{config.name!r} has {limit}; {cure}take a smaller model"
                )
        return tuple(
            Section(section.name, self.link(section.address), section.bytes)
            for section in self.sections
        )


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
