"""iCEBreaker: an iCE40UP5K with a USB serial line."""

from typing import Any

from amaranth_boards.icebreaker import ICEBreakerPlatform

from celosia.platforms.ice40 import UP5K, ICE40Board

__all__ = ["ICEBreaker"]


class ICEBreaker(UP5K, ICE40Board, ICEBreakerPlatform):
    """The board, with or without what can be broken off."""

    name = "icebreaker"
    reference = 12.0
    button = ("button", 0)
    loader = ("-b", "ice40_generic")

    def leds(self) -> list[Any]:
        """Request the red and the green LED."""
        return [self.request("led", index, dir="-") for index in range(2)]
