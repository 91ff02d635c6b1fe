"""Runs the benches of all cores on their netlists, of three families of FPGAs, and whole machines.

The value is 1 if every test passes. `caught` says how many netlists with one inverted wire, of
`faults`, the same benches found wrong. Netlists that are wrong make the exit status 1.
"""

import json
import sys
import tempfile
from functools import partial
from pathlib import Path

from records import Measurement, main

from celosia.errors import CheckFailed

sys.path.append(str(Path(__file__).parents[1] / "sim_tests"))

from netlist_cores import CORES
from netlist_machine import MACHINES, machine, selftest
from netlists import FAMILIES, FAULTS, bench, synthesise

__all__ = ["MEASUREMENTS"]

#: Netlists that are not equal to their Verilog, and why.
WRONG: dict[str, str] = {}


def _core(name: str, family: str) -> dict[str, object]:
    core = CORES[name]
    design = core.make()
    benches = core.benches(design)
    netlist = synthesise(design, FAMILIES[family])
    with tempfile.TemporaryDirectory(prefix="celosia-") as folder:
        try:
            found = bench(netlist, benches, Path(folder))
        except CheckFailed as error:
            return _wrong(f"netlist.{family}.{name}", error, netlist.cells)
    return {
        "value": 1,
        "tests": found.tests,
        "cycles": found.cycles,
        "faults": FAULTS,
        "caught": found.caught,
        "cells": netlist.cells,
    }


def _machine(family: str) -> dict[str, object]:
    netlist, config = machine(family), MACHINES[family]
    caught = 0
    try:
        found = selftest(netlist, config)
    except CheckFailed as error:
        return _wrong(f"netlist.{family}.machine", error, netlist.cells)
    for fault in range(1, FAULTS + 1):
        try:
            selftest(netlist, config, fault=fault)
        except CheckFailed:
            caught += 1
    return {
        "value": 1,
        "compared": {name: part["compared"] for name, part in found["parts"].items()},
        "faults": FAULTS,
        "caught": caught,
        "cells": netlist.cells,
    }


def _wrong(name: str, error: CheckFailed, cells: dict[str, int]) -> dict[str, object]:
    WRONG[name] = str(error)
    return {"value": 0, "cells": cells, "error": str(error)}


def _shown(measure: partial[dict[str, object]]) -> dict[str, object]:
    """Measure, and say what the netlist is made of."""
    found = measure()
    print("   " + json.dumps(found["cells"]).strip("{}").replace('"', ""), flush=True)
    return found


MEASUREMENTS = [
    *(
        Measurement(
            f"netlist.{family}.{name}",
            1,
            1,
            "equal",
            name,
            partial(_shown, partial(_core, name, family)),
        )
        for name in CORES
        for family in FAMILIES
    ),
    *(
        Measurement(
            f"netlist.{family}.machine",
            1,
            1,
            "equal",
            config.name,
            partial(_shown, partial(_machine, family)),
        )
        for family, config in MACHINES.items()
    ),
]

if __name__ == "__main__":
    main(str(__doc__), "bench_netlists.py", MEASUREMENTS)
    for name, error in WRONG.items():
        print(f"{name}: {error}", file=sys.stderr)
    sys.exit(bool(WRONG))
