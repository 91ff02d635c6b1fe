"""The boards that bitstreams can be built for."""

from celosia.errors import ConfigError
from celosia.platforms.board import Board
from celosia.platforms.butterstick import ButterStick
from celosia.platforms.ecpix5 import ECPIX545F, ECPIX585F
from celosia.platforms.icebreaker import ICEBreaker
from celosia.platforms.icepi_zero import IcepiZero
from celosia.platforms.icesugar_pro import ICESugarPro
from celosia.platforms.orangecrab import OrangeCrab25F, OrangeCrab85F
from celosia.platforms.tang_nano_9k import TangNano9K
from celosia.platforms.tang_nano_20k import TangNano20K
from celosia.platforms.ulx3s import ULX3S12F, ULX3S25F, ULX3S45F, ULX3S85F

__all__ = ["BOARDS", "board"]

#: Class of each board by its name. Its attributes say what is on it: `device`, `luts`,
#: `flip_flops`, `multipliers`, `block_rams`, `reference` and `frequency` in MHz, `memory`, `host`,
#: `baud`.
BOARDS: dict[str, type[Board]] = {
    kind.name: kind
    for kind in (
        *(ULX3S12F, ULX3S25F, ULX3S45F, ULX3S85F),
        *(ECPIX545F, ECPIX585F),
        *(OrangeCrab25F, OrangeCrab85F, ButterStick),
        *(IcepiZero, ICESugarPro),
        *(TangNano9K, TangNano20K, ICEBreaker),
    )
}


def board(name: str) -> Board:
    """Return a new object for the board called `name`; each builds one design.

    Raises
    ------
    ConfigError
        If there is no such board.
    """
    if name not in BOARDS:
        raise ConfigError(f"board {name!r} is not known; known: {', '.join(BOARDS)}")
    return BOARDS[name]()
