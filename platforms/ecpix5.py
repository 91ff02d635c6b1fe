"""ECPIX-5: an ECP5-5G of speed 8 with 512 MB of DDR3 and a USB serial line, in two sizes."""

from typing import Any

from amaranth_boards.ecpix5 import ECPIX545Platform, ECPIX585Platform

from celosia.platforms.ddr3_board import DDR3Board
from celosia.platforms.ecp5_board import Die45, Die85
from celosia.platforms.litedram import DDR3Part

__all__ = ["ECPIX545F", "ECPIX585F"]


class _ECPIX5(DDR3Board):
    reference = 100.0
    memory = "512 MB DDR3 x16"
    ddr3 = DDR3Part(module="MT41K256M16", frequency=75)
    button = ("rst", 0)
    loader = ("-b", "ecpix5")

    def leds(self) -> list[Any]:
        """Request the green LEDs of the first three."""
        colours = {"r": "-", "g": "-", "b": "-"}
        return [self.request("rgb_led", index, dir=colours).g for index in range(3)]


class ECPIX545F(Die45, _ECPIX5, ECPIX545Platform):
    """LFE5UM5G-45F."""

    name = "ecpix5-45f"


class ECPIX585F(Die85, _ECPIX5, ECPIX585Platform):
    """LFE5UM5G-85F."""

    name = "ecpix5-85f"
