"""What a microprogrammed machine takes of a chip: next to nothing of it depends on its sizes."""

from typing import Any

from celosia.config import MachineConfig
from celosia.errors import ConfigError

__all__ = ["check_micro", "micro_resources"]

#: As placed, with the serial line of a board, by the router of the family. Memories lie in the
#: large blocks that an UltraPlus has beside its block RAMs.
_PLACED = {
    "nextpnr-ice40": {"luts": 4551, "flip_flops": 1553, "multipliers": 4, "block_rams": 29},
}
#: Bytes of either memory there, at most.
_MOST = {"nextpnr-ice40": 1 << 16}


def micro_resources(board: Any) -> dict[str, int]:
    """Return how much a machine takes of each resource; nothing for families not known here."""
    return dict(_PLACED.get(board.flow.router, {}))


def check_micro(config: MachineConfig, board: Any) -> None:
    """Check that a board's chip has the memory of a microprogrammed machine.

    Raises
    ------
    ConfigError
        If it has not.
    """
    most = _MOST.get(board.flow.router)
    if most is not None and config.on_chip_bytes > most:
        raise ConfigError(
            f"configuration {config.name!r}: on_chip_bytes must be at most {most} on board "
            f"{board.name}, not {config.on_chip_bytes}"
        )
