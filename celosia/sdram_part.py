"""SDR SDRAM parts: geometry, and timing of the data sheet turned into cycles of a clock."""

from dataclasses import dataclass
from math import ceil, floor

from celosia.errors import ConfigError

__all__ = ["BANKS", "PARTS", "WORD_BYTES", "SDRAMPart", "SDRAMSettings"]

#: Every part has four banks and words of 16 bits.
BANKS, WORD_BYTES = 4, 2
#: Refreshes that may be owed before they are forced; parts want eight at power-up as well.
POSTPONED = 8


@dataclass(frozen=True, kw_only=True)
class SDRAMSettings:
    """A part at a clock: what the controller counts, in cycles."""

    #: Bits of the address of a row, and of a word in it.
    row_bits: int
    column_bits: int
    #: From READ to its first word.
    cas_latency: int
    #: ACTIVATE to READ or WRITE, and to PRECHARGE; ACTIVATE to ACTIVATE, in one bank and in two.
    rcd: int
    ras: int
    rc: int
    rrd: int
    #: PRECHARGE to ACTIVATE; the last word written to PRECHARGE.
    rp: int
    wr: int
    #: REFRESH, or the mode register's command, to the next command.
    rfc: int
    mrd: int
    #: From one refresh coming due to the next, and how many may be owed.
    interval: int
    postponed: int = POSTPONED
    #: Before the first command.
    power_up: int

    @property
    def bytes(self) -> int:
        """Size of the memory."""
        return WORD_BYTES * BANKS << (self.row_bits + self.column_bits)


@dataclass(frozen=True, kw_only=True)
class SDRAMPart:
    """What the data sheet says, in nanoseconds if nothing else.

    A refresh comes due a little more often than `window` demands, so that even with as many owed
    as may be, and the time that it takes to pay them, no row waits longer than that.
    """

    name: str
    row_bits: int = 13
    column_bits: int
    rcd: float
    ras: float
    rc: float
    rrd: float
    rp: float
    wr: float
    rfc: float
    #: Longest that a row may stay open.
    ras_most: float = 100_000
    #: Each of `rows_refreshed` refreshes once in this time.
    window: float = 64_000_000
    rows_refreshed: int = 8192
    power_up: float = 200_000
    #: Highest clocks in MHz at a CAS latency of 2 and of 3.
    most_mhz: tuple[float, float]

    def at(self, frequency: float, cas_latency: int | None = None) -> SDRAMSettings:
        """Return the settings at `frequency` MHz; with the least CAS latency if none is given.

        Raises
        ------
        ConfigError
            If the part cannot run at this clock, or the clock is too slow to refresh it.
        """
        if cas_latency is None:
            cas_latency = 2 if frequency <= self.most_mhz[0] else 3
        if cas_latency not in (2, 3):
            raise ConfigError(f"{self.name}: cas_latency must be 2 or 3, not {cas_latency}")
        most = self.most_mhz[cas_latency - 2]
        if not 0 < frequency <= most:
            raise ConfigError(
                f"{self.name}: clock must be at most {most:g} MHz with a CAS latency of "
                f"{cas_latency}, not {frequency:g}"
            )

        def cycles(ns: float) -> int:
            return max(1, ceil(round(ns * frequency / 1000, 6)))

        interval = floor(self.window * frequency / 1000 / (self.rows_refreshed + POSTPONED + 1))
        settings = SDRAMSettings(
            row_bits=self.row_bits,
            column_bits=self.column_bits,
            cas_latency=cas_latency,
            rcd=cycles(self.rcd),
            ras=cycles(self.ras),
            rc=cycles(self.rc),
            rrd=cycles(self.rrd),
            rp=cycles(self.rp),
            wr=max(2, cycles(self.wr)),
            rfc=cycles(self.rfc),
            mrd=2,
            interval=interval,
            power_up=cycles(self.power_up),
        )
        # Rows are closed for the refreshes at the latest; paying all of them must not take long.
        if interval * (POSTPONED + 1) * 1000 / frequency > self.ras_most:
            raise ConfigError(f"{self.name}: rows would stay open longer than {self.ras_most:g} ns")
        if (POSTPONED + 2) * (settings.rfc + settings.rc + 16) > interval * POSTPONED:
            raise ConfigError(f"{self.name}: {frequency:g} MHz is too slow to refresh it; use more")
        return settings


#: Limits that hold for each part sold under the name in speed grade 7 or faster.
PARTS = {
    part.name: part
    for part in (
        # 32 MB: IS42S16160, AS4C16M16, W9825G6KH, MT48LC16M16
        SDRAMPart(
            name="16Mx16",
            column_bits=9,
            **{"rcd": 20, "ras": 45, "rc": 66, "rrd": 15, "rp": 20, "wr": 20, "rfc": 70},
            most_mhz=(100, 143),
        ),
        # 64 MB: IS42S16320, AS4C32M16
        SDRAMPart(
            name="32Mx16",
            column_bits=10,
            **{"rcd": 20, "ras": 45, "rc": 66, "rrd": 15, "rp": 20, "wr": 20, "rfc": 70},
            most_mhz=(100, 143),
        ),
    )
}
