"""Measures what the array and a whole board take of an ECP5, and the clocks that they reach."""

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from celosia.atomic import atomic_write
from celosia.cli.synthesize import synthesize_board, synthesize_core
from celosia.config import PRESETS
from celosia.errors import CelosiaError, CheckFailed
from celosia.platforms.boards import BOARDS

BOARD = "ulx3s-85f"
SEEDS = 2


def array() -> dict[str, float]:
    """Measure the 8x8 array alone: LUTs with those in carry cells, and clock."""
    config = PRESETS["small"]
    result = synthesize_core("systolic", config, seeds=SEEDS, progress=print)
    return {
        "area.pe.multiply.lut4_per_mac": round(result["comb"] / config.multipliers, 2),
        "fmax.pe.multiply": result["fmax_mhz"],
    }


def whole_board() -> dict[str, float]:
    """Measure a machine on a board, also if it misses the board's clock."""
    with tempfile.TemporaryDirectory(prefix="celosia-") as folder:
        report = Path(folder) / "report.json"
        with contextlib.suppress(CheckFailed):
            synthesize_board(
                PRESETS["ulx3s"], BOARD, Path(folder) / "out", report=report, progress=print
            )
        result = json.loads(report.read_text())
    return {
        "fmax.ulx3s": result["fmax_mhz"],
        "area.ulx3s.lut": result["TRELLIS_COMB"],
        "area.ulx3s.ff": result["FF"],
        "area.ulx3s.mult": result["MULT18X18D"],
        "area.ulx3s.bram": result["DP16KD"],
    }


CHIP = BOARDS[BOARD]
#: Name, what measures it, unit, target, limit of the chip, preset. A board's target is to fit.
MEASUREMENTS: list[tuple[str, Callable[[], dict[str, float]], str, float, float | None, str]] = [
    ("area.pe.multiply.lut4_per_mac", array, "LUT4/MAC", 22, None, "small"),
    ("fmax.pe.multiply", array, "MHz", 140, None, "small"),
    ("fmax.ulx3s", whole_board, "MHz", CHIP.frequency, None, "ulx3s"),
    ("area.ulx3s.lut", whole_board, "LUT4", CHIP.luts, CHIP.luts, "ulx3s"),
    ("area.ulx3s.ff", whole_board, "FF", CHIP.flip_flops, CHIP.flip_flops, "ulx3s"),
    ("area.ulx3s.mult", whole_board, "MULT18X18D", CHIP.multipliers, CHIP.multipliers, "ulx3s"),
    ("area.ulx3s.bram", whole_board, "DP16KD", CHIP.block_rams, CHIP.block_rams, "ulx3s"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the records here")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="measure only these")
    arguments = parser.parse_args()
    known = [name for name, *_ in MEASUREMENTS]
    for name in arguments.only or ():
        if name not in known:
            parser.error(f"no measurement {name!r}; there are {', '.join(known)}")
    values: dict[str, float] = {}
    records = []
    for name, measure, unit, target, limit, preset in MEASUREMENTS:
        if arguments.only is not None and name not in arguments.only:
            continue
        if name not in values:
            values |= measure()
        records.append({
            "name": name,
            "value": values[name],
            "unit": unit,
            "target": target,
            "limit": limit,
            "config": preset,
            "how": f"python scripts/bench_area.py --only {name}",
        })
        print(f"{name}: {values[name]:,} {unit} (target {target:,})")
    if arguments.json:
        atomic_write(arguments.json, json.dumps(records, indent=2) + "\n")


if __name__ == "__main__":
    try:
        main()
    except CelosiaError as error:
        sys.exit(f"error: {error}")
