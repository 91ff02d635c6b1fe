"""ButterStick: an ECP5-5G of speed 8 with DDR3 and Ethernet."""

from typing import Any, ClassVar

from amaranth.build import Attrs, Pins, Resource
from amaranth_boards.butterstick import ButterStickPlatform
from amaranth_boards.resources import LEDResources, UARTResource

from celosia.platforms.ddr3_board import DDR3Board
from celosia.platforms.ecp5_board import Die85
from celosia.platforms.litedram import DDR3Part

__all__ = ["ButterStick"]

_PINS = Attrs(IO_TYPE="LVCMOS33")


class ButterStick(Die85, DDR3Board, ButterStickPlatform):
    """The board.

    Its connectors have no voltage before the chip has set one, so a serial adapter goes to the SD
    card's socket, which always has 3.3 V.
    """

    name = "butterstick"
    reference = 30.0
    host = "serial, SD socket DAT0 (to the board) and CMD"
    memory = "128 MB DDR3 x16"
    #: As in LiteX's design for the board, unless that is told of a larger part; of the pins of two
    #: ranks only those of the first are used.
    ddr3 = DDR3Part(module="MT41K64M16", frequency=60)
    button = ("button", 0)
    loader = ("--dfu", "--vid", "0x1209", "--pid", "0x5af1", "--altsetting", "0")
    resources: ClassVar = [
        *ButterStickPlatform.resources,
        *LEDResources(pins="C13 D12", attrs=_PINS),
        Resource("led_green", 0, Pins("U1", dir="o"), _PINS),
        UARTResource(0, rx="C12", tx="A13", attrs=Attrs(IO_TYPE="LVCMOS33", PULLMODE="UP")),
    ]

    def leds(self) -> list[Any]:
        """Request the line that makes all LEDs green, always on, and the first two of them."""
        return [
            self.request("led_green", 0, dir="-"),
            *(self.request("led", index, dir="-") for index in range(2)),
        ]
