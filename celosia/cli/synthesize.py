"""What `celosia synthesize` does: bitstreams for boards, sizes of single cores."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celosia.atomic import atomic_directory, atomic_write
from celosia.config import MachineConfig
from celosia.errors import CheckFailed, ConfigError
from celosia.generate import cache_root
from celosia.platforms.area import measure_core
from celosia.platforms.board import Board, BoardTop
from celosia.platforms.boards import board as board_named
from celosia.platforms.build import Build, build_bitstream
from celosia.platforms.estimate import Estimate, has_estimates
from celosia.platforms.estimate_micro import micro_resources
from celosia.platforms.fit import check_array_fit, check_fit, resource_name
from celosia.platforms.flash_pads import check_flash
from celosia.platforms.flow import Flow
from celosia.platforms.lone_array import LoneArray
from celosia.platforms.report import critical_path, utilisation_by_module
from celosia.platforms.sdram_pads import check_sdram
from celosia.platforms.tools import find_tool

__all__ = [
    "CORES",
    "core_component",
    "synthesize_board",
    "synthesize_core",
]

#: Cores that are measured alone.
CORES = ("systolic", "requant", "activation", "softmax", "vector")
#: Modules of which the parts are reported too.
OPENED = ("", "machine", "machine.matrix")


def _silent(text: str) -> None:
    pass


def synthesize_board(
    config: MachineConfig,
    board: str,
    out: Path,
    *,
    core: str | None = None,
    frequency: float | None = None,
    seeds: int = 1,
    first_seed: int = 1,
    time_limit: float | None = None,
    report: Path | None = None,
    cache: Path | None = None,
    progress: Callable[[str], None] = _silent,
) -> dict[str, Any]:
    """Build the bitstream of a machine, or of its array alone, for a board.

    The folder `out` is replaced as a whole and then holds the bitstream `NAME.bit` (`.bin` of an
    iCE40, `.fs` of Gowin's chips), if the clock is reached, `report.json`, and the logs of the
    tools.

    Parameters
    ----------
    config : MachineConfig
        The machine.
    board : str
        Name of the board.
    out : Path
        Folder to write.
    core : str, optional
        "systolic" for the array alone, behind the registers of `LoneArray`.
    frequency : float, optional
        Clock of the machine in MHz; that of its SDRAM, or the board's own choice, by default.
        With a DDR3 it is rounded to what LiteDRAM's generator makes of the board's clock.
    seeds : int
        Placements to try, as many at once as there are processors; the fastest one counts.
    first_seed : int
        Seed of the first one; those of the others follow it.
    time_limit : float, optional
        Minutes after which a placement is given up.
    report : Path, optional
        File to write the result to, as JSON.
    cache : Path, optional
        Where steps of builds are kept.
    progress : callable
        Told what begins.

    Returns
    -------
    dict
        What is in `report.json`: sizes, of the whole and by module, clock, critical path.

    Raises
    ------
    ConfigError
        If the board is not known, or the machine or the clock does not fit it.
    ToolError
        If a tool is missing or fails, or no placement ends in time.
    CheckFailed
        If the clock is not reached; the report is written all the same.
    """
    from celosia.rtl.machine import machine

    platform = board_named(board)
    _check_fit(config, platform, core)
    estimated = _estimated(config, platform) if core is None else {}
    if estimated:
        counts = (f"{count:,} {resource_name(name)}" for name, count in estimated.items())
        progress(f"expecting {', '.join(counts)}")
    sdram = config.memory == "sdram" and core is None
    ddr3 = config.memory == "axi4" and core is None
    usual = platform.ddr3.frequency if ddr3 else platform.frequency
    wanted = frequency or (config.sdram_mhz if sdram else usual)
    settings, divisor = platform.clocks(wanted, config if ddr3 else None)
    if sdram:
        check_sdram(config, platform, settings.output)
    if config.memory == "flash" and core is None:
        check_flash(config, platform, settings.output)
    for tool in platform.flow.tools:
        find_tool(tool)
    design = machine(config) if core is None else LoneArray(config)
    build = build_bitstream(
        platform,
        BoardTop(design, settings, divisor),
        cache_root() / "synthesis" if cache is None else cache,
        frequency=None if platform.flow.derives_clock else settings.output,
        seeds=seeds,
        first_seed=first_seed,
        time_limit=time_limit,
        progress=progress,
    )
    result = {
        "config": config.name,
        "board": board,
        **({} if core is None else {"core": core}),
        "frequency_mhz": settings.output,
        **_result(build, platform.flow),
        **({"estimated": estimated} if estimated else {}),
        "timing_met": build.fmax[build.seed] >= settings.output,
        "bitstream": f"{config.name}{build.bitstream.suffix}",
    }
    text = json.dumps(result, indent=2) + "\n"
    with atomic_directory(out) as folder:
        if result["timing_met"]:
            shutil.copyfile(build.bitstream, folder / result["bitstream"])
        (folder / "report.json").write_text(text)
        for tool, log in build.logs.items():
            shutil.copyfile(log, folder / f"{tool}.log")
    if report is not None:
        atomic_write(report, text)
    if not result["timing_met"]:
        raise CheckFailed(
            f"configuration {config.name!r} reaches {result['fmax_mhz']:g} MHz on {board}, not "
            f"{settings.output:g} MHz; ask for a lower frequency or try more seeds (report "
            f"in {out})"
        )
    return result


def _estimated(config: MachineConfig, board: Board) -> dict[str, int]:
    """Return what a machine is expected to take of a board's chip, if that is known."""
    if config.engine == "micro":
        return micro_resources(board)
    return Estimate(config).resources() if has_estimates(board) else {}


def _check_fit(config: MachineConfig, board: Board, core: str | None) -> None:
    """Check that a machine, or its array alone, can be built for a board.

    Raises
    ------
    ConfigError
        If it cannot.
    """
    if core is None:
        check_fit(config, board)
        return
    if core != "systolic":
        raise ConfigError(f"core {core!r} cannot be alone on a board; systolic can")
    if config.sparsity > 1:
        raise ConfigError(
            f"configuration {config.name!r}: sparsity must be 1 in an array alone on a board, not "
            f"{config.sparsity}"
        )
    check_array_fit(config, board)


def _result(build: Build, flow: Flow) -> dict[str, Any]:
    """Return what was counted in the netlist and placed, and how fast it is."""
    modules = utilisation_by_module(build.netlist, OPENED, counted=flow.counted)
    sums = {name: sum(row[name] for row in modules.values()) for name in flow.counted}
    return {
        **sums,
        "flip_flops": sums["FF"],  # where the router does not tell, or the same
        **flow.resources(build.report),
        "fmax_mhz": round(build.fmax[build.seed], 1),
        "seed": build.seed,
        "fmax_by_seed": {str(seed): round(fmax, 1) for seed, fmax in build.fmax.items()},
        "critical_path": critical_path(build.report),
        "modules": modules,
    }


def synthesize_core(
    name: str,
    config: MachineConfig,
    *,
    pe: str | None = None,
    frequency: float = 150,
    seeds: int = 1,
    report: Path | None = None,
    progress: Callable[[str], None] = _silent,
) -> dict[str, Any]:
    """Synthesise, place and route one core alone, between registers, on an ECP5-85F.

    Parameters
    ----------
    name : str
        One of `CORES`.
    config : MachineConfig
        The machine that it is a part of.
    pe : str, optional
        Kind of the elements of the array, "multiply" by default.
    frequency : float
        Clock that the placer aims at, in MHz.
    seeds : int
        Placements to try; the fastest one counts.
    report : Path, optional
        File to write the result to, as JSON.
    progress : callable
        Told what begins.

    Returns
    -------
    dict
        `core`, `config`, with an array `pe`, and what `measure_core` counts.

    Raises
    ------
    ConfigError
        If there is no such core or kind, or if a kind is given for another core.
    ToolError
        If a tool is missing or fails.
    """
    core = core_component(name, config, pe)
    progress(f"synthesising, placing and routing {name}{f' of {pe}' if pe else ''}")
    result = {
        "core": name,
        "config": config.name,
        **({"pe": pe or "multiply"} if name == "systolic" else {}),
        **measure_core(core, frequency=frequency, seeds=seeds),
    }
    if report is not None:
        atomic_write(report, json.dumps(result, indent=2) + "\n")
    return result


def core_component(name: str, config: MachineConfig, pe: str | None = None) -> Any:
    """Return a core of a machine, with one bit of tag where it has a tag.

    Raises
    ------
    ConfigError
        If there is no such core or kind of element, or if a kind is given for another core.
    """
    from celosia.cores.activation import TableActivation
    from celosia.cores.requant import Requantiser
    from celosia.cores.row_functions import RowFunctions
    from celosia.cores.softmax import StreamingSoftmax
    from celosia.cores.systolic import SystolicArray

    if pe is not None and name != "systolic":
        raise ConfigError(f"core {name!r} has no processing elements; give --pe with systolic")
    match name:
        case "systolic":
            return SystolicArray(config, pe or "multiply")
        case "requant":
            return Requantiser(config, 1)
        case "activation":
            return TableActivation(config, 1)
        case "softmax":
            return StreamingSoftmax(config)
        case "vector":
            return RowFunctions(config)
    raise ConfigError(f"core {name!r} is not known; known: {', '.join(CORES)}")
