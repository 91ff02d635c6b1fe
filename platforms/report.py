"""What a build takes, module by module, and what limits its clock."""

import json
import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

__all__ = ["RESOURCES", "critical_path", "used", "utilisation_by_module"]

#: Cells of the netlist that count as what; a cell may be several LUTs.
_CELLS = {
    "LUT4": {"LUT4": 1, "LUT": 1},
    # ECP5. A carry cell holds two bits, each with a LUT of its own.
    "CCU2C": {"CCU2C": 1, "LUT": 2},
    # A distributed RAM of 16 x 4 takes four LUTs to read, and two sites of a slice to write.
    "TRELLIS_DPR16X4": {"RAM16X4": 1, "LUT": 4},
    "TRELLIS_FF": {"FF": 1},
    "MULT18X18D": {"MULT18X18D": 1},
    "DP16KD": {"DP16KD": 1},
    "PDPW16KD": {"DP16KD": 1},
    # iCE40. A carry shares the cell of a LUT.
    "SB_LUT4": {"LUT4": 1, "LUT": 1},
    "SB_CARRY": {"SB_CARRY": 1},
    "SB_MAC16": {"SB_MAC16": 1},
    "SB_RAM40_4K": {"SB_RAM40_4K": 1},
    # Gowin. A carry takes a LUT, a distributed RAM of 16 x 4 four.
    **{f"LUT{inputs}": {"LUT4": 1, "LUT": 1} for inputs in (1, 2, 3)},
    "ALU": {"ALU": 1, "LUT": 1},
    **{f"RAM16S{kind}4": {"RAM16X4": 1, "LUT": 4} for kind in ("P", "DP")},
    "MULT9X9": {"MULT9X9": 1},
    "MULT18X18": {"MULT18X18": 1},
    **{kind: {"BSRAM": 1} for kind in ("SP", "SPX9", "SDPB", "SDPX9B", "DPB", "DPX9B")},
}
#: Flip-flops of iCE40 and of Gowin, with enable, reset or set, negative edge.
_FLIP_FLOP = re.compile(r"SB_DFFN?(E?(S[RS]|[RS])?)|DFFN?([SRPC]?E?)")
#: What is counted on an ECP5, in the order of a table: LUTs of any use, then their parts.
RESOURCES = ("LUT", "FF", "MULT18X18D", "DP16KD", "LUT4", "CCU2C", "RAM16X4")


def utilisation_by_module(
    netlist: Path,
    opened: Collection[str],
    *,
    counted: Sequence[str] = RESOURCES,
    top: str = "top",
) -> dict[str, dict[str, int]]:
    """Count the cells of a flattened netlist by the modules that they come from.

    Synthesis names each cell after a signal of the design that it makes, or helps to make, and so
    by the module in which that signal is; where logic of two modules was joined, the cell counts
    for one of them.

    Parameters
    ----------
    netlist : Path
        JSON that yosys wrote.
    opened : collection of str
        Paths of the modules whose submodules are counted each by itself; the path of the top
        module is empty. What lies directly in such a module counts for the module.
    counted : sequence of str
        What to count.
    top : str
        Name of the top module.

    Returns
    -------
    dict
        What is counted, of each module, by its path; the modules are disjoint.
    """
    cells = json.loads(netlist.read_text())["modules"][top]["cells"]
    scopes = {"", *(name for name, cell in cells.items() if cell["type"] == "$scopeinfo")}
    table: dict[str, Counter[str]] = {}
    for name, cell in cells.items():
        kind = cell["type"]
        found = {"FF": 1} if _FLIP_FLOP.fullmatch(kind) else _CELLS.get(kind)
        if found:
            module = _group(name, scopes, opened)
            table.setdefault(module, Counter()).update(found)
    return {
        module: {resource: table[module][resource] for resource in counted}
        for module in sorted(table)
    }


def _group(name: str, scopes: Collection[str], opened: Collection[str]) -> str:
    """Return the path of the module that the cell called `name` counts for."""
    path = ""
    while path in opened:
        rest = name.removeprefix(f"{path}.") if path else name
        # The names of signals have dots too, so only scopes are modules.
        step = f"{path}.{rest.partition('.')[0]}" if path else rest.partition(".")[0]
        if "." not in rest or step not in scopes:
            break
        path = step
    return path


def used(report: dict[str, Any], resource: str) -> int:
    """Return how many of a resource are placed, from nextpnr's report."""
    return report["utilization"][resource]["used"]


def critical_path(report: dict[str, Any]) -> dict[str, Any]:
    """Return the slowest path between two registers, from nextpnr's report.

    The keys are `from`, `to` (cells), `delay_ns`, of that `routing_ns`, and `steps`, the cells
    passed between the registers. Without any such path the result is empty.
    """
    paths = [
        path["path"]
        for path in report["critical_paths"]
        if path["from"] == path["to"] and path["path"]
    ]
    if not paths:
        return {}
    path = max(paths, key=lambda path: sum(step["delay"] for step in path))
    return {
        "from": path[0]["from"]["cell"],
        "to": path[-1]["to"]["cell"],
        "delay_ns": round(sum(step["delay"] for step in path), 2),
        "routing_ns": round(sum(s["delay"] for s in path if s["type"] == "routing"), 2),
        "steps": sum(step["type"] == "logic" for step in path),
    }
