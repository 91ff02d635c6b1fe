"""A DDR3 behind the PHY of an ECP5 as the host sees it, register by register, in Python."""

import random

from golden_board import GoldenBridge

from celosia.ddr3 import CONTROL_WINDOW, DESCRIPTION, DDR3Description
from celosia.isa import MEMORY_WINDOW

__all__ = ["KNOWN", "LANES", "ModelDDR3"]

LANES, DELAYS, SLIPS = 2, 8, 4
#: Bytes of a burst, and of one phase; two phases in a cycle.
BURST, PHASE = 16, 8
MODES = (0x320, 0x006, 0x200, 0x000)
#: With the registers where LiteDRAM's generator puts them (`test_ddr3.py` compares them).
KNOWN = DDR3Description(
    size_bits=29,
    phases=2,
    read_phase=0,
    write_phase=1,
    phase_bytes=PHASE,
    lanes=LANES,
    delays=DELAYS,
    bitslips=SLIPS,
    modes=MODES,
    phy=0x800,
    dfii=0x1000,
)
SELECT, DELAY_RESET, DELAY_NEXT, SLIP_NEXT, BURST_SEEN = 0x800, 0x804, 0x808, 0x810, 0x818
#: Of each phase: command, issue, address, bank, two words to write, two that were read.
PHASES = (0x1004, 0x1024)


class ModelDDR3:
    """A serial port with a board at its end that has a DDR3, and no machine.

    `windows[lane]` is the bit slip, the first and the last delay at which a lane reads what was
    written; at any other it reads something else, or sees no burst. What is wrong in the host's
    way is an AssertionError.
    """

    timeout = None
    in_waiting = 1 << 16

    def __init__(self, windows, *, forgets=False, seed=1):
        self.windows = windows
        self.forgets = forgets
        self.seed = seed
        self.bridge = GoldenBridge(self)
        self.buffer = b""
        self.registers = {}
        self.set = [[0, 0] for _ in range(LANES)]  # delay and bit slip
        self.moved = True  # lanes whose clocks may be out of step
        self.burst_seen = 0
        self.control = []
        self.modes = {}
        self.calibrated = self.active = False
        self.row = self.came = bytes(BURST)
        self.memory = {}
        self.tests = 0

    def write(self, data):
        self.buffer += self.bridge.take(data)

    def read(self, size):
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def load(self, address):
        if address >= MEMORY_WINDOW:
            if not self.registers.get(0):
                raise KeyError(address)
            word = self.memory.get(address, 0)
            return word ^ self.forgets
        if address >= DESCRIPTION:
            return dict(zip(range(DESCRIPTION, 1 << 31, 4), KNOWN.words(), strict=False))[address]
        address -= CONTROL_WINDOW
        if address == BURST_SEEN:
            return self.burst_seen
        for number, base in enumerate(PHASES):
            if base + 24 <= address < base + 32:
                upper = address == base + 24
                data = self.came[PHASE * number :][:PHASE]
                return int.from_bytes(data[4:] if upper else data[:4], "little")
        return self.registers.get(address, 0)

    def store(self, address, word):
        if address >= MEMORY_WINDOW:
            assert self.control[-1] == 1
            self.memory[address] = word
            return
        address -= CONTROL_WINDOW
        self.registers[address] = word
        lanes = [lane for lane in range(LANES) if self.registers.get(SELECT, 0) >> lane & 1]
        match address:
            case 0x0 if word:
                assert self.control[-1] == 1 and self.modes == dict(enumerate(MODES))
                assert self.calibrated and not self.active
            case 0x1000:  # control
                self.control.append(word)
            case 0x800:  # select
                if word == (1 << LANES) - 1:
                    self.moved = False
            case 0x804 | 0x808 | 0x80C | 0x810:  # delays and bit slips
                assert len(lanes) == 1
                self.moved = True
                step = address in (DELAY_NEXT, SLIP_NEXT)
                kind = 0 if address in (DELAY_RESET, DELAY_NEXT) else 1
                limit = (DELAYS, SLIPS)[kind]
                now = self.set[lanes[0]]
                now[kind] = (now[kind] + 1) % limit if step else 0
            case 0x814:  # clear
                self.burst_seen = 0
        for number, base in enumerate(PHASES):
            if address == base + 4:
                command, _, at, bank = (self.registers.get(base + 4 * n, 0) for n in range(4))
                self.command(number, command, at, bank)

    def command(self, phase, command, address, bank):
        assert self.control[-3:] == [0, 4 | 8, 2 | 4 | 8]
        match command:
            case 0b1111:  # load a mode register
                assert phase == 0 and not self.calibrated
                self.modes[bank] = address
                if bank == 0:  # it resets the DLL; the others must be there
                    assert list(self.modes) == [2, 3, 1, 0]
            case 0b0011:  # ZQ calibration
                assert len(self.modes) == 4 and address == 1 << 10
                self.calibrated = True
            case 0b1001:  # activate
                assert self.calibrated and not self.active
                self.active = True
            case 0b1011:  # precharge
                assert self.active
                self.active = False
            case 0b01_0111:  # write
                assert self.active and phase == KNOWN.write_phase and address == 0
                words = [self.registers[base + 16 + 4 * n] for base in PHASES for n in (1, 0)]
                self.row = b"".join(word.to_bytes(4, "little") for word in words)
            case 0b10_0101:  # read
                assert self.active and phase == KNOWN.read_phase and address == 0
                self.tests += 1
                self.came = self.seen()
            case _:
                raise AssertionError(f"command {command:#b}")

    def seen(self):
        """Return what the PHY makes of a burst, lane by lane."""
        assert not self.moved, "lanes out of step"
        came = bytearray(self.row)
        for lane, (delay, slip) in enumerate(self.set):
            at, first, last = self.windows[lane]
            if slip == at and first <= delay <= last:
                self.burst_seen |= 1 << lane
                continue
            # Beats of another time, a bit of one byte, or none at all: at each place what it is.
            rng = random.Random(f"{self.seed} {lane} {delay} {slip}")
            wrong = rng.choice(["late", "bit", "bit", "burst"])
            if wrong == "late":
                came[lane::LANES] = came[lane::LANES][1:] + bytes(1)
            if wrong == "bit":
                came[rng.randrange(0, BURST, LANES) + lane] ^= 1 << rng.randrange(8)
            self.burst_seen |= (wrong != "burst") << lane
        return bytes(came)
