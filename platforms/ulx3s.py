"""ULX3S: an ECP5 of speed 6 with 32 MB of SDRAM and a USB serial line, in four sizes."""

from amaranth_boards.ulx3s import (
    ULX3S_12F_Platform,
    ULX3S_25F_Platform,
    ULX3S_45F_Platform,
    ULX3S_85F_Platform,
)

from celosia.platforms.ecp5_board import Die25, Die45, Die85, ECP5Board
from celosia.platforms.flash_pads import FlashLines

__all__ = ["ULX3S12F", "ULX3S25F", "ULX3S45F", "ULX3S85F"]


class _ULX3S(ECP5Board):
    reference = 25.0
    memory = "32 MB SDRAM x16"
    sdram_part = "16Mx16"
    flash = FlashLines(
        cs="R2",
        dq="W2 V2 Y2 W1",
        parts=("IS25LP128", "W25Q128"),
        bitstream_bytes=1 << 21,
        attributes={"PULLMODE": "UP", "DRIVE": "4", "IO_TYPE": "LVCMOS33"},
    )
    button = ("button_fire", 0)
    loader = ("-b", "ulx3s")


class ULX3S12F(Die25, _ULX3S, ULX3S_12F_Platform):
    """LFE5U-12F."""

    name = "ulx3s-12f"


class ULX3S25F(Die25, _ULX3S, ULX3S_25F_Platform):
    """LFE5U-25F."""

    name = "ulx3s-25f"


class ULX3S45F(Die45, _ULX3S, ULX3S_45F_Platform):
    """LFE5U-45F."""

    name = "ulx3s-45f"


class ULX3S85F(Die85, _ULX3S, ULX3S_85F_Platform):
    """LFE5U-85F."""

    name = "ulx3s-85f"
