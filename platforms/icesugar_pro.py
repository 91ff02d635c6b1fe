"""iCESugar-Pro: an ECP5-25F of speed 6 with 32 MB of SDRAM, on a SODIMM."""

from typing import Any

from amaranth_boards.icesugar_pro import ICESugarProPlatform

from celosia.platforms.ecp5_board import Die25, ECP5Board

__all__ = ["ICESugarPro"]


class ICESugarPro(Die25, ECP5Board, ICESugarProPlatform):
    """The board without its button, which is on the base."""

    name = "icesugar-pro"
    reference = 25.0
    memory = "32 MB SDRAM x16"

    def leds(self) -> list[Any]:
        """Request the three colours of the one LED."""
        led = self.request("rgb_led", 0, dir={"r": "-", "g": "-", "b": "-"})
        return [led.g, led.b, led.r]
