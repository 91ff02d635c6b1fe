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
from celosia.platforms.board import BoardTop
from celosia.platforms.boards import board as board_named
from celosia.platforms.build import Build, build_bitstream
from celosia.platforms.report import critical_path, used, utilisation_by_module
from celosia.platforms.sdram_pads import check_sdram
from celosia.platforms.tools import find_tool

__all__ = [
    "CORES",
    "check_fit",
    "core_component",
    "needed_resources",
    "synthesize_board",
    "synthesize_core",
]

#: Cores that are measured alone.
CORES = ("systolic", "requant", "activation", "softmax", "vector")
#: Modules of which the parts are reported too.
OPENED = ("", "machine", "machine.matrix")
#: Shapes of one block RAM: width, depth.
_SHAPES = ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384))


def _silent(text: str) -> None:
    pass


def _block_rams(width: int, depth: int) -> int:
    """Return the block RAMs of a memory."""
    return min(-(-width // w) * -(-depth // d) for w, d in _SHAPES)


def needed_resources(config: MachineConfig) -> dict[str, int]:
    """Return what a machine takes at least of the resources that a chip has few of.

    The multipliers are exact. The block RAMs are those of the large memories.
    """
    banks = config.scratchpad_banks
    scratchpad = _block_rams(16 * config.lanes, config.scratchpad_words // banks)
    accumulators = _block_rams(config.accumulator_width * config.columns, config.accumulator_rows)
    on_chip = _block_rams(8 * config.memory_width, config.on_chip_bytes // config.memory_width)
    return {
        # The array; per column two of the requantiser; of each lane of the vector unit one for the
        # square and two for the result; per channel one for the scales of groups.
        "multipliers": config.multipliers
        + 2 * config.columns
        + 3 * config.vector_lanes
        + (2 * config.columns if config.products > 1 else 0),
        # Activation tables are of 256 words, one in each column.
        "block_rams": banks * scratchpad
        + 2 * config.products * accumulators
        + on_chip
        + config.columns,
    }


_CURES = {
    "multipliers": "reduce rows, columns or vector_lanes",
    "block_rams": "reduce on_chip_bytes, scratchpad_words or accumulator_rows",
}


def check_fit(config: MachineConfig, board: Any) -> None:
    """Check that a machine is not certainly too large for a board, and has the memory it has.

    Raises
    ------
    ConfigError
        If it does not fit.
    """
    if config.memory == "axi4":
        raise ConfigError(
            f'configuration {config.name!r}: memory must be "on_chip" or "sdram" on board '
            f"{board.name}, which has nothing at an AXI4 port; set memory"
        )
    if config.memory == "sdram":
        check_sdram(config, board)
    for resource, needed in needed_resources(config).items():
        there = getattr(board, resource)
        if needed > there:
            what = resource.replace("_", " ")
            raise ConfigError(
                f"configuration {config.name!r} needs at least {needed} {what}, but board "
                f"{board.name} has {there}; {_CURES[resource]}"
            )


def synthesize_board(
    config: MachineConfig,
    board: str,
    out: Path,
    *,
    frequency: float | None = None,
    seeds: int = 1,
    report: Path | None = None,
    cache: Path | None = None,
    progress: Callable[[str], None] = _silent,
) -> dict[str, Any]:
    """Build the bitstream of a machine for a board.

    The folder `out` is replaced as a whole and then holds the bitstream `NAME.bit`, if the clock
    is reached, `report.json`, and the logs of the tools.

    Parameters
    ----------
    config : MachineConfig
        The machine.
    board : str
        Name of the board.
    out : Path
        Folder to write.
    frequency : float, optional
        Clock of the machine in MHz; that of its SDRAM, or the board's own choice, by default.
    seeds : int
        Placements to try; the fastest one counts.
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
        If a tool is missing or fails.
    CheckFailed
        If the clock is not reached; the report is written all the same.
    """
    from celosia.rtl.top import Accelerator

    platform = board_named(board)
    check_fit(config, platform)
    wanted = config.sdram_mhz or platform.frequency if frequency is None else frequency
    settings, divisor = platform.clocks(wanted)
    if config.memory == "sdram":
        check_sdram(config, platform, settings.output)
    for tool in platform.flow.tools:
        find_tool(tool)
    top = BoardTop(Accelerator(config), settings, divisor)
    cache = cache_root() / "synthesis" if cache is None else cache
    build = build_bitstream(platform, top, cache, seeds=seeds, progress=progress)
    result = {
        "config": config.name,
        "board": board,
        "frequency_mhz": settings.output,
        **_result(build),
        "timing_met": build.fmax[build.seed] >= settings.output,
    }
    text = json.dumps(result, indent=2) + "\n"
    with atomic_directory(out) as folder:
        if result["timing_met"]:
            shutil.copyfile(build.bitstream, folder / f"{config.name}.bit")
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


def _result(build: Build) -> dict[str, Any]:
    modules = utilisation_by_module(build.netlist, OPENED)
    report = build.report
    sums = {name: sum(row[name] for row in modules.values()) for name in ("LUT4", "CCU2C")}
    return {
        **sums,
        "TRELLIS_COMB": used(report, "TRELLIS_COMB"),
        "FF": used(report, "TRELLIS_FF"),
        "MULT18X18D": used(report, "MULT18X18D"),
        "DP16KD": used(report, "DP16KD"),
        "fmax_mhz": round(build.fmax[build.seed], 1),
        "seed": build.seed,
        "fmax_by_seed": {str(seed): round(fmax, 1) for seed, fmax in build.fmax.items()},
        "critical_path": critical_path(report),
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
