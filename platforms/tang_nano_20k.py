"""Tang Nano 20K: a GW2AR-18 of speed C8/I7 with 8 MB of SDRAM and a USB serial line."""

from typing import Any, ClassVar

from amaranth.build import Attrs, Clock, Pins, Resource
from amaranth.vendor import GowinPlatform
from amaranth_boards.resources import ButtonResources, LEDResources, UARTResource

from celosia.platforms.gowin import GW2AR18, GowinBoard

__all__ = ["TangNano20K"]


class _Pins(GowinPlatform):
    """What of the board is used; its SDRAM, in the package, has no pins."""

    part = "GW2AR-LV18QN88C8/I7"
    family = "GW2AR-18C"
    default_clk = "clk27"
    resources: ClassVar = [
        Resource("clk27", 0, Pins("4", dir="i"), Clock(27e6), Attrs(IO_TYPE="LVCMOS33")),
        *LEDResources(pins="15 16 17 18 19 20", invert=True, attrs=Attrs(IO_TYPE="LVCMOS33")),
        *ButtonResources(pins="88 87", attrs=Attrs(IO_TYPE="LVCMOS33", PULL_MODE="DOWN")),
        UARTResource(0, rx="70", tx="69", attrs=Attrs(IO_TYPE="LVCMOS33", PULL_MODE="UP")),
    ]
    connectors: ClassVar[list[Any]] = []

    def toolchain_prepare(self, fragment, name, **kwargs):
        # The LEDs and the buttons share pins with ways of configuration that are not used.
        options = {"gowin_pack_opts": "--sspi_as_gpio --mspi_as_gpio"}
        return super().toolchain_prepare(fragment, name, **{**options, **kwargs})


class TangNano20K(GW2AR18, GowinBoard, _Pins):
    """The board."""

    name = "tang-nano-20k"
    reference = 27.0
    frequency = 54.0
    memory = "8 MB SDRAM x32"
    button = ("button", 0)
    loader = ("-b", "tangnano20k")
