"""iCEBreaker: an iCE40UP5K with a USB serial line."""

from typing import Any

from amaranth_boards.icebreaker import ICEBreakerPlatform

from celosia.platforms.flash_pads import FlashLines
from celosia.platforms.ice40 import UP5K, ICE40Board

__all__ = ["ICEBreaker"]


class ICEBreaker(UP5K, ICE40Board, ICEBreakerPlatform):
    """The board, with or without what can be broken off."""

    name = "icebreaker"
    reference = 12.0
    button = ("button", 0)
    loader = ("-b", "ice40_generic")
    flash = FlashLines(
        cs="16",
        dq="14 17 12 13",
        clk="15",
        parts=("W25Q128",),
        bitstream_bytes=1 << 17,
        attributes={"IO_STANDARD": "SB_LVCMOS", "PULLUP": 1},
    )

    def leds(self) -> list[Any]:
        """Request the red and the green LED."""
        return [self.request("led", index, dir="-") for index in range(2)]
