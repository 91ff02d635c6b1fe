"""Whether a board has what a machine takes, and what to change if it has not."""

from typing import Any

from celosia.config import PRESETS, MachineConfig
from celosia.errors import ConfigError
from celosia.platforms.cures import cure, is_too_small, shortage
from celosia.platforms.estimate_micro import check_micro
from celosia.platforms.flash_pads import check_flash
from celosia.platforms.litedram import check_ddr3
from celosia.platforms.sdram_pads import check_sdram

__all__ = ["check_array_fit", "check_fit", "presets_for", "resource_name"]

_NAMES = {"luts": "LUTs", "flip_flops": "flip-flops", "block_rams": "block RAMs"}


def resource_name(resource: str) -> str:
    """Return what a resource is called in a sentence."""
    return _NAMES.get(resource, resource.replace("_", " "))


def check_fit(config: MachineConfig, board: Any) -> None:
    """Check that a machine is not certainly too large for a board, and has the memory it has.

    Raises
    ------
    ConfigError
        If it does not fit; it says which parameters to change to what.
    """
    _check_memory(config, board)
    missing = shortage(config, board)
    if not missing:
        return
    needed = " and ".join(f"{n:,} {resource_name(name)}" for name, n in missing.items())
    there = " and ".join(f"{getattr(board, name):,}" for name in missing)
    if is_too_small(board):
        presets = presets_for(board)
        advice = (
            f"the preset {presets[0].name} fits"
            if presets
            else "even the smallest machine does; `--core systolic` builds an array alone"
        )
    elif changes := cure(config, board):
        advice = "set " + " and ".join(f"{name} to {value}" for name, value in changes.items())
    else:
        advice = f"`celosia fit -b {board.name}` says what fits"
    raise ConfigError(
        f"configuration {config.name!r} needs at least {needed}, but board {board.name} has "
        f"{there}; {advice}"
    )


def _check_memory(config: MachineConfig, board: Any) -> None:
    """Check that a board has the memory of a machine.

    Raises
    ------
    ConfigError
        If it has not.
    """
    if config.memory == "axi4":
        if board.ddr3 is None:
            raise ConfigError(
                f'configuration {config.name!r}: memory must be "on_chip", "sdram" or "flash" on '
                f"board {board.name}, which has nothing at an AXI4 port; set memory"
            )
        check_ddr3(config)
    if config.memory == "sdram":
        check_sdram(config, board)
    if config.memory == "flash":
        check_flash(config, board)
    if config.engine == "micro":
        check_micro(config, board)


def presets_for(board: Any) -> list[MachineConfig]:
    """Return the presets that are not certainly too large for a board, and have its memory."""

    def fits(config: MachineConfig) -> bool:
        try:
            _check_memory(config, board)
        except ConfigError:
            return False
        return not shortage(config, board)

    return [config for config in PRESETS.values() if fits(config)]


def check_array_fit(config: MachineConfig, board: Any) -> None:
    """Check that a board has the multipliers of an array alone.

    Raises
    ------
    ConfigError
        If it has not.
    """
    there = board.multipliers * board.array_multipliers
    if config.multipliers > there:
        raise ConfigError(
            f"configuration {config.name!r} needs at least {config.multipliers} multipliers, but "
            f"board {board.name} has {there}; reduce rows or columns"
        )
