"""Icepi Zero: an ECP5-25F of speed 6 with 32 MB of SDRAM, in the shape of a Raspberry Pi Zero."""

from amaranth_boards.icepi_zero import IcepiZero1_3Platform

from celosia.platforms.ecp5_board import Die25, ECP5Board

__all__ = ["IcepiZero"]


class IcepiZero(Die25, ECP5Board, IcepiZero1_3Platform):
    """Version 1.3."""

    name = "icepi-zero"
    reference = 50.0
    memory = "32 MB SDRAM x16"
    button = ("button", 0)
    loader = ("-b", "icepi-zero")
