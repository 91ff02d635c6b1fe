"""SPI flash parts with four data lines: what their data sheets say, in cycles of the machine."""

from dataclasses import dataclass
from math import ceil

__all__ = ["ASKING", "CYCLES_A_BYTE", "FLASH_PARTS", "MOST_MHZ", "FlashPart"]

#: Fastest clock of a machine with flash, which has half of it; see `platforms/flash_pads.py`. All
#: times are counted as cycles of this clock, so that at a slower one nothing is too short.
MOST_MHZ = 60
#: Cycles of the machine in which a byte crosses the pins: two clocks of the flash.
CYCLES_A_BYTE = 4
#: Clocks in which a read says what it wants: eight of the command, six of address, two of mode.
ASKING = 16


@dataclass(frozen=True, kw_only=True)
class FlashPart:
    """What the data sheet says, in nanoseconds if nothing else.

    All parts take three bytes of address, and with the command `read` the address and the mode
    bits, then give bytes, on four lines, the high half of a byte first.
    """

    name: str
    size: int
    #: Command of the read ("fast read quad I/O"), and clocks between mode bits and data.
    read: int = 0xEB
    dummy: int = 4
    #: Command that reads the register with the bit that the four lines work, and that bit; what
    #: sets it where it is not set, and how long that takes.
    status: int
    quad_bit: int
    quad_enable: tuple[bytes, ...]
    write: float
    #: From power on to the first command; from the end of power-down, and of a reset, to the next
    #: one; between two commands.
    power_up: float
    release: float
    reset: float
    deselect: float

    @staticmethod
    def cycles(ns: float) -> int:
        """Return the cycles of the fastest clock that last for `ns`."""
        return max(1, ceil(ns * MOST_MHZ / 1000))

    @property
    def start_cycles(self) -> int:
        """Cycles from the machine's reset until the first read can begin, at most.

        The first start of all, which may have to set the bit for good, takes longer by `write`.
        """
        frames = 6 + len(self.quad_enable)
        waits = sum(map(self.cycles, (self.power_up, self.release, self.reset)))
        return waits + frames * (2 * 16 + self.cycles(self.deselect) + 4)


#: Parts by name; the slowest version of each.
FLASH_PARTS = {
    part.name: part
    for part in (
        # The bit is set until power off: nothing wears.
        FlashPart(
            name="W25Q128",
            size=1 << 24,
            status=0x35,
            quad_bit=1,
            quad_enable=(bytes([0x50]), bytes([0x31, 0x02])),
            write=50,
            power_up=20_000,
            release=3_000,
            reset=30_000,
            deselect=50,
        ),
        # The bit is set for good.
        FlashPart(
            name="IS25LP128",
            size=1 << 24,
            status=0x05,
            quad_bit=6,
            quad_enable=(bytes([0x06]), bytes([0x01, 0x40])),
            write=15_000_000,
            power_up=300_000,
            release=5_000,
            reset=100_000,
            deselect=50,
        ),
    )
}
