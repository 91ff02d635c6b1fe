"""Runs the benches of all cores on their netlists, of three families of FPGAs, and a whole machine.

The machine is behind its serial bridge: the self-test and a model run through the line.

The value is 1 if every test passes. `caught` says how many netlists with one inverted wire, of
`faults`, the same benches found wrong. Netlists that are wrong make the exit status 1.
"""

import json
import sys
import tempfile
from functools import partial
from pathlib import Path

from records import Measurement, main

from celosia.compiler.program import Program
from celosia.errors import CelosiaError, CheckFailed

sys.path.append(str(Path(__file__).parents[1] / "sim_tests"))

from netlist_cores import CORES
from netlist_machine import (
    MACHINES,
    NetlistBoard,
    digits,
    digits_program,
    machine,
    selftest,
    selftest_program,
)
from netlists import FAMILIES, FAULTS, Netlist, bench, synthesise

__all__ = ["MEASUREMENTS"]

#: Images that a machine is shown.
IMAGES = 2
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
    config = MACHINES[family]
    netlist = machine(family)
    examined = selftest_program(config)
    with tempfile.TemporaryDirectory(prefix="celosia-") as folder:
        try:
            with NetlistBoard(netlist, examined, Path(folder) / "selftest") as board:
                compared = selftest(board)
            with NetlistBoard(netlist, digits_program(config), Path(folder) / "digits") as board:
                right, more = digits(board, IMAGES)
        except CelosiaError as error:
            return _wrong(f"netlist.{family}.machine", error, netlist.cells)
        faults = range(1, FAULTS + 1)
        caught = sum(_sees(netlist, examined, Path(folder), fault) for fault in faults)
    return {
        "value": 1,
        "compared": compared + more,
        "digits_right": right,
        "digits": IMAGES,
        "faults": FAULTS,
        "caught": caught,
        "cells": netlist.cells,
    }


def _sees(netlist: Netlist, program: Program, folder: Path, fault: int) -> bool:
    """Whether the self-test fails with a wire inverted."""
    try:
        with NetlistBoard(netlist, program, folder / f"fault{fault}", fault=fault) as board:
            selftest(board)
    except CelosiaError:
        return True
    return False


def _wrong(name: str, error: CelosiaError, cells: dict[str, int]) -> dict[str, object]:
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
            MACHINES[family].name,
            partial(_shown, partial(_machine, family)),
        )
        for family in FAMILIES
    ),
]

if __name__ == "__main__":
    main(str(__doc__), "bench_netlists.py", MEASUREMENTS)
    for name, error in WRONG.items():
        print(f"{name}: {error}", file=sys.stderr)
    sys.exit(bool(WRONG))
