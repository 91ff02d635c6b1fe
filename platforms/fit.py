"""What a machine takes at least, and whether a board has that."""

from collections.abc import Sequence
from typing import Any

from celosia.config import MachineConfig
from celosia.errors import ConfigError
from celosia.platforms.cures import cure, shortage
from celosia.platforms.estimate import has_estimates
from celosia.platforms.sdram_pads import check_sdram

__all__ = ["check_array_fit", "check_fit", "needed_resources", "resource_name"]

#: The smallest machine, 2 x 4 with one vector lane and 64 KB, and the serial bridge, as nextpnr
#: packs them for an LFE5U-25F, which is too small. Other families take more.
_LEAST = {"flip_flops": 16_300, "luts": 24_800}
_NAMES = {"luts": "LUTs", "flip_flops": "flip-flops", "block_rams": "block RAMs"}

_CURES = {
    "flip_flops": "even the smallest machine does; take a larger board",
    "luts": "even the smallest machine does; take a larger board",
    "multipliers": "reduce rows, columns or vector_lanes",
    "block_rams": "reduce on_chip_bytes, scratchpad_words or accumulator_rows",
}
#: Widths and depths that one block RAM of an ECP5 can have.
_SHAPES = ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384))


def _block_rams(width: int, depth: int, shapes: Sequence[tuple[int, int]]) -> int:
    """Return the block RAMs of a memory."""
    return min(-(-width // w) * -(-depth // d) for w, d in shapes)


def resource_name(resource: str) -> str:
    """Return what a resource is called in a sentence."""
    return _NAMES.get(resource, resource.replace("_", " "))


def needed_resources(
    config: MachineConfig, shapes: Sequence[tuple[int, int]] = _SHAPES
) -> dict[str, int]:
    """Return what a machine takes at least of what a chip has.

    The multipliers are exact on an ECP5. The block RAMs, of these widths and depths, are those of
    the large memories; LUTs and flip-flops are those of the smallest machine.
    """
    banks, width = config.scratchpad_banks, config.memory_width
    scratchpad = _block_rams(16 * config.lanes, config.scratchpad_words // banks, shapes)
    accumulator = config.accumulator_width * config.columns
    accumulators = _block_rams(accumulator, config.accumulator_rows, shapes)
    on_chip = _block_rams(8 * width, config.on_chip_bytes // width, shapes)
    return {
        **_LEAST,
        # The array; per column two of the requantiser; of each lane of the vector unit one for the
        # square and two for the result; per channel one for the scales of groups.
        "multipliers": config.multipliers
        + 2 * config.columns
        + 3 * config.vector_lanes
        + (2 * config.columns if config.products > 1 else 0),
        # Activation tables are of 256 words, one in each column.
        "block_rams": banks * scratchpad
        + 2 * config.products * accumulators
        + on_chip
        + config.columns,
    }


def check_fit(config: MachineConfig, board: Any) -> None:
    """Check that a machine is not certainly too large for a board, and has the memory it has.

    Raises
    ------
    ConfigError
        If it does not fit; for an ECP5 it says which parameters to change to what.
    """
    if config.memory == "axi4":
        raise ConfigError(
            f'configuration {config.name!r}: memory must be "on_chip" or "sdram" on board '
            f"{board.name}, which has nothing at an AXI4 port; set memory"
        )
    if config.memory == "sdram":
        check_sdram(config, board)
    if has_estimates(board):
        _check_estimate(config, board)
    for resource, needed in needed_resources(config, board.block_ram_shapes).items():
        _check(config, board.name, resource, needed, getattr(board, resource))


def _check_estimate(config: MachineConfig, board: Any) -> None:
    missing = shortage(config, board)
    if not missing:
        return
    needed = " and ".join(f"{n:,} {resource_name(name)}" for name, n in missing.items())
    there = " and ".join(f"{getattr(board, name):,}" for name in missing)
    label = f"configuration {config.name!r}"
    changes = " and ".join(f"{name} to {value}" for name, value in cure(config, board).items())
    raise ConfigError(
        f"{label} needs at least {needed}, but board {board.name} has {there}; "
        + (f"set {changes}" if changes else f"`celosia fit -b {board.name}` says what fits")
    )


def check_array_fit(config: MachineConfig, board: Any) -> None:
    """Check that a board has the multipliers of an array alone.

    Raises
    ------
    ConfigError
        If it has not.
    """
    there = board.multipliers * board.array_multipliers
    _check(config, board.name, "multipliers", config.multipliers, there)


def _check(config: MachineConfig, board: str, resource: str, needed: int, there: int) -> None:
    if needed > there:
        raise ConfigError(
            f"configuration {config.name!r} needs at least {needed} {resource_name(resource)}, "
            f"but board {board} has {there}; {_CURES[resource]}"
        )
