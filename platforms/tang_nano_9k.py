"""Tang Nano 9K: a GW1NR-9 of speed C6/I5 with a USB serial line."""

from amaranth_boards.tang_nano_9k import TangNano9kPlatform

from celosia.platforms.gowin import GW1NR9, GowinBoard

__all__ = ["TangNano9K"]


class TangNano9K(GW1NR9, GowinBoard, TangNano9kPlatform):
    """The board; its PSRAM is in the package of the chip."""

    name = "tang-nano-9k"
    reference = 27.0
    frequency = 27.0
    memory = "8 MB PSRAM x16"
    button = ("button", 0)
    loader = ("-b", "tangnano9k")
