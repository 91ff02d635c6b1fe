"""Bench of the host's link through noise, with a ledger of what was written at the other end."""

import json
import os
import random
import zlib
from pathlib import Path

import cocotb
from cocotb.task import bridge
from ledger import LEDGER, LOST, NEXT, REPEATED, WORDS
from serial_line import Line, Noise, Pins

from celosia.rtl.bridge import Operation
from celosia.runtime.link import SerialLink
from celosia.runtime.link_requests import Request

BYTE = 10 * int(os.environ["DIVISOR"])
#: Numbers that are written, a frame each, and blocks that are moved.
FRAMES = int(os.environ["FRAMES"])
BLOCKS = int(os.environ["BLOCKS"])
SHARES = json.loads(os.environ["SHARES"])


@cocotb.test()
async def goes_through(dut):
    line = Line(dut, Noise(**SHARES), Noise(**SHARES, seed=2))
    # Longer than a window takes: of numbers first, then of blocks.
    pins = Pins(line, step=6 * BYTE, patience=500 * BYTE)
    cocotb.start_soon(pins.run())
    record = {}

    @bridge
    def host():
        link = SerialLink(pins, retries=30)
        link.write_word(4 * WORDS - 4, 7)
        numbers = [number.to_bytes(4, "little") for number in range(FRAMES)]
        link.exchange([Request(Operation.WRITE, LEDGER, 1, number) for number in numbers])
        found = {"next": NEXT, "lost": LOST, "repeated": REPEATED}
        record["ledger"] = {name: link.read_word(address) for name, address in found.items()}
        record["statistics"] = vars(link.statistics).copy()
        pins.patience = 10_000 * BYTE
        rng = random.Random(3)
        data = rng.randbytes(1024 * BLOCKS)
        size = 4 * WORDS
        for name, move in (("write", link.write_block), ("read", link.read_block)):
            before = int(dut.cycles.value)
            for at in range(0, len(data), size):
                part = data[at : at + size]
                result = move(0, part if name == "write" else len(part))
                if name == "read" and at + size >= len(data):
                    assert result == part
            record[f"{name}_cycles"] = int(dut.cycles.value) - before
        last = data[-(len(data) % size or size) :]
        blocks = [last[at : at + 1024] for at in range(0, len(last), 1024)]
        assert link.digests(0, len(last)) == [zlib.crc32(block) for block in blocks]
        record["bytes"] = len(data)

    await host()
    record["noise"] = [noise.counts for noise in line.noises]
    Path(os.environ["RECORD"]).write_text(json.dumps(record))
