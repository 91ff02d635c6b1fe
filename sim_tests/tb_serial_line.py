"""The simulated end of a pseudo-terminal: its bytes go through noise to the pins and back.

It ends when the file `STOP` is there. The file `BREAK` is a cable pulled out: nothing passes.
"""

import json
import os
import pty
import time
import tty
from pathlib import Path

import cocotb
from serial_line import Line, Noise, wait_cycles

BYTE = 10 * int(os.environ["DIVISOR"])
FOLDER = Path(os.environ["FOLDER"])
#: Steps between two looks at the files.
LOOK = 50


@cocotb.test()
async def carries_bytes(dut):
    master, slave = pty.openpty()
    tty.setraw(slave)  # and it stays open: hosts come and go
    os.set_blocking(master, False)
    shares = json.loads(os.environ["SHARES"])
    line = Line(dut, Noise(**shares), Noise(**shares, seed=2))
    (FOLDER / "port.new").write_text(os.ttyname(slave))
    (FOLDER / "port.new").rename(FOLDER / "port")
    quiet, broken, number, sent = 0, False, 0, 0
    while True:
        if number % LOOK == 0:
            broken = (FOLDER / "BREAK").exists()
            if (FOLDER / "STOP").exists():
                break
        number += 1
        try:
            data = os.read(master, 256)
        except BlockingIOError:
            data = b""
        if data and not broken:
            sent += len(data)
            line.send(data)
        received = line.step()
        if received and not broken:
            os.write(master, received)
        quiet = 0 if data or received or not line.idle else quiet + 1
        if quiet > LOOK:
            time.sleep(0.001)  # the host thinks
        await wait_cycles(16 * BYTE)
    record = {"noise": [noise.counts for noise in line.noises], "bytes": sent}
    (FOLDER / "record.json").write_text(json.dumps(record))
