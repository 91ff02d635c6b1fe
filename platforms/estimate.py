"""What a machine takes of an ECP5, estimated from its configuration alone.

Multipliers and block RAMs are exact. LUTs and flip-flops of each part of the machine are sums of
features, the sizes that the part grows with; what one of a feature takes was fitted to synthesised
machines (`scripts/fit_estimates.py` wrote `celosia.platforms.estimate_table`). No coefficient is
negative and every feature grows with every size, so estimates do too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from amaranth.utils import ceil_log2

from celosia.config import MachineConfig
from celosia.platforms.ecp5_memory import memories
from celosia.platforms.estimate_table import COEFFICIENTS

__all__ = [
    "BOARD_BLOCK_RAMS",
    "ERROR",
    "FEATURES",
    "KINDS",
    "Estimate",
    "has_estimates",
    "part_of",
    "parts_in",
]

#: Largest error of estimated LUTs and flip-flops, relative to the result.
ERROR = 0.1

#: What is fitted.
KINDS = ("luts", "flip_flops")
#: Block RAMs of the serial line of a board.
BOARD_BLOCK_RAMS = 2

Feature = Callable[[MachineConfig], float]


def _one(config: MachineConfig) -> float:
    return 1


def _rows(config: MachineConfig) -> float:
    return config.rows


def _columns(config: MachineConfig) -> float:
    return config.columns


def _lanes(config: MachineConfig) -> float:
    return config.lanes


def _beat(config: MachineConfig) -> float:
    return config.memory_width


def _vector_lanes(config: MachineConfig) -> float:
    return config.vector_lanes


def _packed_columns(config: MachineConfig) -> float:
    return config.columns * (config.products - 1)


def _packed_rows(config: MachineConfig) -> float:
    return config.rows * (config.products - 1)


def _sparse_rows(config: MachineConfig) -> float:
    return config.rows * (config.sparsity > 1)


def _unused_lanes(config: MachineConfig) -> float:
    """Return by how much words are longer than a row of the array."""
    return config.lanes - config.rows


def _addresses(config: MachineConfig) -> float:
    """Return the bits of addresses and counts."""
    depths = (config.scratchpad_words, config.exponent_slots, config.accumulator_rows)
    return sum(map(ceil_log2, (*depths, config.attention_rows, config.parameter_entries)))


def _element_sums(config: MachineConfig) -> float:
    """Return the bits of the sums that pass the array's elements."""
    first = 16 if config.products == 1 else 2 * 14
    return config.columns * sum(first + ceil_log2(row + 1) for row in range(config.rows))


def _elements(config: MachineConfig) -> float:
    return config.rows * config.columns


def _packed_elements(config: MachineConfig) -> float:
    return _elements(config) * (config.products - 1)


def _selected(config: MachineConfig) -> float:
    """Return how many activations all elements choose from."""
    return _elements(config) * (config.sparsity if config.sparsity > 1 else 0)


def _array_registers(config: MachineConfig) -> float:
    """Return the registers of a dense array: of its elements, before and behind them."""
    rows, columns = config.rows, config.columns
    skew = 17 * rows * (rows - 1) // 2
    skew += config.psum_width * config.products * columns * (columns - 1) // 2
    return _element_sums(config) + 19 * _elements(config) + skew


def _tapped(config: MachineConfig) -> float:
    """Return the registers of the activations that elements share."""
    if config.sparsity == 1:
        return 0
    return 9 * config.row_lanes * (config.rows // 2 + config.columns)


def _accumulated(config: MachineConfig) -> float:
    """Return the bits of accumulators and of the sums for them."""
    return config.columns * config.products * (config.accumulator_width + config.sum_width)


def _accumulator_registers(config: MachineConfig) -> float:
    """Return the registers of the accumulators' stages."""
    bits = 4 * config.accumulator_width + 3 * config.sum_width + 16
    return config.columns * config.products * bits


def _forwarded(config: MachineConfig) -> float:
    """Return the bits of accumulators that are read while they are written, with few columns."""
    return config.columns * config.products * config.accumulator_width * (config.columns < 5)


def _read_bits(config: MachineConfig) -> float:
    """Return the bits that the scratchpad's readers choose from banks."""
    return 16 * config.lanes * (4 + config.row_words) * (config.scratchpad_banks - 1)


def _bank_bits(config: MachineConfig) -> float:
    return 16 * config.lanes * config.scratchpad_banks


def _streamed_lanes(config: MachineConfig) -> float:
    return config.row_lanes


#: Features of each part: of its LUTs, besides those of its memories, and of its flip-flops.
FEATURES: dict[str, tuple[tuple[Feature, ...], tuple[Feature, ...]]] = {
    "array": (
        (_one, _element_sums, _elements, _packed_elements, _selected),
        (_one, _array_registers, _packed_elements, _selected, _tapped),
    ),
    "requantiser": ((_columns,), (_columns,)),
    "accumulators": (
        (_accumulated, _forwarded, _packed_columns),
        (_one, _accumulator_registers, _packed_columns),
    ),
    "router": ((_one, _columns, _lanes), (_one, _columns, _lanes)),
    "loader": (
        (_one, _rows, _unused_lanes, _packed_columns, _packed_rows, _sparse_rows),
        (_one, _rows, _lanes, _packed_columns, _sparse_rows),
    ),
    "streamer": ((_one, _streamed_lanes, _unused_lanes), (_one, _streamed_lanes, _lanes)),
    "probabilities": ((_one,), (_one, _lanes)),
    "scratchpad": (
        (_one, _lanes, _read_bits),
        (_one, _lanes, _bank_bits),
    ),
    "exponents": ((_one, _lanes), (_one, _addresses)),
    "vector": ((_one, _lanes, _vector_lanes), (_one, _lanes, _vector_lanes)),
    "load": ((_one, _lanes, _beat), (_one, _lanes, _beat)),
    "store": ((_one, _lanes, _beat), (_one, _lanes, _beat)),
    "reader": ((_one, _beat), (_one, _beat)),
    "writer": ((_one, _beat), (_one, _beat)),
    "memory": ((_one, _beat), (_one, _beat)),
    "sdram": ((_one, _beat), (_one, _beat)),
    "control": ((_one, _lanes), (_one, _lanes)),
    "board": ((_one,), (_one,)),
}


#: Parts that only machines with a kind of memory have.
_MEMORIES = {"memory": ("on_chip", "flash"), "sdram": ("sdram",)}


def has_estimates(board: Any) -> bool:
    """Return whether this module speaks of a board's chip."""
    return board.flow.router == "nextpnr-ecp5"


def parts_in(config: MachineConfig) -> list[str]:
    """Return the names of the parts that a machine has."""
    kind = config.memory
    return [part for part in FEATURES if part not in _MEMORIES or kind in _MEMORIES[part]]


def part_of(module: str, config: MachineConfig) -> str:
    """Return the part to which a module of the machine belongs, by its path in a netlist."""
    if module.split(".")[0] != "machine":
        return "board"
    name = module.rpartition(".")[2]
    if name == "memory":
        return next(part for part, kinds in _MEMORIES.items() if config.memory in kinds)
    return name if name in FEATURES else "control"


@dataclass(frozen=True)
class Estimate:
    """What a machine takes on a board.

    Parameters
    ----------
    config : MachineConfig
        The machine.
    """

    config: MachineConfig

    @cached_property
    def parts(self) -> dict[str, dict[str, float]]:
        """`luts` and `flip_flops` of each part of the machine."""
        stored: dict[str, float] = {}
        for memory in memories(self.config):
            stored[memory.part] = stored.get(memory.part, 0) + memory.luts
        found = {}
        for part in parts_in(self.config):
            features = FEATURES[part]
            found[part] = {
                kind: sum(
                    coefficient * feature(self.config)
                    for coefficient, feature in zip(COEFFICIENTS[part][kind], names, strict=True)
                )
                for kind, names in zip(KINDS, features, strict=True)
            }
            found[part]["luts"] += stored.get(part, 0)
        return found

    @property
    def luts(self) -> int:
        """LUTs as the placer counts them, with those in carry cells and distributed memory."""
        return round(sum(part["luts"] for part in self.parts.values()))

    @property
    def flip_flops(self) -> int:
        """Flip-flops."""
        return round(sum(part["flip_flops"] for part in self.parts.values()))

    @property
    def multipliers(self) -> int:
        """Multipliers; exact."""
        config = self.config
        # The array; per column two of the requantiser; of each lane of the vector unit one for the
        # square and two for the result; per channel one for the scales of groups.
        scales = 2 * config.columns if config.products > 1 else 0
        return config.multipliers + 2 * config.columns + 3 * config.vector_lanes + scales

    @property
    def block_rams(self) -> int:
        """Block RAMs; exact."""
        return BOARD_BLOCK_RAMS + sum(memory.block_rams for memory in memories(self.config))

    def resources(self) -> dict[str, int]:
        """Return how much it takes of each resource, by the names that boards have for them."""
        names = ("luts", "flip_flops", "multipliers", "block_rams")
        return {name: getattr(self, name) for name in names}
