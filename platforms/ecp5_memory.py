"""The memories of a machine, and the cells of an ECP5 that synthesis makes each of."""

from collections.abc import Iterator
from dataclasses import dataclass

from amaranth.utils import ceil_log2

from celosia.config import MachineConfig
from celosia.isa import INSTRUCTION_BYTES
from celosia.rtl.memory_writer import MemoryWriter
from celosia.rtl.scratchpad import Scratchpad
from celosia.rtl.sequencer import InstructionFetch
from celosia.rtl.stream import StreamFIFO
from celosia.rtl.top import ROW_BEATS, WEIGHT_BEATS

__all__ = ["Memory", "memories"]

#: What a cell costs in the eyes of synthesis, and each bit of a multiplexer between cells.
_BLOCK_COST, _DISTRIBUTED_COST, _BIT_COST, _REGISTER_COST = 128, 4, 0.5, 8
#: Widths and depths of a block RAM, and of a distributed one.
_BLOCKS = ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384))
_DISTRIBUTED = ((4, 16),)


@dataclass(frozen=True)
class Memory:
    """A memory with one port to write.

    Parameters
    ----------
    part : str
        Part of the machine that it belongs to.
    width, depth : int
        Bits of a word, and words.
    reads : int
        Ports to read; each has a copy.
    piece : int
        Bits that are written together; 0 for all.
    block : bool
        It may be of block RAM, as it is read through a register.
    """

    part: str
    width: int
    depth: int
    reads: int = 1
    piece: int = 0
    block: bool = True

    @property
    def block_rams(self) -> int:
        """Block RAMs that it takes."""
        return self._cells()[0]

    @property
    def luts(self) -> float:
        """LUTs that it takes, if it is distributed: cells, and multiplexers between them."""
        cells, rows = self._cells()[1:]
        # A cell of 16 x 4 takes four LUTs to read and the place of two to write.
        return 6 * cells + _BIT_COST * (rows - 1) * self.width * self.reads if cells else 0

    def _cells(self) -> tuple[int, int, int]:
        """Return its block RAMs, or its distributed ones and how many are one above the other.

        Synthesis takes what it finds cheapest, as here (yosys, `memory_libmap`).
        """
        cost, cells, rows = self._cheapest(_DISTRIBUTED, _DISTRIBUTED_COST)
        if self.block:
            block_cost, block_rams, _ = self._cheapest(_BLOCKS, _BLOCK_COST)
            if block_cost < cost + _REGISTER_COST * self.reads:
                return block_rams, 0, 0
        return 0, cells, rows

    def _cheapest(self, shapes: tuple[tuple[int, int], ...], price: int) -> tuple[float, int, int]:
        """Return the least cost, and the cells and rows of cells with it."""
        found = []
        for width, depth in shapes:
            # Pieces begin at a byte of 9 bits, or at a cell where cells are narrower.
            byte = min(width, 9)
            piece = self.piece or self.width
            bits = self.width // piece * (-(-piece // byte) * byte)
            rows = -(-self.depth // depth)
            cells = -(-rows * bits // width)
            between = (rows - 1) * self.width * self.reads
            enables = rows * (self.width // piece) if rows > 1 else 0
            cost = price * cells * self.reads + _BIT_COST * (between + enables)
            found.append((cost, cells * self.reads, rows))
        return min(found)


def _queue(part: str, width: int, depth: int) -> Memory:
    """Return the memory of a `StreamFIFO`."""
    if depth <= StreamFIFO.DISTRIBUTED_DEPTH:
        return Memory(part, width, depth, block=False)
    return Memory(part, width, depth - 1)


def memories(config: MachineConfig) -> Iterator[Memory]:
    """Yield the memories of a machine whose size depends on its configuration."""
    columns, lanes, beat = config.columns, config.lanes, 8 * config.memory_width
    parts = lanes // columns
    # Sums of the array, and what becomes of them.
    place = ceil_log2(config.accumulator_rows) + (19 if config.products > 1 else 16)
    latency = config.rows + columns + (3 if config.sparsity > 1 else 2)
    yield _queue("control", place, latency + 8)
    for _ in range(config.products):
        width = config.accumulator_width * columns
        yield Memory("accumulators", width, 2 * config.accumulator_rows, reads=2)
    yield Memory("control", 37, config.parameter_entries, reads=2)
    yield Memory("probabilities", 8 * lanes + 10, 2 * config.attention_rows)
    yield Memory("control", 21, 2 * config.attention_rows)
    # The activation, in every column; queue and state of the softmax.
    for _ in range(columns):
        yield Memory("router", 32, 256)
    ahead = parts + 2 + ceil_log2(columns) + (parts > 1)
    yield Memory("router", 17 * columns, 1 << ceil_log2(ahead), block=False)
    yield Memory("router", 41, config.attention_rows)

    words = config.scratchpad_words // config.scratchpad_banks
    for _ in range(config.scratchpad_banks):
        yield Memory("scratchpad", 16 * lanes, words, piece=16 * columns)
    for _ in range(4 + config.row_words):
        yield _queue("scratchpad", 16 * lanes, Scratchpad.RESPONSE_DEPTH)
    yield Memory("exponents", 4, config.exponent_slots, reads=5)

    instructions = InstructionFetch.AHEAD * INSTRUCTION_BYTES // config.memory_width
    for depth in (instructions, ROW_BEATS, WEIGHT_BEATS):
        yield _queue("reader", beat, depth)
    yield _queue("writer", beat + config.memory_width, MemoryWriter.DEPTH)
    if config.on_chip_bytes:
        yield Memory("memory", beat, config.on_chip_bytes // config.memory_width, piece=8)
