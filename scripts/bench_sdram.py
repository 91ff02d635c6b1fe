"""Measures how much of an SDRAM's bandwidth a whole model gets, and how fast it is on the board.

All of all-MiniLM-L6-v2 runs on the RTL, the SDRAM at its pins being a model that checks every rule
of the part, and on the golden machine; every byte of memory must agree. The share is that of the
cycles, from the start to the last result in memory, in which a word crosses the pins. The others
are refreshes, rows being opened and closed with no word meanwhile, and those in which nothing was
asked for, or the bus turned around.
"""

from functools import cache

from bench_utilisation import encoder
from records import Measurement, main

from celosia.cli.machines import open_simulation
from celosia.compiler.cycles import predict
from celosia.config import PRESETS
from celosia.isa import disassemble
from celosia.runtime.compare import mac_cycles, require_equal
from celosia.runtime.golden_device import GoldenDevice
from celosia.sdram_part import WORD_BYTES

__all__ = ["MEASUREMENTS"]

CONFIG = PRESETS["ulx3s_sdram"]
#: Tokens of a sentence as short as those of the STS benchmark; and of one that asks for half of
#: what the array can do, so that memory bounds it all the same.
SHORT, LONG = 9, 32


@cache
def _run(tokens: int) -> dict[str, object]:
    """Run a sentence on RTL and golden machine; return what all records say of it."""
    program, inputs = encoder(CONFIG, tokens)
    with open_simulation(CONFIG).open(program) as session:
        batch = session.run_all([inputs])
    found = require_equal(program, GoldenDevice(CONFIG).run(program, [inputs]), batch)
    counters = batch.runs[0].counters
    cycles, spent = counters["cycles"], session.report["sdram"]
    code = disassemble(program.code)
    return {
        "tokens": tokens,
        "clock_mhz": CONFIG.sdram_mhz,
        "cycles": cycles,
        "cycles_predicted": predict(code, CONFIG, entry=program.entry).cycles,
        "mac_cycles": mac_cycles(program),
        "bytes_moved": WORD_BYTES * spent["words"],
        "lost": {
            "refreshes": spent["refreshes"] / cycles,
            "rows": spent["rows"] / cycles,
            "nothing_asked": 1 - sum(spent.values()) / cycles,
        },
        "bytes_compared": found.bytes_compared,
        "mismatches": found.mismatches,
        "counters": counters,
    }


def _share(tokens: int) -> dict[str, object]:
    run = _run(tokens)
    return {"value": run["bytes_moved"] / WORD_BYTES / run["cycles"], **run}


def _sentences(tokens: int) -> dict[str, object]:
    """Sentences a second; the limit is that of the pins, a word a cycle."""
    run = _run(tokens)
    clock = 1e6 * CONFIG.sdram_mhz
    limit = clock * WORD_BYTES / run["bytes_moved"]
    return {"value": clock / run["cycles"], "limit": limit, **run}


MEASUREMENTS = [
    Measurement("bandwidth.sdram", 0.90, 1.0, "", CONFIG.name, lambda: _share(SHORT)),
    Measurement(f"bandwidth.sdram.t{LONG}", 0.90, 1.0, "", CONFIG.name, lambda: _share(LONG)),
    Measurement(
        "speed.minilm.sdram", None, None, "sentences/s", CONFIG.name, lambda: _sentences(SHORT)
    ),
    Measurement(
        f"speed.minilm.sdram.t{LONG}",
        None,
        None,
        "sentences/s",
        CONFIG.name,
        lambda: _sentences(LONG),
    ),
]

if __name__ == "__main__":
    main(str(__doc__), "bench_sdram.py", MEASUREMENTS)
