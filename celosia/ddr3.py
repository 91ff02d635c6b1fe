"""What host and board agree on where a board's DDR3 is concerned: addresses, and a description.

The board answers at `CONTROL_WINDOW` with the registers of its LiteDRAM core, and at `DESCRIPTION`
with what a host must know to wake the DDR3 and to level its reads. So a host needs nothing but
the serial line.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from celosia.errors import DeviceError

__all__ = ["CONTROL_WINDOW", "DESCRIPTION", "DESCRIPTION_WORDS", "DDR3Description"]

#: Where the host sees the registers of the LiteDRAM core, and the description.
CONTROL_WINDOW = 0x4000_0000
DESCRIPTION = 0x4001_0000

#: First word of a description, "DDR3".
_MAGIC = 0x33524444
_FORMAT = struct.Struct("<I4B4B4H2H")
DESCRIPTION_WORDS = _FORMAT.size // 4

#: Registers of a phase of the PHY's interface in words: command, issue, address, bank, then data.
_COMMAND_WORDS = 4


@dataclass(frozen=True, kw_only=True)
class DDR3Description:
    """A DDR3 behind its LiteDRAM core, as the machine's board describes it.

    Raises
    ------
    ValueError
        From `words` if a number does not fit its field.
    """

    #: Base-2 logarithm of its bytes.
    size_bits: int
    #: Commands in a cycle of the machine's clock, and those of them that read and that write.
    phases: int
    read_phase: int
    write_phase: int
    #: Bytes of data in one phase, lanes of a byte (each with a DQS of its own).
    phase_bytes: int
    lanes: int
    #: Delays and bit slips that the reads of a lane can have; 0 where nothing has to be levelled.
    delays: int
    bitslips: int
    #: Values of the mode registers 0 to 3.
    modes: tuple[int, int, int, int]
    #: Addresses of the PHY's registers and of those of its interface in the control window.
    phy: int
    dfii: int

    @property
    def bytes(self) -> int:
        """Size of the memory."""
        return 1 << self.size_bits

    def words(self) -> tuple[int, ...]:
        """Return the description as words of 32 bits."""
        try:
            data = _FORMAT.pack(
                _MAGIC,
                *(self.size_bits, self.phases, self.read_phase, self.write_phase),
                *(self.phase_bytes, self.lanes, self.delays, self.bitslips),
                *self.modes,
                *(self.phy, self.dfii),
            )
        except struct.error as error:
            raise ValueError(f"{self}: {error}") from error
        return struct.unpack(f"<{DESCRIPTION_WORDS}I", data)

    @classmethod
    def from_words(cls, words: Sequence[int]) -> "DDR3Description":
        """Return the description that a board gave.

        Raises
        ------
        DeviceError
            If it is none.
        """
        values = _FORMAT.unpack(struct.pack(f"<{DESCRIPTION_WORDS}I", *words))
        if values[0] != _MAGIC:
            raise DeviceError(
                f"the board does not describe a DDR3: it answers {values[0]:#010x} where "
                f"{_MAGIC:#010x} should be; build the bitstream again"
            )
        names = ("size_bits", "phases", "read_phase", "write_phase")
        names += ("phase_bytes", "lanes", "delays", "bitslips")
        fields = dict(zip(names, values[1:9], strict=True))
        return cls(**fields, modes=values[9:13], phy=values[13], dfii=values[14])

    def phase(self, number: int) -> int:
        """Return the address of the first register of a phase in the control window."""
        return self.dfii + 4 + 4 * number * (_COMMAND_WORDS + 2 * self.phase_bytes // 4)

    def write_data(self, number: int) -> int:
        """Return the address of what a phase writes."""
        return self.phase(number) + 4 * _COMMAND_WORDS

    def read_data(self, number: int) -> int:
        """Return the address of what a phase has read."""
        return self.write_data(number) + self.phase_bytes
