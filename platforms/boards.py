"""The boards that bitstreams can be built for."""

from celosia.errors import ConfigError
from celosia.platforms.ulx3s import ULX3S12F, ULX3S25F, ULX3S45F, ULX3S85F, ULX3SBoard

__all__ = ["BOARDS", "board"]

#: Class of each board by its name. Its attributes say what is on it: `luts`, `flip_flops`,
#: `multipliers`, `block_rams`, `reference` and `frequency` in MHz, `host`, `baud`.
BOARDS: dict[str, type[ULX3SBoard]] = {
    kind.name: kind for kind in (ULX3S12F, ULX3S25F, ULX3S45F, ULX3S85F)
}


def board(name: str) -> ULX3SBoard:
    """Return a new object for the board called `name`; each builds one design.

    Raises
    ------
    ConfigError
        If there is no such board.
    """
    if name not in BOARDS:
        raise ConfigError(f"board {name!r} is not known; known: {', '.join(BOARDS)}")
    return BOARDS[name]()
