"""Bitstreams: Amaranth's build plan for a board, run by the open tools, each step once."""

import fcntl
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from celosia.platforms.ecp5 import HIDE_ELEMENTS, REMOVE_COLLISION_LOGIC
from celosia.platforms.tools import run_tool, tool_version

__all__ = ["Build", "build_bitstream"]

_NAME = "top"
#: Written when a step is done; what it says is that the step's other outputs are whole.
_DONE = "done"


@dataclass(frozen=True, kw_only=True)
class Build:
    """A bitstream, and what the tools wrote on the way."""

    #: The bitstream.
    bitstream: Path
    #: Netlist of yosys, as JSON.
    netlist: Path
    #: Report of nextpnr: utilisation, and timing with critical paths.
    report: dict[str, Any]
    #: Logs of the tools, by tool.
    logs: dict[str, Path]
    #: Seed of the placement, the best of those tried.
    seed: int
    #: Frequency that every clock reaches, in MHz, for each seed tried.
    fmax: dict[int, float]


def build_bitstream(
    platform,
    design,
    cache: Path,
    *,
    frequency: float | None = None,
    seeds: int = 1,
    first_seed: int = 1,
    progress: Callable[[str], None] = lambda text: None,
) -> Build:
    """Build `design` for a board.

    Every step is kept in a folder of `cache` whose name is the hash of the step's inputs and the
    version of its tool, so that equal steps run once. Timing is not checked.

    Parameters
    ----------
    platform : Platform
        The board: a `celosia.platforms.board.Board` with its pins.
    design : Elaboratable
        What to build.
    cache : Path
        Where steps are kept.
    frequency : float, optional
        Clock that the placer aims at, in MHz, where a constraint does not say another.
    seeds : int
        Placements to try; the fastest one counts.
    first_seed : int
        Seed of the first one; those of the others follow it.
    progress : callable
        Told what begins.

    Raises
    ------
    ValueError
        If `seeds` is not positive.
    ToolError
        If a tool is missing or fails.
    """
    if seeds < 1:
        raise ValueError(f"seeds must be positive, not {seeds}")
    flow = platform.flow
    versions = {tool: tool_version(tool) for tool in flow.tools}
    progress("elaborating")
    script = f"{REMOVE_COLLISION_LOGIC}\n{HIDE_ELEMENTS}"
    # Without the lines of the source, which would make a comment a new design.
    plan = platform.prepare(
        design, name=_NAME, emit_src=False, script_after_read=script, **flow.overrides
    )
    commands = json.loads(plan.files[f"build_{_NAME}.json"])["commands"]
    arguments = {tool: words for tool, *words in commands}

    def synthesise(folder: Path) -> None:
        progress("synthesising")
        plan.extract(folder)
        run_tool("yosys", arguments["yosys"], folder, log=f"{_NAME}.rpt")
        netlist = folder / f"{_NAME}.{flow.netlist}"
        cells = json.loads(netlist.read_text())
        if platform.prepare_netlist(cells, top=_NAME, progress=progress):
            netlist.write_text(json.dumps(cells))

    inputs = [plan.digest().hex(), versions["yosys"], repr(platform.multiplier_sites)]
    synthesis = _once(cache, "synthesis", inputs, synthesise)

    routes = {}
    last_seed = first_seed + seeds - 1
    which = f" of {first_seed} to {last_seed}" if seeds > 1 else ""
    for seed in range(first_seed, last_seed + 1):
        options = ["--timing-allow-fail", "--report", "report.json", "--seed", str(seed)]
        options += flow.options
        if frequency is not None:
            options += ["--freq", f"{frequency:g}"]

        def route(folder: Path, seed: int = seed, options: list[str] = options) -> None:
            progress(f"placing and routing, seed {seed}{which}")
            for suffix in (flow.netlist, flow.constraints):
                shutil.copyfile(synthesis / f"{_NAME}.{suffix}", folder / f"{_NAME}.{suffix}")
            words = [*options, *arguments[flow.router]]
            run_tool(flow.router, words, folder, log=f"{_NAME}.tim")
            (folder / f"{_NAME}.{flow.netlist}").unlink()

        inputs = [synthesis.name, versions[flow.router], *options]
        routes[seed] = _once(cache, "route", inputs, route)

    reports = {
        seed: json.loads((folder / "report.json").read_text()) for seed, folder in routes.items()
    }
    fmax = {seed: _fmax(report) for seed, report in reports.items()}
    seed = max(fmax, key=lambda seed: fmax[seed])

    def pack(folder: Path) -> None:
        progress("packing")
        shutil.copyfile(routes[seed] / f"{_NAME}.{flow.routed}", folder / f"{_NAME}.{flow.routed}")
        run_tool(flow.packer, arguments[flow.packer], folder)

    packed = _once(cache, "bitstream", [routes[seed].name, versions[flow.packer]], pack)
    return Build(
        bitstream=packed / f"{_NAME}.{flow.bitstream}",
        netlist=synthesis / f"{_NAME}.{flow.netlist}",
        report=reports[seed],
        logs={
            "yosys": synthesis / f"{_NAME}.rpt",
            flow.router: routes[seed] / f"{_NAME}.tim",
            flow.packer: packed / f"{flow.packer}.log",
        },
        seed=seed,
        fmax=fmax,
    )


def _once(cache: Path, step: str, inputs: list[str], run: Callable[[Path], None]) -> Path:
    """Return the folder in which `run` has done a step on these inputs, now or earlier."""
    digest = sha256("\0".join([step, *inputs]).encode()).hexdigest()[:32]
    folder = cache / f"{step}-{digest}"
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / f"{folder.name}.lock"):
        if not (folder / _DONE).exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            run(folder)
            (folder / _DONE).touch()
    return folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fmax(report: dict[str, Any]) -> float:
    return min((clock["achieved"] for clock in report["fmax"].values()), default=0.0)
