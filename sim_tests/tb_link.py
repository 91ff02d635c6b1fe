"""Bench of the host's link: its code on one end of the pins, the bridge on the other."""

import os
import random

import cocotb
import pytest
from cocotb.clock import Clock
from cocotb.queue import Queue
from cocotb.task import bridge, resume
from cocotb.triggers import ClockCycles, FallingEdge, Timer, with_timeout
from stand_in import COUNTER, WORDS

from celosia.errors import DeviceError
from celosia.runtime.link import SerialLink

DIVISOR = int(os.environ["DIVISOR"])
PERIOD = 10_000  # of the clock, in ps
BIT = DIVISOR * PERIOD
#: Of simulated time, in ps: what the link takes for a lost byte.
PATIENCE = 60 * BIT


class Pins:
    """A serial port made of the device's pins. `damage` may change what passes."""

    timeout = None

    def __init__(self, dut) -> None:
        self.dut = dut
        self.received: Queue[int] = Queue()
        self.damage_sent = self.damage_received = lambda byte: byte
        cocotb.start_soon(self._listen())

    async def _listen(self) -> None:
        while True:
            await FallingEdge(self.dut.tx)
            await Timer(BIT // 2, unit="ps")
            byte = 0
            for index in range(8):
                await Timer(BIT, unit="ps")
                byte |= int(self.dut.tx.value) << index
            await Timer(BIT, unit="ps")
            damaged = self.damage_received(byte)
            if damaged is not None:
                self.received.put_nowait(damaged)

    @resume
    async def write(self, data: bytes) -> None:
        for original in data:
            byte = self.damage_sent(original)
            if byte is None:
                continue
            for value in (0, *(byte >> index & 1 for index in range(8)), 1):
                self.dut.rx.value = value
                await Timer(BIT, unit="ps")

    @resume
    async def read(self, size: int) -> bytes:
        assert size >= 1
        try:
            return bytes([await with_timeout(self.received.get(), PATIENCE, "ps")])
        except cocotb.triggers.SimTimeoutError:
            return b""


async def start(dut) -> Pins:
    dut.rx.value = 1
    Clock(dut.clk, PERIOD, unit="ps").start()
    dut.rst.value = 1
    await ClockCycles(dut.clk, 3)
    dut.rst.value = 0
    return Pins(dut)


def once(number: int, change):
    """Return a damage that hits one byte, the one of that number."""
    left = number

    def damage(byte):
        nonlocal left
        left -= 1
        return change(byte) if left == -1 else byte

    return damage


@cocotb.test(timeout_time=100, timeout_unit="ms")
async def reads_and_writes(dut):
    pins = await start(dut)

    @bridge
    def host():
        link = SerialLink(pins)
        assert pins.timeout == link.timeout
        link.write_word(0x20, 0x12345678)
        assert link.read_word(0x20) == 0x12345678
        data = random.randbytes(4 * 300)
        link.write_block(0x100, data)
        assert link.read_block(0x100, len(data)) == data
        assert link.read_block(0xFC, 12) == bytes(4) + data[:8]
        assert link.read_block(0x100, 0) == b""

    await host()


@cocotb.test(timeout_time=100, timeout_unit="ms")
@cocotb.parametrize(direction=["sent", "received"], loss=[False, True])
async def survives_damage_at_every_byte(dut, direction, loss):
    pins = await start(dut)

    @bridge
    def host():
        link = SerialLink(pins)
        executed = 0
        for number in range(16):
            bit = 1 << random.randrange(8)
            change = (lambda byte: None) if loss else (lambda byte, bit=bit: byte ^ bit)
            setattr(pins, f"damage_{direction}", once(number, change))
            link.write_word(COUNTER, number)
            executed += 1
            assert link.read_word(COUNTER) == executed

    await host()


@cocotb.test(timeout_time=100, timeout_unit="ms")
async def names_the_address_of_an_error(dut):
    pins = await start(dut)

    @bridge
    def host():
        link = SerialLink(pins)
        message = (
            r"^write of 5 words at 0x00000ff8: the bus answered with an error at 0x00001000; "
            r"nothing is there, or not for this access$"
        )
        with pytest.raises(DeviceError, match=message):
            link.write_block(4 * WORDS - 8, bytes(20))
        message = r"^read of 1 words at 0x80000000: the bus answered with an error at 0x80000000; "
        with pytest.raises(DeviceError, match=message):
            link.read_word(0x8000_0000)
        link.write_word(0, 7)
        assert link.read_word(0) == 7

    await host()


@cocotb.test(timeout_time=100, timeout_unit="ms")
async def begins_in_the_middle_of_noise(dut):
    pins = await start(dut)

    @bridge
    def host():
        pins.write(random.randbytes(33))
        link = SerialLink(pins)
        link.write_word(COUNTER, 0)
        # Others after it: their requests are not taken for repetitions, for their sessions differ.
        random.seed(5)
        first = SerialLink(pins)
        first.write_word(COUNTER, 0)
        random.seed(6)
        second = SerialLink(pins)
        second.write_word(COUNTER, 0)
        assert second.read_word(COUNTER) == 3

    await host()
