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
    "TRELLIS_COMB": "logic cells",
    "FF": "flip-flops",
    "MULT18X18D": "multipliers",
    "DP16KD": "block RAMs",
}


def synthesize_command(
    config: ConfigOption,
    board: Annotated[
        str | None,
        typer.Option("-b", "--board", metavar="BOARD", help="Such as ulx3s-85f."),
    ] = None,
    core: Annotated[
        str | None,
        typer.Option("--core", metavar="NAME", help="Only this core, alone, such as systolic."),
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
    seeds: Annotated[int, typer.Option(min=1, max=64, help="Placements to try.")] = 1,
    json: JsonOption = None,
) -> None:
    """Synthesise, place and route a machine for a board, with open tools, to a bitstream.

    With --core only one compute unit is synthesised, out of context, to learn its size and speed.
    The first run of the tools prepares them, for a minute.
    """
    from celosia.cli.synthesize import synthesize_board, synthesize_core

    if (board is None) == (core is None):
        raise CelosiaError("give either --board, for a bitstream, or --core, for one core alone")
    if pe is not None and core is None:
        raise CelosiaError("--pe is for one core alone; give --core systolic with it")
    machine = load_config(config)

    def progress(text: str) -> None:
        console.print(f"{text} …", highlight=False)

    if core is not None:
        clock = {} if frequency is None else {"frequency": frequency}
        result = synthesize_core(
            core, machine, pe=pe, seeds=seeds, report=json, progress=progress, **clock
        )
        folder = None
    else:
        assert board is not None
        folder = out_dir or Path("out") / machine.name
        result = synthesize_board(
            machine,
            board,
            folder,
            frequency=frequency,
            seeds=seeds,
            report=json,
            progress=progress,
        )
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for key, name in ROWS.items():
        if isinstance(result.get(key), int):
            table.add_row(name, number(result[key]))
    if "fmax_mhz" in result:
        table.add_row("clock", f"{result['fmax_mhz']:g} MHz")
    if folder is not None:
        table.add_row("bitstream", str(folder / f"{machine.name}.bit"))
    out.print(table)
