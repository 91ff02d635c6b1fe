"""Measures what arrays of each kind and a whole board take of an ECP5, and their clocks."""

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
from celosia.cores.pe_kinds import KINDS
from celosia.errors import CheckFailed
from celosia.platforms.boards import BOARDS

BOARD = "ulx3s-85f"
CHIP = BOARDS[BOARD]
SEEDS = 2


#: Of each kind of element: LUT4 per MAC at most, and MHz at least.
TARGETS = {
    "multiply": (22, 140),
    "packed": (24, 135),
    "ternary": (20, 150),
    "int4": (60, None),
    "fp4": (60, None),
}


@cache
def array(kind: str) -> dict[str, float]:
    """Measure the 8x8 array alone: LUTs with those in carry cells, and clock.

    An element that forms two products with weights of 4 bits counts as two MACs.
    """
    config = PRESETS["small"]
    result = synthesize_core("systolic", config, pe=kind, seeds=SEEDS, progress=print)
    macs = config.multipliers * len(KINDS[kind].products)
    return {
        "lut4_per_mac": round(result["comb"] / macs, 2),
        "ff_per_mac": round(result["FF"] / macs, 2),
        "multipliers_per_mac": result["MULT18X18D"] / macs,
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


def of_array(kind: str) -> list[Measurement]:
    """Return the measurements of an array of one kind."""
    luts, clock = TARGETS[kind]
    measure = partial(array, kind)
    others = ("ff_per_mac", "multipliers_per_mac")
    return [
        Measurement(
            f"area.pe.{kind}.lut4_per_mac",
            luts,
            None,
            "LUT4/MAC",
            "small",
            partial(figure, measure, "lut4_per_mac", *others),
        ),
        Measurement(
            f"fmax.pe.{kind}", clock, None, "MHz", "small", partial(figure, measure, "fmax")
        ),
    ]


#: A board's target is to fit.
MEASUREMENTS = [
    *(one for kind in TARGETS for one in of_array(kind)),
    of_board("fmax.ulx3s", "MHz", CHIP.frequency, None, "fmax_mhz", "critical_path"),
    of_board("area.ulx3s.lut", "LUT4", CHIP.luts, CHIP.luts, "TRELLIS_COMB", "modules"),
    of_board("area.ulx3s.ff", "FF", CHIP.flip_flops, CHIP.flip_flops, "FF"),
    of_board("area.ulx3s.mult", "MULT18X18D", CHIP.multipliers, CHIP.multipliers, "MULT18X18D"),
    of_board("area.ulx3s.bram", "DP16KD", CHIP.block_rams, CHIP.block_rams, "DP16KD"),
]


if __name__ == "__main__":
    main(str(__doc__), "bench_area.py", MEASUREMENTS)
