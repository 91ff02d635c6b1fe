"""Bitstreams: Amaranth's build plan for a board, run by the open tools, each step once."""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from celosia.errors import ToolError
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
    time_limit: float | None = None,
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
        Placements to try, as many at once as there are processors; the fastest one counts, and
        one that fails only if all do.
    first_seed : int
        Seed of the first one; those of the others follow it.
    time_limit : float, optional
        Minutes after which a placement is given up.
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

    last_seed = first_seed + seeds - 1
    which = f" of {first_seed} to {last_seed}" if seeds > 1 else ""

    def place(seed: int) -> Path:
        options = ["--timing-allow-fail", "--report", "report.json", "--seed", str(seed)]
        options += flow.options
        if frequency is not None:
            options += ["--freq", f"{frequency:g}"]

        def route(folder: Path) -> None:
            progress(f"placing and routing, seed {seed}{which}")
            for suffix in (flow.netlist, flow.constraints):
                shutil.copyfile(synthesis / f"{_NAME}.{suffix}", folder / f"{_NAME}.{suffix}")
            words = [*options, *arguments[flow.router]]
            run_tool(flow.router, words, folder, log=f"{_NAME}.tim", time_limit=time_limit)
            (folder / f"{_NAME}.{flow.netlist}").unlink()

        folder = _once(cache, "route", [synthesis.name, versions[flow.router], *options], route)
        if seeds > 1:
            progress(f"seed {seed} reaches {_fmax(_report(folder)):.1f} MHz")
        return folder

    routes = _place_all(place, range(first_seed, last_seed + 1), progress)
    reports = {seed: _report(folder) for seed, folder in routes.items()}
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


def _place_all(
    place: Callable[[int], Path], seeds: Sequence[int], progress: Callable[[str], None]
) -> dict[int, Path]:
    """Place with each seed; return the folders of those that succeed, if any does."""
    pool = ThreadPoolExecutor(min(len(seeds), os.cpu_count() or 1))
    try:
        under_way = {seed: pool.submit(place, seed) for seed in seeds}
        wait(under_way.values())
    finally:
        pool.shutdown(cancel_futures=True)  # after an interrupt no other one begins
    routes, errors = {}, {}
    for seed, placed in under_way.items():
        try:
            routes[seed] = placed.result()
        except ToolError as error:
            errors[seed] = error
    if not routes:
        raise errors[seeds[0]]
    for seed, error in errors.items():
        progress(f"without seed {seed}: {error}")
    return routes


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


def _report(folder: Path) -> dict[str, Any]:
    """Return the report of a route."""
    return json.loads((folder / "report.json").read_text())


def _fmax(report: dict[str, Any]) -> float:
    return min((clock["achieved"] for clock in report["fmax"].values()), default=0.0)
