"""OrangeCrab r0.2: an ECP5 of speed 8 with DDR3, in the shape of a Feather, in two sizes."""

from typing import Any, ClassVar

from amaranth.build import Attrs
from amaranth.vendor import LatticeECP5Platform
from amaranth_boards.orangecrab_r0_2 import (
    OrangeCrabR0_2_25FPlatform,
    OrangeCrabR0_2_85FPlatform,
)
from amaranth_boards.resources import DDR3Resource, UARTResource

from celosia.platforms.ddr3_board import DDR3Board
from celosia.platforms.ecp5_board import Die25, Die85
from celosia.platforms.litedram import DDR3Part

__all__ = ["OrangeCrab25F", "OrangeCrab85F"]

#: The board's USB is a device of the chip; a serial adapter goes to the pins that a Feather has
#: for one.
_UART = UARTResource(
    0, rx="0", tx="1", conn=("io", 0), attrs=Attrs(IO_TYPE="LVCMOS33", PULLMODE="UP")
)

#: In place of the package's, whose pins of bank and DQS are others than those of revision 0.2.
_DDR3 = DDR3Resource(
    0,
    rst_n="L18",
    clk_p="J18",
    clk_n="K18",
    clk_en="D18",
    cs_n="A12",
    we_n="B12",
    ras_n="C12",
    cas_n="D13",
    a="C4 D2 D3 A3 A4 D4 C3 B2 B1 D1 A7 C2 B6 C1 A2 C7",
    ba="D6 B7 A6",
    dqs_p="B15 G18",
    dqs_n="A16 H17",
    dq="C17 D15 B17 C16 A15 B13 A17 A13 F17 F16 G15 F15 J16 C18 H16 F18",
    dm="D16 G16",
    odt="C13",
    diff_attrs=Attrs(IO_TYPE="SSTL135D_I", TERMINATION="OFF", DIFFRESISTOR="100"),
    attrs=Attrs(IO_TYPE="SSTL135_I", SLEWRATE="FAST"),
)


def _resources(platform: Any) -> list[Any]:
    """Return the resources of the package's platform, with the serial line and this DDR3."""
    return [*(one for one in platform.resources if one.name != "ddr3"), _DDR3, _UART]


class _OrangeCrab(DDR3Board):
    reference = 48.0
    host = "serial, pins 0 (to the board) and 1"
    memory = "128 MB DDR3 x16"
    #: As in LiteX's design for the board; its lines of masks are crossed.
    ddr3 = DDR3Part(
        module="MT41K64M16", frequency=48, dm_swap=True, terminated=False, slow_cmd_delay=100
    )
    ddr3_idle = ("ddr3_pseudo_power",)
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
    resources: ClassVar = _resources(OrangeCrabR0_2_25FPlatform)


class OrangeCrab85F(Die85, _OrangeCrab, OrangeCrabR0_2_85FPlatform):
    """LFE5U-85F."""

    name = "orangecrab-85f"
    resources: ClassVar = _resources(OrangeCrabR0_2_85FPlatform)
