"""What the commands share: consoles, options, records, progress."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from celosia.atomic import atomic_write
from celosia.config import PRESETS

__all__ = [
    "ConfigOption",
    "JsonOption",
    "OutOption",
    "console",
    "counted",
    "number",
    "out",
    "working",
    "write_record",
]

#: For tables, which are what was asked for.
out = Console()
#: For progress and errors.
console = Console(stderr=True)

ConfigOption = Annotated[
    str,
    typer.Option(
        "-c",
        "--config",
        metavar="CONFIG",
        help=f"Name of a preset ({', '.join(PRESETS)}), or a TOML file with parameters; "
        '`base = "PRESET"` in the file starts from a preset.',
    ),
]
JsonOption = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Write the results as JSON to this file."),
]
OutOption = Annotated[
    Path, typer.Option("-o", "--out", metavar="DIR", help="Folder to write, replaced as a whole.")
]


def write_record(path: Path | None, record: Mapping[str, Any]) -> None:
    """Write the results of a command as JSON, if a file was named."""
    if path is not None:
        atomic_write(path, json.dumps(record, indent=2, allow_nan=False) + "\n")


def number(value: float) -> str:
    """Write a count with thin groups of three digits."""
    return f"{value:,.0f}"


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show that something takes a while."""
    if not console.is_terminal:
        console.print(f"{what} …", highlight=False)
        yield
        return
    with console.status(f"{what} …"):
        yield


@contextmanager
def counted(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar; give a function that takes how many are done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns,
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=min(done, total))
