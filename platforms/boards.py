"""The boards that bitstreams can be built for."""

from celosia.errors import ConfigError
from celosia.platforms.ecp5_board import ECP5Board
from celosia.platforms.ecpix5 import ECPIX545F, ECPIX585F
from celosia.platforms.icepi_zero import IcepiZero
from celosia.platforms.icesugar_pro import ICESugarPro
from celosia.platforms.ulx3s import ULX3S12F, ULX3S25F, ULX3S45F, ULX3S85F

__all__ = ["BOARDS", "board"]

#: Class of each board by its name. Its attributes say what is on it: `device`, `luts`,
#: `flip_flops`, `multipliers`, `block_rams`, `reference` and `frequency` in MHz, `memory`, `host`,
#: `baud`.
BOARDS: dict[str, type[ECP5Board]] = {
    kind.name: kind
    for kind in (
        *(ULX3S12F, ULX3S25F, ULX3S45F, ULX3S85F),
        *(ECPIX545F, ECPIX585F),
        *(IcepiZero, ICESugarPro),
    )
}


def board(name: str) -> ECP5Board:
    """Return a new object for the board called `name`; each builds one design.

    Raises
    ------
    ConfigError
        If there is no such board.
    """
    if name not in BOARDS:
        raise ConfigError(f"board {name!r} is not known; known: {', '.join(BOARDS)}")
    return BOARDS[name]()
