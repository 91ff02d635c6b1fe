"""Builds a bitstream for every family of chips that open tools place, the smallest first.

A machine where one fits, elsewhere the array alone. Placed, routed and written; none was loaded
into a chip here.
"""

import contextlib
import json
import tempfile
import time
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from records import Measurement, main

from celosia.cli.synthesize import synthesize_board
from celosia.config import PRESETS, MachineConfig
from celosia.errors import CheckFailed
from celosia.platforms.boards import BOARDS


@dataclass(frozen=True)
class Job:
    """What is built for a board.

    Attributes
    ----------
    board : str
        Name of the board.
    config : MachineConfig
        Machine, or what the array alone is the one of.
    core : str or None
        "systolic" for the array alone.
    frequency : float or None
        Clock to aim at in MHz, if not the board's.
    seeds : int
        Placements to try.
    """

    board: str
    config: MachineConfig
    core: str | None = None
    frequency: float | None = None
    seeds: int = 1

    @property
    def target(self) -> float:
        """Clock to aim at in MHz."""
        return self.frequency or BOARDS[self.board].frequency

    @property
    def what(self) -> str:
        """What the records call it."""
        return f"{self.config.rows}x{self.config.columns} array" if self.core else self.config.name


def array(board: str, rows: int, columns: int) -> Job:
    """Return the job of an array alone."""
    config = PRESETS["tiny"].replace(
        name=f"array{rows}x{columns}", rows=rows, columns=columns, accumulator_rows=256
    )
    return Job(board, config, "systolic")


JOBS = (
    Job("icebreaker", PRESETS["micro"]),
    array("tang-nano-9k", 4, 8),
    array("tang-nano-20k", 8, 8),
    Job("ulx3s-25f", PRESETS["mini"]),
    Job("ecpix5-45f", PRESETS["tiny"]),
    Job("ulx3s-85f", PRESETS["ulx3s"], frequency=80.0, seeds=2),
)


@cache
def build(job: Job) -> dict[str, Any]:
    """Build a bitstream, anew; also if it misses its clock."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="celosia-") as name:
        folder = Path(name)
        report = folder / "report.json"
        with contextlib.suppress(CheckFailed):
            synthesize_board(
                job.config,
                job.board,
                folder / "out",
                core=job.core,
                frequency=job.frequency,
                seeds=job.seeds,
                report=report,
                cache=folder / "cache",
                progress=print,
            )
        result = json.loads(report.read_text())
        file = folder / "out" / result["bitstream"]
        result["bytes"] = file.stat().st_size if file.exists() else 0
    return result | {"seconds": round(time.perf_counter() - begin, 1)}


def fmax(job: Job) -> dict[str, object]:
    """Return the clock, and beside it the line of a table."""
    result = build(job)
    clock = result["fmax_mhz"]
    peak = 2 * job.config.products_per_cycle * clock / 1000
    keys = ("luts", "flip_flops", "multipliers", "block_rams", "seconds", "bytes", "timing_met")
    return {
        "value": clock,
        "board": job.board,
        "chip": BOARDS[job.board].device,
        "built": job.what,
        **{key: result[key] for key in keys},
        "peak_gops": round(peak, 2),
        "gops_per_multiplier": round(peak / result["multipliers"], 3),
        "measured": "placed and routed, bitstream written; not loaded into a chip",
    }


MEASUREMENTS = [
    Measurement(
        f"bitstream.{job.board}.fmax",
        job.target,
        None,
        "MHz",
        job.what,
        partial(fmax, job),
    )
    for job in JOBS
]

if __name__ == "__main__":
    main(str(__doc__), "bench_bitstreams.py", MEASUREMENTS)
