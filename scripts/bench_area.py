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
from celosia.errors import CheckFailed
from celosia.platforms.boards import BOARDS

BOARD = "ulx3s-85f"
CHIP = BOARDS[BOARD]
#: Of the machine on that board: MHz, and multipliers in use, at least.
BOARD_CLOCK, BOARD_MULTIPLIERS = 80.0, 120
SEEDS = 2
#: Placements of the machine that are tried; they differ by some 5 MHz.
BOARD_SEEDS = 2


#: Arrays by name: kind of element, M of N:M sparsity, MACs of an element a cycle, and LUT4 per MAC
#: at most. A switchable element is to take with int8 weights what two of the kind int4 may take,
#: with int4 what one may, and with int2 half of that. A selector of one of four adds 20 LUT4 to an
#: element.
ARRAYS = {
    "multiply": ("multiply", 1, 1, 22),
    "packed": ("packed", 1, 2, 24),
    "packed.int8": ("packed", 1, 1, None),
    "ternary": ("ternary", 1, 1, 20),
    "int4": ("int4", 1, 1, 60),
    "fp4": ("fp4", 1, 1, 60),
    "switchable.int8": ("switchable", 1, 1, 120),
    "switchable.int4": ("switchable", 1, 2, 60),
    "switchable.int2": ("switchable", 1, 4, 30),
    "multiply.m4": ("multiply", 4, 1, 42),
    "packed.m4": ("packed", 4, 2, 34),
}
#: MHz at least.
CLOCKS = {
    "multiply": 140,
    "packed": 135,
    "ternary": 150,
    "int4": None,
    "fp4": None,
    "switchable": 150,
    "multiply.m4": 140,
    "packed.m4": 135,
}


@cache
def array(kind: str, sparsity: int) -> dict[str, Any]:
    """Measure the 8x8 array alone: LUTs with those in carry cells, and clock."""
    config = PRESETS["small"].replace(sparsity=sparsity)
    return synthesize_core("systolic", config, pe=kind, seeds=SEEDS, progress=print)


def per_mac(kind: str, sparsity: int, count: int) -> dict[str, float]:
    """Return what an array takes for each of the `count` MACs of an element."""
    result = array(kind, sparsity)
    macs = PRESETS["small"].multipliers * count
    return {
        "lut4_per_mac": round(result["comb"] / macs, 2),
        "ff_per_mac": round(result["FF"] / macs, 2),
        "multipliers_per_mac": result["MULT18X18D"] / macs,
    }


@cache
def board() -> dict[str, Any]:
    """Measure a machine on a board, also if it misses the board's clock."""
    with tempfile.TemporaryDirectory(prefix="celosia-") as folder:
        report = Path(folder) / "report.json"
        with contextlib.suppress(CheckFailed):
            synthesize_board(
                PRESETS["ulx3s"],
                BOARD,
                Path(folder) / "out",
                frequency=BOARD_CLOCK,
                seeds=BOARD_SEEDS,
                report=report,
                progress=print,
            )
        return json.loads(report.read_text())


def figure(measure: Callable[[], dict[str, Any]], key: str, *others: str) -> dict[str, object]:
    """Return one figure, and what else its record has."""
    result = measure()
    return {"value": result[key], **{name: result[name] for name in others}}


def of_board(name: str, unit: str, target: float, limit: float | None, *keys: str) -> Measurement:
    """Return the measurement of a figure of the board."""
    return Measurement(name, target, limit, unit, "ulx3s", partial(figure, board, *keys))


def of_arrays() -> list[Measurement]:
    """Return the measurements of arrays of all kinds."""
    keys = ("lut4_per_mac", "ff_per_mac", "multipliers_per_mac")
    found = []
    for name, (kind, sparsity, count, luts) in ARRAYS.items():
        figures = partial(figure, partial(per_mac, kind, sparsity, count), *keys)
        name = f"area.pe.{name}.lut4_per_mac"
        found.append(Measurement(name, luts, None, "LUT4/MAC", "small", figures))
    for name, clock in CLOCKS.items():
        kind, _, sparsity = name.partition(".m")
        figures = partial(figure, partial(array, kind, int(sparsity or 1)), "fmax_mhz")
        found.append(Measurement(f"fmax.pe.{name}", clock, None, "MHz", "small", figures))
    return found


MEASUREMENTS = [
    *of_arrays(),
    of_board("fmax.ulx3s", "MHz", BOARD_CLOCK, None, "fmax_mhz", "fmax_by_seed", "critical_path"),
    of_board("area.ulx3s.lut", "LUT4", CHIP.luts, CHIP.luts, "luts", "modules"),
    of_board("area.ulx3s.ff", "FF", CHIP.flip_flops, CHIP.flip_flops, "FF"),
    of_board("area.ulx3s.mult", "MULT18X18D", BOARD_MULTIPLIERS, CHIP.multipliers, "MULT18X18D"),
    of_board("area.ulx3s.bram", "DP16KD", CHIP.block_rams, CHIP.block_rams, "DP16KD"),
]


if __name__ == "__main__":
    main(str(__doc__), "bench_area.py", MEASUREMENTS)
