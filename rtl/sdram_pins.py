"""The pins of an SDR SDRAM, and its commands."""

from amaranth.lib import wiring
from amaranth.lib.enum import Enum
from amaranth.lib.wiring import In, Out

from celosia.sdram_part import SDRAMSettings

__all__ = ["ALL_BANKS", "Command", "SDRAMPins", "mode_register"]

#: Address line that makes PRECHARGE close all banks.
ALL_BANKS = 10


class Command(Enum, shape=3):
    """Levels of RAS, CAS and WE (bits 2, 1 and 0), each 1 when active."""

    NOP = 0b000
    WRITE = 0b011
    READ = 0b010
    ACTIVATE = 0b100
    PRECHARGE = 0b101
    REFRESH = 0b110
    MODE = 0b111


class SDRAMPins(wiring.Signature):
    """Pins as the controller sees them; levels are 1 when active, whatever the board inverts.

    All outputs come from registers. `dq_oe` is 1 while the controller drives `dq_o`.
    """

    def __init__(self, settings: SDRAMSettings) -> None:
        super().__init__({
            "clk_en": Out(1),
            "cs": Out(1),
            "ras": Out(1),
            "cas": Out(1),
            "we": Out(1),
            "ba": Out(2),
            "a": Out(max(settings.row_bits, ALL_BANKS + 1)),
            "dqm": Out(2),
            "dq_o": Out(16),
            "dq_oe": Out(1),
            "dq_i": In(16),
        })


def mode_register(settings: SDRAMSettings, burst: int) -> int:
    """Return the mode register: sequential bursts of `burst` words, also when writing."""
    return settings.cas_latency << 4 | burst.bit_length() - 1
