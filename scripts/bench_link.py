"""Measures the serial line to boards: what noise loses or does twice, and what the line carries.

Both on the Verilog of UART and bridge, with the host's own code at the other end of the pins and
a line of 8N1 between them without gaps; cycles are the simulation's.
"""

import sys
import tempfile
from functools import cache, partial
from pathlib import Path

from records import Measurement, main

sys.path.append(str(Path(__file__).parents[1] / "sim_tests"))
from test_link_noise import through_noise

FRAMES = 100_000
#: Of the frames, in each direction.
NOISE = {"dropped": 0.01, "corrupted": 0.01}
#: Cycles of a bit: as few as there can be, for noise takes its frames whole and its time in bytes.
NOISY_DIVISOR = 4
#: A board at 40 MHz and 3 Mbaud, the fastest that boards have.
DIVISOR, BLOCKS = 13, 256


def lost() -> dict[str, object]:
    """Write the numbers from 0 on, a frame each, to a ledger behind the bridge; ask it for more."""
    with tempfile.TemporaryDirectory() as folder:
        found = through_noise(Path(folder), divisor=NOISY_DIVISOR, frames=FRAMES, **NOISE)
    ledger = found["ledger"]
    missing = FRAMES - ledger["next"] + ledger["lost"]
    return {
        "value": missing + ledger["repeated"],
        "lost": missing,
        "applied_twice": ledger["repeated"],
        "frames": FRAMES,
        "noise": dict(zip(("requests", "replies"), found["noise"], strict=True)),
        "line": found["statistics"],
        "measured": "UART and bridge in Verilog; a number of 32 bits in each frame",
    }


@cache
def _blocks() -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        return through_noise(Path(folder), divisor=DIVISOR, blocks=BLOCKS)


def throughput(direction: str) -> dict[str, object]:
    """Move blocks of random bytes; value: their bits by the bits of data that 8N1 could carry."""
    found = _blocks()
    cycles, size = found[f"{direction}_cycles"], found["bytes"]
    of_line = size * 10 * DIVISOR / cycles
    return {
        "value": of_line,
        "share_of_baud": 0.8 * of_line,
        "bytes": size,
        "cycles": cycles,
        "cycles_of_a_bit": DIVISOR,
        "counted": "payload bits / (8/10 of the baud rate · time), from the first request to the "
        "last reply; frames, checksums, escapes and addresses are overhead",
    }


MEASUREMENTS = [
    Measurement("link.lost", 0, 0, "frames", "serial bridge", lost),
    Measurement("link.throughput", 0.9, 1, "of 8N1", "serial bridge", partial(throughput, "write")),
    Measurement(
        "link.throughput.read", 0.9, 1, "of 8N1", "serial bridge", partial(throughput, "read")
    ),
]

if __name__ == "__main__":
    main(str(__doc__), "bench_link.py", MEASUREMENTS)
