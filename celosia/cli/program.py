"""`celosia program`: load a bitstream into a board, or a program into its flash."""

import json
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Annotated

import typer

from celosia.cli.common import out
from celosia.compiler.program import IMAGE, MANIFEST, Program
from celosia.errors import CelosiaError, ToolError
from celosia.platforms.board import Board
from celosia.platforms.boards import board as board_named
from celosia.platforms.flash_pads import check_flash

__all__ = ["image_command", "loader_command", "program_command"]

LOADER = "openFPGALoader"
_INSTALL = (
    "install it (Debian: apt-get install openfpgaloader, macOS: brew install openfpgaloader; "
    "others: https://trabucayre.github.io/openFPGALoader/guide/install.html) and put it on PATH"
)


def program_command(
    board: Annotated[str, typer.Argument(metavar="BOARD", help="Such as ulx3s-85f.")],
    source: Annotated[
        Path,
        typer.Argument(
            metavar="FILE|BUILD|PROGRAM",
            help="A bitstream, or the folder that `synthesize` wrote; with --flash also a program "
            "that `compile` wrote, for a machine with flash.",
        ),
    ],
    flash: Annotated[
        bool, typer.Option("--flash", help="Into the board's flash, to stay; else until power off.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print the command that would be run.")
    ] = False,
) -> None:
    """Load a bitstream into a board.

    Or write weights and instructions of a program into its flash, behind the bitstream, where a
    machine with flash reads them. The program openFPGALoader does it, which has to be installed.
    Boards with an iCE40 and those whose boot loader takes it keep the bitstream in their flash in
    any case.
    """
    platform = board_named(board)
    if (source / MANIFEST).exists():
        command = image_command(platform, source, flash=flash)
    else:
        command = loader_command(platform, find_bitstream(platform, source), flash=flash)
    if dry_run:
        out.print(shlex.join(command), soft_wrap=True, highlight=False, markup=False)
        return
    program = shutil.which(LOADER)
    if program is None:
        raise ToolError(f"{LOADER} was not found; {_INSTALL}")
    status = subprocess.run([program, *command[1:]], check=False).returncode
    if status != 0:
        raise ToolError(
            f"{LOADER} failed with status {status}; is board {board} connected, and may you use "
            "its USB device?"
        )


def loader_command(board: Board, bitstream: Path, *, flash: bool) -> list[str]:
    """Return the command that loads a bitstream.

    Raises
    ------
    CelosiaError
        If the program does not know the board.
    """
    if not board.loader:
        raise CelosiaError(
            f"board {board.name} is none that {LOADER} knows; load {bitstream} as its maker says"
        )
    return [LOADER, *board.loader, *(["--write-flash"] if flash else []), str(bitstream)]


def image_command(board: Board, source: Path, *, flash: bool) -> list[str]:
    """Return the command that writes a program into the flash, behind the bitstream.

    Raises
    ------
    CelosiaError
        If the program is not for a machine with flash, or the board has none.
    """
    config = Program.load(source).config
    if config.memory != "flash":
        raise CelosiaError(
            f"{source}: made for a machine with {config.memory} memory, which gets its program "
            "from `celosia run`; give a bitstream"
        )
    check_flash(config, board)
    if not flash:
        raise CelosiaError(f"{source}: a program goes into the flash to stay; add --flash")
    *options, image = loader_command(board, source / IMAGE, flash=True)
    return [*options, "--file-type", "raw", "--offset", str(config.flash_offset), image]


def find_bitstream(board: Board, source: Path) -> Path:
    """Return the bitstream that is meant by a file or by a folder of `synthesize`.

    Raises
    ------
    CelosiaError
        If there is none, or it is another board's.
    """
    suffix = f".{board.flow.bitstream}"
    if source.is_dir():
        report = source / "report.json"
        try:
            record = json.loads(report.read_text())
            built_for, name = record["board"], record["bitstream"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CelosiaError(
                f"{source} is no folder of `celosia synthesize --board`: it has no {report.name} "
                "that names a bitstream; give a folder of it, or a file"
            ) from error
        if built_for != board.name:
            raise CelosiaError(
                f"{source} was built for board {built_for}, not {board.name}; build it for that"
            )
        source /= name
    if not source.is_file():
        raise CelosiaError(
            f"bitstream {source} is not there; build it with `celosia synthesize --board "
            f"{board.name}` (it has none where the clock was not reached)"
        )
    if source.suffix != suffix:
        raise CelosiaError(
            f"bitstream {source}: those of board {board.name} end with {suffix}, not "
            f"{source.suffix or 'nothing'}"
        )
    return source
