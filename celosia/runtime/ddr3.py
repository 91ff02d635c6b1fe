"""Waking a board's DDR3: its start as JEDEC has it, and the levelling of its reads.

The part and the PHY of an ECP5 do not know each other's delays: for each lane of a byte the
host tries all delays and bit slips that the PHY has, writing and reading patterns, and takes the
middle of the longest row of delays at which all of them come back. Until that is done, and after a
reset, the memory answers with errors.
"""

import random
import struct
import time
from collections.abc import Sequence

from celosia.ddr3 import CONTROL_WINDOW, DESCRIPTION, DESCRIPTION_WORDS, DDR3Description
from celosia.errors import DeviceError
from celosia.isa import MEMORY_WINDOW
from celosia.rtl.bridge import Operation
from celosia.runtime.link import SerialLink
from celosia.runtime.link_requests import Request

__all__ = ["DDR3Host", "wake_ddr3"]

#: Registers of LiteDRAM's core; of the PHY and of its interface from where these begin.
INIT_DONE, INIT_ERROR = 0x0, 0x4
_SELECT, _DELAY_RESET, _DELAY_NEXT, _SLIP_RESET, _SLIP_NEXT, _BURST_CLEAR, _BURST_SEEN = range(
    0, 28, 4
)
#: Bits of the interface's control register: the controller has it, clock enable, ODT, no reset.
_HARDWARE, _CKE, _ODT, _RUNNING = 1, 2, 4, 8
#: Bits of a command: chip select and the three lines, data to write, data to be read.
_CS, _WE, _CAS, _RAS, _WRITES, _READS = 1, 2, 4, 8, 16, 32
_LOAD_MODE = _RAS | _CAS | _WE | _CS
_ACTIVATE = _RAS | _CS
_WRITE = _CAS | _WE | _CS | _WRITES
_READ = _CAS | _CS | _READS
_PRECHARGE = _RAS | _WE | _CS
_CALIBRATE = _WE | _CS
#: Address bits that mean the long calibration.
_LONG = 1 << 10
#: Seconds that are long enough for each step of the start; JEDEC wants 500 us at most.
_PAUSE = 0.001
#: Patterns that each delay must bring back.
_PATTERNS = 3
#: Bytes by which the memory is tried in the end.
_TRIAL = 256


def wake_ddr3(link: SerialLink) -> int:
    """Make a board's DDR3 ready, if it is not, and return its size in bytes.

    Raises
    ------
    DeviceError
        If the board has none, or nothing that is written to it comes back.
    """
    words = struct.unpack(
        f"<{DESCRIPTION_WORDS}I", link.read_block(DESCRIPTION, 4 * DESCRIPTION_WORDS)
    )
    host = DDR3Host(link, DDR3Description.from_words(words))
    if not host.is_awake():
        host.start()
        host.level()
        host.hand_over()
    return host.known.bytes


class DDR3Host:
    """The host's way to a DDR3 before its controller takes over.

    Parameters
    ----------
    link : SerialLink
        To the board.
    known : DDR3Description
        What the board says of itself.
    """

    def __init__(self, link: SerialLink, known: DDR3Description) -> None:
        self.link = link
        self.known = known
        rng = random.Random(1)
        count = known.phases * known.phase_bytes
        self._patterns = [rng.randbytes(count) for _ in range(_PATTERNS)]

    def is_awake(self) -> bool:
        """Say whether the controller has it already, since an earlier session."""
        done, error = struct.unpack("<2I", self.link.read_block(CONTROL_WINDOW + INIT_DONE, 8))
        return bool(done) and not error

    def start(self) -> None:
        """Bring the part from reset to where it takes commands, with its mode registers set."""
        control = self.known.dfii
        self._write((INIT_DONE, 0), (INIT_ERROR, 0), (control, 0))
        time.sleep(_PAUSE)
        for bits in (_ODT | _RUNNING, _CKE | _ODT | _RUNNING):
            self._write((control, bits))
            time.sleep(_PAUSE)
        modes = self.known.modes
        for register in (2, 3, 1, 0):
            self.link.exchange(self._command(0, _LOAD_MODE, modes[register], register))
        time.sleep(_PAUSE)
        self.link.exchange(self._command(0, _CALIBRATE, _LONG, 0))
        time.sleep(_PAUSE)

    def level(self) -> list[tuple[int, int]]:
        """Set delay and bit slip of each lane, and return them.

        Raises
        ------
        DeviceError
            If there are none with which a lane brings back what was written.
        """
        return [self._level(lane) for lane in range(self.known.lanes if self.known.delays else 0)]

    def hand_over(self) -> None:
        """Give the part to its controller, and let machine and host use it.

        Raises
        ------
        DeviceError
            If the memory does not keep what is written.
        """
        self._write((self.known.dfii, _HARDWARE), (INIT_DONE, 1))
        data = random.Random(2).randbytes(_TRIAL)
        self.link.write_block(MEMORY_WINDOW, data)
        if self.link.read_block(MEMORY_WINDOW, _TRIAL) != data:
            self._write((INIT_DONE, 0))
            raise DeviceError(
                "the board's DDR3 does not keep what is written; build for a lower clock"
            )

    def _level(self, lane: int) -> tuple[int, int]:
        delays, slips = self.known.delays, self.known.bitslips
        best, middle, slip_of_best = 0, 0, 0
        for slip in range(slips):
            good = [self._brings_back(lane, delay, slip) for delay in range(delays)]
            length, first = _longest_run(good)
            if length > best:
                best, middle, slip_of_best = length, first + (length - 1) // 2, slip
        if not best or not self._brings_back(lane, middle, slip_of_best):
            raise DeviceError(
                f"lane {lane} of the board's DDR3 brings back nothing that was written, at none of "
                f"{delays} delays and {slips} bit slips; build for another clock"
            )
        return middle, slip_of_best

    def _brings_back(self, lane: int, delay: int, slip: int) -> bool:
        """Set a lane and say whether it reads all patterns as they were written."""
        phy, lanes = self.known.phy, self.known.lanes
        strokes = [(_SLIP_RESET, 1), *slip * [(_SLIP_NEXT, 1)]]
        strokes += [(_DELAY_RESET, 1), *delay * [(_DELAY_NEXT, 1)]]
        # The lines that select a lane stop its reads meanwhile; to stop all of them together lets
        # them begin in step again.
        select = [(_SELECT, 1 << lane), *strokes, (_SELECT, 0)]
        select += [(_SELECT, (1 << lanes) - 1), (_SELECT, 0)]
        self._write(*((phy + register, value) for register, value in select))
        for pattern in self._patterns:
            read, bursts = self._through(pattern)
            if read[lane::lanes] != pattern[lane::lanes] or not bursts >> lane & 1:
                return False
        return True

    def _through(self, pattern: bytes) -> tuple[bytes, int]:
        """Write a burst and read it; return what came, and the lanes that saw a burst come.

        The registers have the upper word of a phase first, those to write as those that were read.
        """
        known = self.known
        size, phases = known.phase_bytes, range(known.phases)
        requests = [
            *self._command(0, _ACTIVATE, 0, 0),
            *(_block(known.write_data(phase), pattern[size * phase :][:size]) for phase in phases),
            *self._command(known.write_phase, _WRITE, 0, 0),
            _word(known.phy + _BURST_CLEAR, 1),
            *self._command(known.read_phase, _READ, 0, 0),
            *self._command(0, _PRECHARGE, 0, 0),
            *(
                Request(Operation.READ, CONTROL_WINDOW + known.read_data(phase), size // 4)
                for phase in phases
            ),
            Request(Operation.READ, CONTROL_WINDOW + known.phy + _BURST_SEEN, 1),
        ]
        # At once: what is written is lost if it is not refreshed for long.
        *words, bursts = self.link.exchange(requests)[-known.phases - 1 :]
        return b"".join(words), int.from_bytes(bursts, "little")

    def _command(self, phase: int, command: int, address: int, bank: int) -> list[Request]:
        """Return the requests that give one command in a phase."""
        base = self.known.phase(phase)
        return [
            _block(base + 8, struct.pack("<2I", address, bank)),
            _block(base, struct.pack("<2I", command, 1)),
        ]

    def _write(self, *values: tuple[int, int]) -> None:
        self.link.exchange([_word(address, value) for address, value in values])


def _block(address: int, data: bytes) -> Request:
    return Request(Operation.WRITE, CONTROL_WINDOW + address, len(data) // 4, data)


def _word(address: int, value: int) -> Request:
    return _block(address, struct.pack("<I", value))


def _longest_run(good: Sequence[bool]) -> tuple[int, int]:
    """Return length and begin of the longest run of true values."""
    best, begin = (0, 0), 0
    for index, value in enumerate(good):
        if not value:
            begin = index + 1
        elif index + 1 - begin > best[0]:
            best = index + 1 - begin, begin
    return best
