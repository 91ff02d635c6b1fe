"""What the benchmark scripts share: their options, and the records that they print and write."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from celosia.atomic import atomic_write
from celosia.errors import CelosiaError

__all__ = ["Measurement", "main"]


@dataclass(frozen=True)
class Measurement:
    """One figure.

    Attributes
    ----------
    name : str
        Its name, dotted; it never changes.
    target : float or None
        What is aimed at.
    limit : float or None
        Its physical bound.
    unit, config : str
        Unit, and the configuration that it is measured on.
    measure : callable
        Returns a dict with `value`, and whatever else the record should say.
    """

    name: str
    target: float | None
    limit: float | None
    unit: str
    config: str
    measure: Callable[[], dict[str, object]]


def main(about: str, script: str, measurements: Sequence[Measurement]) -> None:
    """Measure what the command line asks for, print it, and write the records.

    Parameters
    ----------
    about : str
        What the script says of itself.
    script : str
        Its file's name, for the commands in the records.
    measurements : sequence of Measurement
        All that it can measure.
    """
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the records here")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="measure only these")
    arguments = parser.parse_args()
    known = [measurement.name for measurement in measurements]
    for name in arguments.only or ():
        if name not in known:
            parser.error(f"no measurement {name!r}; there are {', '.join(known)}")
    records = []
    try:
        for one in measurements:
            if arguments.only is None or one.name in arguments.only:
                records.append(_record(one, script))
    except CelosiaError as error:
        sys.exit(f"error: {error}")
    finally:
        if arguments.json and records:
            atomic_write(arguments.json, json.dumps(records, indent=2) + "\n")


def _record(one: Measurement, script: str) -> dict[str, object]:
    found = one.measure()
    value = found["value"]
    aim = "" if one.target is None else f"   target {one.target:g}"
    bound = "" if one.limit is None else f"   limit {one.limit:g}"
    print(f"{one.name:32} {value:>12,.5g} {one.unit}{aim}{bound}", flush=True)
    return {
        "name": one.name,
        "unit": one.unit,
        "target": one.target,
        "limit": one.limit,
        "config": one.config,
        "how": f"python scripts/{script} --only {one.name}",
        **found,
    }
