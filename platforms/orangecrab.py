"""OrangeCrab r0.2: an ECP5 of speed 8 with DDR3, in the shape of a Feather, in two sizes."""

from typing import Any, ClassVar

from amaranth.build import Attrs
from amaranth.vendor import LatticeECP5Platform
from amaranth_boards.orangecrab_r0_2 import (
    OrangeCrabR0_2_25FPlatform,
    OrangeCrabR0_2_85FPlatform,
)
from amaranth_boards.resources import UARTResource

from celosia.platforms.ecp5_board import Die25, Die85, ECP5Board

__all__ = ["OrangeCrab25F", "OrangeCrab85F"]

#: The board's USB is a device of the chip; a serial adapter goes to the pins that a Feather has
#: for one.
_UART = UARTResource(
    0, rx="0", tx="1", conn=("io", 0), attrs=Attrs(IO_TYPE="LVCMOS33", PULLMODE="UP")
)


class _OrangeCrab(ECP5Board):
    reference = 48.0
    host = "serial, pins 0 (to the board) and 1"
    memory = "128 MB DDR3 x16"
    button = ("button", 0)
    loader = ("-b", "orangeCrab")
    #: Without `dfu-suffix`, which the class of the pins asks for: openFPGALoader needs no suffix.
    command_templates = LatticeECP5Platform.command_templates

    def leds(self) -> list[Any]:
        """Request the three colours of the one LED."""
        led = self.request("rgb_led", 0, dir={"r": "-", "g": "-", "b": "-"})
        return [led.g, led.b, led.r]


class OrangeCrab25F(Die25, _OrangeCrab, OrangeCrabR0_2_25FPlatform):
    """LFE5U-25F."""

    name = "orangecrab-25f"
    resources: ClassVar = [*OrangeCrabR0_2_25FPlatform.resources, _UART]


class OrangeCrab85F(Die85, _OrangeCrab, OrangeCrabR0_2_85FPlatform):
    """LFE5U-85F."""

    name = "orangecrab-85f"
    resources: ClassVar = [*OrangeCrabR0_2_85FPlatform.resources, _UART]
