"""`celosia synthesize`: from a configuration to a bitstream, or to the size of one core."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from celosia.cli.common import ConfigOption, JsonOption, console, number, out
from celosia.config import load_config
from celosia.errors import CelosiaError

__all__ = ["synthesize_command"]

#: What is shown of a result, and how it is called.
ROWS = {
    "LUT4": "LUT4",
    "CCU2C": "carry cells",
    "comb": "LUTs, placed",
    "luts": "LUTs, placed",
    "FF": "flip-flops",
    "MULT18X18D": "multipliers",
    "multipliers": "multipliers",
    "DP16KD": "block RAMs",
    "block_rams": "block RAMs",
}


def synthesize_command(
    config: ConfigOption,
    board: Annotated[
        str | None,
        typer.Option("-b", "--board", metavar="BOARD", help="Such as ulx3s-85f."),
    ] = None,
    core: Annotated[
        str | None,
        typer.Option(
            "--core",
            metavar="NAME",
            help="Only this core, alone, such as systolic; with --board the array on a board.",
        ),
    ] = None,
    pe: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="With systolic: kind of its elements, such as ternary."),
    ] = None,
    out_dir: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="DIR", help="Folder for the bitstream; out/CONFIG."),
    ] = None,
    frequency: Annotated[
        float | None, typer.Option(metavar="MHZ", min=1, help="Clock to reach.")
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, max=64, help="Placements to try; the fastest one counts.")
    ] = 1,
    seed: Annotated[
        int,
        typer.Option(min=1, metavar="SEED", help="With --board: the first of them, as reported."),
    ] = 1,
    time_limit: Annotated[
        float | None,
        typer.Option(
            metavar="MINUTES", min=0.01, help="With --board: when to give up a placement."
        ),
    ] = None,
    asic: Annotated[
        bool, typer.Option("--asic", help="Map the machine, or --core, to standard cells.")
    ] = False,
    liberty: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --asic: cells; osu018 of Debian by default."),
    ] = None,
    period: Annotated[
        float | None,
        typer.Option(metavar="NS", min=0.01, help="With --asic: clock period to aim at; 10."),
    ] = None,
    json: JsonOption = None,
) -> None:
    """Synthesise, place and route a machine for a board, with open tools, to a bitstream.

    With --core only one compute unit is synthesised, out of context, to learn its size and speed;
    with a board too, the array gets registers that the host reaches, for chips without room for a
    machine.
    With --asic the machine, or that unit, is mapped to standard cells: area by module, timing and
    power, the netlist and models of its memories. The first run of the tools prepares them, for a
    minute.
    """
    from celosia.cli.synthesize import synthesize_board, synthesize_core

    if asic:
        if board is not None:
            raise CelosiaError("give one of --board, --core and --asic; --core may go with --asic")
        _synthesize_cells(config, core, pe, liberty, period, out_dir, json)
        return
    if liberty is not None or period is not None:
        raise CelosiaError("--liberty and --period are for --asic; give it too")
    if board is None and core is None:
        raise CelosiaError(
            "give one of --board, for a bitstream, --core, for one core alone, and --asic"
        )
    if pe is not None and (core is None or board is not None):
        raise CelosiaError("--pe is for one core alone; give --core systolic with it, no --board")
    if seed != 1 and board is None:
        raise CelosiaError("--seed is for bitstreams; give --board with it")
    if time_limit is not None and board is None:
        raise CelosiaError("--time-limit is for bitstreams; give --board with it")
    machine = load_config(config)

    def progress(text: str) -> None:
        console.print(f"{text} …", highlight=False)

    if board is None:
        assert core is not None
        clock = {} if frequency is None else {"frequency": frequency}
        result = synthesize_core(
            core, machine, pe=pe, seeds=seeds, report=json, progress=progress, **clock
        )
        folder = None
    else:
        folder = out_dir or Path("out") / machine.name
        result = synthesize_board(
            machine,
            board,
            folder,
            core=core,
            frequency=frequency,
            seeds=seeds,
            first_seed=seed,
            time_limit=time_limit,
            report=json,
            progress=progress,
        )
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    # Some are there under the names of a family and under those of all.
    rows = {name: result[key] for key, name in ROWS.items() if isinstance(result.get(key), int)}
    for name, count in rows.items():
        table.add_row(name, number(count))
    if "fmax_mhz" in result:
        table.add_row("clock", f"{result['fmax_mhz']:g} MHz")
    if folder is not None:
        table.add_row("bitstream", str(folder / result["bitstream"]))
    out.print(table)


def _synthesize_cells(
    config: str,
    core: str | None,
    pe: str | None,
    liberty: Path | None,
    period: float | None,
    out_dir: Path | None,
    json: Path | None,
) -> None:
    from celosia.cli.synthesize_asic import synthesize_cells

    machine = load_config(config)
    folder = out_dir or Path("out") / machine.name
    result = synthesize_cells(
        machine,
        folder,
        core=core,
        pe=pe,
        liberty=liberty,
        period=10.0 if period is None else period,
        report=json,
        progress=lambda text: console.print(f"{text} …", highlight=False),
    )
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_row("cells", number(result["cells"]))
    table.add_row("area", f"{result['area']:,.0f} in the unit of {result['liberty']}")
    bits = sum(one["count"] * one["bits"] for one in result["macros"])
    count = sum(one["count"] for one in result["macros"])
    table.add_row("memories", f"{count} macros, {bits:,} bits, not in the area")
    if result["slack_ns"] is not None:
        table.add_row("slack", f"{result['slack_ns']:g} ns at {result['period_ns']:g} ns")
        table.add_row("power", f"{result['power_mw']:.3g} mW at default activity")
    table.add_row("netlist", str(folder / "netlist.v"))
    out.print(table)
    for warning in result["warnings"]:
        console.print(warning, highlight=False)
