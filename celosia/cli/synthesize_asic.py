"""What `celosia synthesize --asic` does: standard cells instead of a board."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from celosia.atomic import atomic_directory, atomic_write
from celosia.cli.synthesize import core_component
from celosia.config import MachineConfig
from celosia.platforms.area import Registered
from celosia.platforms.asic import find_liberty, synthesize_asic

__all__ = ["synthesize_cells"]

#: What is kept of a run: the netlist, models of memories, scripts and logs.
KEPT = ("netlist.v", "macros.v", "mapping.log", "mapping.ys", "sta.tcl", "sta.log")


def synthesize_cells(
    config: MachineConfig,
    out: Path,
    *,
    core: str | None = None,
    pe: str | None = None,
    liberty: Path | None = None,
    period: float = 10.0,
    report: Path | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Map a machine, or one core of it between registers, to standard cells.

    The folder `out` is replaced as a whole and then holds the netlist, models of the memories,
    scripts, logs and `report.json`.

    Returns
    -------
    dict
        What is in the report: cells, area, by module, memories, slack and power.

    Raises
    ------
    ConfigError
        If the core is not known or the liberty file is not there.
    ToolError
        If a tool is missing or fails.
    """
    from celosia.rtl.machine import machine

    cells = find_liberty(liberty)
    design: Any
    ports = None
    if core is None:
        design = machine(config)
    else:
        design = Registered(core_component(core, config, pe))
        ports = design.ports
    with TemporaryDirectory() as folder:
        build = Path(folder)
        found = synthesize_asic(
            design, build, liberty=cells, period=period, ports=ports, progress=progress
        )
        result = {"config": config.name, "core": core, "pe": pe, "liberty": cells.name}
        result |= asdict(found)
        text = json.dumps(result, indent=2) + "\n"
        with atomic_directory(out) as target:
            for name in KEPT:
                if (build / name).exists():
                    shutil.copyfile(build / name, target / name)
            (target / "report.json").write_text(text)
    if report is not None:
        atomic_write(report, text)
    return result
