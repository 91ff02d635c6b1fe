"""Standard cells: a mapped netlist, area by module, timing and power, with open tools.

Yosys maps to the cells of a liberty file, OpenSTA analyses the netlist. Memories become macros
(`celosia.platforms.asic_macros`), of which no timing is known: paths through them are left out.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amaranth.back import rtlil  # pyright: ignore[reportAttributeAccessIssue]
from amaranth.hdl import Elaboratable

from celosia.errors import ConfigError, ToolError
from celosia.platforms.asic_macros import Macro, extract_macros, macro_model
from celosia.platforms.ecp5 import REMOVE_COLLISION_LOGIC
from celosia.platforms.tools import run_tool

__all__ = ["AsicResult", "find_liberty", "smallest_inverter", "synthesize_asic"]

#: Where Debian's package qflow-tech-osu018 puts its cells.
DEFAULT_LIBERTY = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")


@dataclass(frozen=True)
class AsicResult:
    """What became of a design.

    Attributes
    ----------
    cells : int
        Standard cells.
    area : float
        Their area in the unit of the liberty file, that of macros left out.
    areas : dict of str to float
        The same by module.
    macros : list of dict
        Memories: name, how many, bits of one.
    slack_ns, power_mw : float or None
        Of the worst path at the period asked for; and power by default activity. None if OpenSTA
        is not installed, or the cells have no timing or power.
    period_ns : float
        The period.
    """

    cells: int
    area: float
    areas: dict[str, float]
    macros: list[dict[str, Any]]
    period_ns: float
    slack_ns: float | None = None
    power_mw: float | None = None
    warnings: list[str] = field(default_factory=list)


def find_liberty(path: Path | None) -> Path:
    """Return the liberty file to use: the one given, or osu018 from Debian's packages.

    Raises
    ------
    ConfigError
        If it is not there.
    """
    found = DEFAULT_LIBERTY if path is None else path
    if not found.is_file():
        cure = (
            "install qflow-tech-osu018 (Debian) or give --liberty FILE"
            if path is None
            else "give the path of a .lib file"
        )
        raise ConfigError(f"liberty file {found} is not there; {cure}")
    if "library" not in found.read_text(errors="replace")[:4000]:
        raise ConfigError(f"{found} is not a liberty file: it does not begin with a library")
    return found


def synthesize_asic(
    design: Elaboratable,
    build: Path,
    *,
    liberty: Path,
    period: float,
    ports: list[Any] | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> AsicResult:
    """Map a design to standard cells, in the folder `build`.

    It then holds `netlist.v` (flat, mapped), `macros.v` (models of the memories) and the logs.

    Parameters
    ----------
    design : Elaboratable
        What to synthesise, with one clock `clk`.
    build : Path
        Folder to work in.
    liberty : Path
        Cells.
    period : float
        Clock period to aim at, in ns.
    ports : list, optional
        Ports; those of the signature by default.
    progress : callable
        Told what begins.

    Raises
    ------
    ToolError
        If a tool fails.
    """
    build.mkdir(parents=True, exist_ok=True)
    progress("elaborating")
    (build / "top.il").write_text(rtlil.convert(design, name="top", ports=ports))
    shutil.copyfile(liberty, build / "cells.lib")
    buffered = ""
    if driver := smallest_inverter(liberty.read_text(errors="replace")):
        (build / "drive.constr").write_text(f"set_driving_cell {driver}\n")
        buffered = "-constr drive.constr"
    progress("finding memories")
    # Reads and writes of one word in one cycle are excluded where memories are large.
    _yosys(
        build,
        "memories",
        "read_rtlil top.il\nhierarchy -check -top top\nproc\nopt_clean\n"
        f"{REMOVE_COLLISION_LOGIC}\nmemory -nomap\nopt_clean\n"
        "write_json memories.json\n",
    )
    netlist = json.loads((build / "memories.json").read_text())
    macros = extract_macros(netlist)
    (build / "macros.json").write_text(json.dumps(netlist))
    (build / "macros.v").write_text("\n".join(map(macro_model, macros)))

    progress("mapping to cells")
    _yosys(
        build,
        "mapping",
        "read_json macros.json\nsynth -top top -run coarse:check\n"
        f"dfflibmap -liberty cells.lib\nabc -D {1000 * period:g} -liberty cells.lib {buffered}\n"
        "setundef -zero\nopt_clean -purge\ntee -q -o area.json stat -json -liberty cells.lib\n"
        "flatten\nopt_clean -purge\nwrite_verilog -noattr -noexpr netlist.v\n"
        # OpenSTA takes no ports with a sign, and its power analysis ends at a constant.
        "hilomap -singleton -hicell ONE Y -locell ZERO Y\nsplitnets -ports -format __\n"
        "opt_clean -purge\nwrite_verilog -noattr -noexpr sta.v\n",
    )
    result = _areas(json.loads((build / "area.json").read_text()), macros, period)
    if shutil.which("sta") is None:
        warning = "OpenSTA was not found, so neither timing nor power: install opensta (Debian)"
        return AsicResult(**{**result, "warnings": [warning]})
    progress("analysing timing and power")
    return AsicResult(**result, **_analyse(build, period))


def smallest_inverter(liberty: str) -> str | None:
    """Return the name of the smallest inverter of a liberty file that says delays, if it has one.

    Mapping takes it for what drives registers' outputs, which are inputs to it, and so gives nets
    with many ends a tree of buffers. Registers are no weaker than the smallest inverter.
    """
    if "cell_rise" not in liberty:
        return None
    found = []
    for cell in re.split(r"^\s*cell\s*\(", liberty, flags=re.MULTILINE)[1:]:
        if re.search(r"dont_use\s*:\s*true", cell):
            continue
        functions = re.findall(r'function\s*:\s*"([^"]*)"', cell)
        area = re.search(r"area\s*:\s*([\d.eE+-]+)", cell)
        if area and len(functions) == 1 and re.fullmatch(r"\(?(!\s*\w+|\w+')\)?", functions[0]):
            found.append((float(area[1]), cell.split(")")[0].strip(' "')))
    return min(found)[1] if found else None


def _yosys(build: Path, name: str, script: str) -> None:
    (build / f"{name}.ys").write_text(script)
    run_tool("yosys", ["-q", "-l", f"{name}.log", f"{name}.ys"], build, log=f"{name}.log")


def _areas(report: dict[str, Any], macros: dict[Macro, int], period: float) -> dict[str, Any]:
    """Return area and cells of the whole, and by module; copies count."""
    modules = {name.lstrip("\\"): one for name, one in report["modules"].items()}
    whole = report.get("design", modules.get("top", {}))
    areas = {name: float(one.get("area", 0.0)) for name, one in modules.items()}
    kinds = {macro.name for macro in macros}
    cells = sum(
        _count(number)
        for kind, number in whole.get("num_cells_by_type", {}).items()
        if kind not in kinds and kind.lstrip("\\") not in modules
    )
    return {
        "cells": cells,
        "area": float(whole.get("area", areas.get("top", 0.0))),
        "areas": {name: area for name, area in areas.items() if area and name not in kinds},
        "macros": [
            {"name": macro.name, "count": count, "bits": macro.bits}
            for macro, count in sorted(macros.items(), key=lambda item: item[0].name)
        ],
        "period_ns": period,
    }


def _count(number: Any) -> int:
    """Cells of a type; newer versions of yosys tell their area beside it."""
    return int(number["count"] if isinstance(number, dict) else number)


def _analyse(build: Path, period: float) -> dict[str, Any]:
    """Return the worst slack in ns and the power in mW, if the cells say enough."""
    (build / "sta.tcl").write_text(
        "set link_make_black_boxes 1\nread_liberty cells.lib\nread_verilog sta.v\n"
        f"link_design top\ncreate_clock -name clk -period {period:g} [get_ports clk]\n"
        "report_checks -path_delay max\nreport_power\nexit\n"
    )
    done = subprocess.run(
        ["sta", "-exit", "sta.tcl"], cwd=build, capture_output=True, text=True, check=False
    )
    text = done.stdout + done.stderr
    (build / "sta.log").write_text(text)
    slack = re.search(r"(\S+)\s+slack \((?:MET|VIOLATED)\)", text)
    power = re.search(r"^Total\s+(?:\S+\s+){3}(\S+)", text, re.MULTILINE)
    error = re.search(r"^Error:.*$", text, re.MULTILINE)
    if error or done.returncode:
        raise ToolError(f"sta failed: {error[0] if error else f'status {done.returncode}'}")
    # Cells without arcs or without power have neither.
    return {
        "slack_ns": float(slack[1]) if slack else None,
        "power_mw": 1000 * float(power[1]) if power else None,
    }
