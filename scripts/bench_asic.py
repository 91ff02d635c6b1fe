"""Measures standard cells: area, timing and power of elements and of a machine on osu018.

Elements are measured in arrays of 4 x 4 between registers, an element's share being one sixteenth;
memories are macros and not in the area. The power is that of OpenSTA's default activity.
`make asic` installs what it needs from Debian's packages.
"""

from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

from records import Measurement, main

from celosia.cli.synthesize_asic import synthesize_cells
from celosia.config import PRESETS
from celosia.cores.pe_kinds import KINDS

__all__ = ["MEASUREMENTS"]

ARRAY = PRESETS["tiny"]
#: Clock periods in ns: of arrays, and of the machine.
PERIODS = {"array": 5.0, "small": 10.0}


@cache
def _array(kind: str) -> dict[str, object]:
    with TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        return synthesize_cells(ARRAY, out, core="systolic", pe=kind, period=PERIODS["array"])


@cache
def _machine(name: str) -> dict[str, object]:
    with TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        return synthesize_cells(PRESETS[name], out, period=PERIODS[name], progress=print)


def _area(kind: str) -> dict[str, object]:
    found = _array(kind)
    areas = found["areas"]
    assert isinstance(areas, dict)
    return {"value": areas["top.core"] / ARRAY.multipliers, **found}


def _clock(found: dict[str, object]) -> dict[str, object]:
    period, slack = found["period_ns"], found["slack_ns"]
    assert isinstance(period, float) and isinstance(slack, float)
    return {"value": 1000 / (period - slack), "slack_ns": slack, "period_ns": period}


MEASUREMENTS = [
    *(
        Measurement(f"asic.pe.{kind}.area", None, None, "um2/element", "4x4", partial(_area, kind))
        for kind in KINDS
    ),
    *(
        Measurement(
            f"asic.pe.{kind}.fmax",
            None,
            None,
            "MHz",
            "4x4",
            lambda kind=kind: _clock(_array(kind)),
        )
        for kind in KINDS
    ),
    Measurement(
        "asic.small.area",
        None,
        None,
        "um2",
        "small",
        lambda: {"value": _machine("small")["area"], **_machine("small")},
    ),
    Measurement("asic.small.fmax", None, None, "MHz", "small", lambda: _clock(_machine("small"))),
    Measurement(
        "asic.small.power",
        None,
        None,
        "mW",
        "small",
        lambda: {"value": _machine("small")["power_mw"]},
    ),
]

if __name__ == "__main__":
    main(str(__doc__), "bench_asic.py", MEASUREMENTS)
