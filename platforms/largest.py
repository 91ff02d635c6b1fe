"""The largest machine that fits a board."""

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Any

from celosia.config import MachineConfig
from celosia.errors import ConfigError, ModelError
from celosia.platforms.estimate import ERROR, Estimate, has_estimates
from celosia.platforms.fit import presets_for
from celosia.platforms.sdram_pads import ROUND_TRIP

__all__ = ["largest_machine"]

#: Sizes of an array, from the largest product on, of equal ones the squarest, with more rows.
_SIZES = (2, 4, 8, 16, 32, 64)
_ARRAYS = sorted(
    ((rows, columns) for rows, columns in product(_SIZES, _SIZES[1:])),
    key=lambda size: (-size[0] * size[1], max(size) / min(size), -size[0]),
)
#: Buffers around it, from generous to scarce.
_BUFFERS: tuple[Mapping[str, int], ...] = (
    {"scratchpad_words": 2048, "attention_rows": 64, "parameter_entries": 512},
    {"scratchpad_words": 1024, "attention_rows": 32, "parameter_entries": 256},
    {"scratchpad_words": 512, "attention_rows": 16, "parameter_entries": 64, "exponent_slots": 64},
)
#: Buffers for models that need more than the most generous of these.
_ROOMY = {"scratchpad_words": 4096, "exponent_slots": 4096, "parameter_entries": 1024}
_VECTOR_LANES = (4, 2, 1)
#: Clock of a machine with SDRAM.
SDRAM_MHZ = 75
#: Bytes of memory on the chip.
_LARGEST_MEMORY, _LEAST_MEMORY = 1 << 24, 1 << 12


def largest_machine(
    board: Any, needed: Callable[[MachineConfig], int] | None = None, *, name: str = "largest"
) -> MachineConfig:
    """Return the machine with the largest array that surely fits a board.

    Its memory is on the chip, as large as there is room for; or, if that is too small for what is
    needed, the board's SDRAM. LUTs and flip-flops fit also where they are estimated too low by the
    error of the estimate.

    Parameters
    ----------
    board : Board
        The board, with an ECP5.
    needed : callable, optional
        Says how many bytes of memory a machine needs, of which the memory is not known yet.
    name : str
        Name of the configuration.

    Raises
    ------
    ConfigError
        If there is none.
    ModelError
        If `needed` says that no machine is large enough.
    """
    if not has_estimates(board):
        raise ConfigError(f"board {board.name}: sizes are only estimated for boards with an ECP5")
    least = 0
    for machine in _machines(name):
        if not _fits(machine, board):
            continue
        if needed is not None:
            try:
                least = needed(machine)
            except ModelError:
                machine = machine.replace(**_ROOMY)
                least = needed(machine)
        for found in _memories(machine, board, least):
            if _fits(found, board):
                return found
    wanted = f" with {least:,} bytes of memory" if least else ""
    presets = [config.name for config in presets_for(board) if config.memory_bytes >= least]
    advice = f"the preset {presets[0]} may, or take" if presets else "take"
    raise ConfigError(
        f"board {board.name}: no machine{wanted} surely fits; {advice} a larger board"
    )


def _machines(name: str) -> Iterator[MachineConfig]:
    """Yield machines with hardly any memory, the largest array first."""
    for (rows, columns), buffers, vector_lanes in product(_ARRAYS, _BUFFERS, _VECTOR_LANES):
        lanes = max(rows, columns)
        sizes: dict[str, Any] = {
            "rows": rows,
            "columns": columns,
            "vector_lanes": vector_lanes,
            "accumulator_rows": max(4, lanes // columns) * buffers["attention_rows"],
            "memory_width": max(4, min(rows, 16)),
            **buffers,
        }
        yield MachineConfig(name=name, memory="on_chip", on_chip_bytes=_LEAST_MEMORY, **sizes)


def _memories(machine: MachineConfig, board: Any, least: int) -> Iterator[MachineConfig]:
    """Yield the machine with at least so many bytes of memory: on the chip, then beside it."""
    size = _LARGEST_MEMORY
    while size >= max(least, _LEAST_MEMORY):
        yield machine.replace(on_chip_bytes=size)
        size //= 2
    exact = -(-least // _LEAST_MEMORY) * _LEAST_MEMORY
    if 0 < exact <= _LARGEST_MEMORY:
        yield machine.replace(on_chip_bytes=exact)
    if board.sdram_part:
        beside = machine.replace(
            memory="sdram",
            memory_width=4,  # the pins of most give two bytes a cycle
            on_chip_bytes=0,
            sdram_part=board.sdram_part,
            sdram_mhz=SDRAM_MHZ,
            sdram_round_trip=ROUND_TRIP,
        )
        if beside.memory_bytes >= least:
            yield beside


def _fits(machine: MachineConfig, board: Any) -> bool:
    estimate = Estimate(machine)
    return (
        estimate.multipliers <= board.multipliers
        and estimate.block_rams <= board.block_rams
        and (1 + ERROR) * estimate.luts <= board.luts
        and (1 + ERROR) * estimate.flip_flops <= board.flip_flops
    )
