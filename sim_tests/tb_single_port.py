"""Bench of the memory with one port: what was read stays; what was not written is not looked at."""

import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

DEPTH = int(os.environ["DEPTH"])


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(share=[0.2, 0.9])
async def words_are_those_written(dut, share):
    Clock(dut.clk, 10, unit="ns").start()
    words: dict[int, list[int]] = {}
    shown = None  # after a write, anything
    places = [0, DEPTH - 1, *(random.randrange(DEPTH) for _ in range(6))]
    compared = 0
    await FallingEdge(dut.clk)
    for _ in range(6000):
        enable, place = random.random() < share, random.choice(places)
        mask = random.choice([0, 0, 15, random.randrange(16)])
        mask = mask if place in words else 15
        data = random.getrandbits(32)
        dut.enable.value, dut.address.value = enable, place
        dut.write.value, dut.i.value = mask, data
        await FallingEdge(dut.clk)
        if enable and mask:
            word = words.setdefault(place, [0] * 4)
            for byte in range(4):
                if mask >> byte & 1:
                    word[byte] = data >> 8 * byte & 0xFF
            shown = None
        elif enable:
            shown = int.from_bytes(bytes(words[place]), "little")
        if shown is not None:
            assert dut.o.value.to_unsigned() == shown
            compared += 1
    assert compared > 500
