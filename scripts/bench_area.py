"""Measures what the array and a whole board take of an ECP5, and the clocks that they reach."""

import contextlib
import json
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from records import Measurement, main

from celosia.cli.synthesize import synthesize_board, synthesize_core
from celosia.config import PRESETS
from celosia.errors import CheckFailed
from celosia.platforms.boards import BOARDS

BOARD = "ulx3s-85f"
CHIP = BOARDS[BOARD]
SEEDS = 2


@cache
def array() -> dict[str, float]:
    """Measure the 8x8 array alone: LUTs with those in carry cells, and clock."""
    config = PRESETS["small"]
    result = synthesize_core("systolic", config, seeds=SEEDS, progress=print)
    return {
        "lut4_per_mac": round(result["comb"] / config.multipliers, 2),
        "fmax": result["fmax_mhz"],
    }


@cache
def board() -> dict[str, Any]:
    """Measure a machine on a board, also if it misses the board's clock."""
    with tempfile.TemporaryDirectory(prefix="celosia-") as folder:
        report = Path(folder) / "report.json"
        with contextlib.suppress(CheckFailed):
            synthesize_board(
                PRESETS["ulx3s"], BOARD, Path(folder) / "out", report=report, progress=print
            )
        return json.loads(report.read_text())


def figure(measure: Callable[[], dict[str, Any]], key: str, *others: str) -> dict[str, object]:
    """Return one figure, and what else its record has."""
    result = measure()
    return {"value": result[key], **{name: result[name] for name in others}}


def of_board(name: str, unit: str, target: float, limit: float | None, *keys: str) -> Measurement:
    """Return the measurement of a figure of the board."""
    return Measurement(name, target, limit, unit, "ulx3s", partial(figure, board, *keys))


#: A board's target is to fit.
MEASUREMENTS = [
    Measurement(
        "area.pe.multiply.lut4_per_mac",
        22,
        None,
        "LUT4/MAC",
        "small",
        partial(figure, array, "lut4_per_mac"),
    ),
    Measurement("fmax.pe.multiply", 140, None, "MHz", "small", partial(figure, array, "fmax")),
    of_board("fmax.ulx3s", "MHz", CHIP.frequency, None, "fmax_mhz", "critical_path"),
    of_board("area.ulx3s.lut", "LUT4", CHIP.luts, CHIP.luts, "TRELLIS_COMB", "modules"),
    of_board("area.ulx3s.ff", "FF", CHIP.flip_flops, CHIP.flip_flops, "FF"),
    of_board("area.ulx3s.mult", "MULT18X18D", CHIP.multipliers, CHIP.multipliers, "MULT18X18D"),
    of_board("area.ulx3s.bram", "DP16KD", CHIP.block_rams, CHIP.block_rams, "DP16KD"),
]


if __name__ == "__main__":
    main(str(__doc__), "bench_area.py", MEASUREMENTS)
