"""A board in Python: the bridge a second time, written from its protocol, and a golden machine."""

import struct
import zlib

import numpy as np

from celosia import isa
from celosia.golden.machine import GoldenMachine
from celosia.isa import COUNTERS, MEMORY_WINDOW, REGISTERS
from celosia.runtime.link_frames import decode_frames, encode_frame

__all__ = ["GoldenBoard", "GoldenBridge"]

READ, WRITE, SYNC, DIGEST = 1, 2, 3, 4
OK, REFUSED, BUS_ERROR, OUT_OF_ORDER, NO_SESSION = range(0x80, 0x85)


class GoldenBridge:
    """The protocol; `load(address)` and `store(address, word)` of a bus may raise KeyError."""

    def __init__(self, bus) -> None:
        self.bus = bus
        self.session = None
        self.expected = 0
        self.told = False
        self.outcomes = {}
        self.rest = b""

    def take(self, data):
        """Return the bytes that answer `data`."""
        frames, self.rest = decode_frames(self.rest + data)
        return b"".join(self.answer(frame) for frame in frames if frame is not None)

    def answer(self, frame):
        if len(frame) < 8 or len(frame) % 4 or len(frame) > 4 * 258:
            return b""
        code, number, count, address = struct.unpack_from("<BBHI", frame)
        words = struct.unpack(f"<{len(frame) // 4 - 2}I", frame[8:])
        if code == SYNC and not words:
            if self.session != frame:
                self.session, self.expected, self.told = frame, (number + 1) % 256, False
            return self.reply(OK, number, count)
        if self.session is None:
            return self.reply(NO_SESSION, number, 0)
        behind = (self.expected - number) % 256
        if behind > 8:
            if behind < 128 or self.told:
                return b""
            self.told = True
            return self.reply(OUT_OF_ORDER, self.expected, 0)
        if behind == 0:
            self.expected, self.told = (number + 1) % 256, False
        sound = code in (READ, WRITE, DIGEST) and count <= 256 and address % 4 == 0
        if not sound or len(words) != (count if code == WRITE else 0):
            return self.reply(REFUSED, number, 0)
        if code == WRITE:
            if behind == 0:
                self.outcomes[number % 8] = self.write(address, words)
            return self.reply(self.outcomes[number % 8][0], number, self.outcomes[number % 8][1])
        status, found = self.read(address, count)
        data = struct.pack(f"<{len(found)}I", *found)
        if code == DIGEST and found:
            data = struct.pack("<I", zlib.crc32(data))
        return self.reply(status, number, len(found), data)

    @staticmethod
    def reply(status, number, count, data=b""):
        return encode_frame(struct.pack("<BBH", status, number, count) + data)

    def write(self, address, words):
        for index, word in enumerate(words):
            try:
                self.bus.store(address + 4 * index, word)
            except KeyError:
                return BUS_ERROR, index
        return OK, len(words)

    def read(self, address, count):
        found = []
        for index in range(count):
            try:
                found.append(self.bus.load(address + 4 * index))
            except KeyError:
                return BUS_ERROR, found
        return OK, found


class GoldenBoard:
    """A serial port with a golden machine at its end; a run has ended when it is looked at."""

    timeout = None

    def __init__(self, config) -> None:
        self.config = config
        self.memory = np.zeros(config.memory_bytes, np.uint8)
        self.machine = GoldenMachine(config, self.memory)
        digest = int.from_bytes(config.digest(), "little")
        shape = config.rows | config.columns << 8 | config.memory_width << 16
        known = {"id": isa.ID, "version": isa.VERSION, "digest": digest, "geometry": shape}
        self.registers = dict.fromkeys(REGISTERS.values(), 0)
        self.registers |= {REGISTERS[name]: value for name, value in known.items()}
        self.bridge = GoldenBridge(self)
        self.buffer = b""
        self.open = True

    @property
    def in_waiting(self):
        return len(self.buffer)

    def write(self, data):
        self.buffer += self.bridge.take(data)

    def read(self, size):
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def close(self):
        self.open = False

    def load(self, address):
        if address < MEMORY_WINDOW:
            return self.registers[address]
        return int(self.words[(address - MEMORY_WINDOW) // 4])

    def store(self, address, word):
        if address >= MEMORY_WINDOW:
            if not 0 < self.config.flash_base <= address - MEMORY_WINDOW:
                self.words[(address - MEMORY_WINDOW) // 4] = word
            return
        self.registers[address] = word
        if address == REGISTERS["control"] and word & 1:
            self.run()

    @property
    def words(self):
        return self.memory.view("<u4")

    def run(self):
        arguments = [self.registers[REGISTERS[f"argument{n}"]] for n in range(isa.ARGUMENTS)]
        result = self.machine.run(self.registers[REGISTERS["program"]], arguments)
        for name in COUNTERS:
            self.registers[REGISTERS[name]] = getattr(result, name, 0)
        self.registers[REGISTERS["status"]] = 2 if not result.cause else 4
        self.registers[REGISTERS["cause"]] = int(result.cause)
        self.registers[REGISTERS["fault_address"]] = result.fault_address or 0
