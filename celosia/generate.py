"""From a configuration to Verilog, and to JSON that says all that a user of the Verilog needs.

The conversion of a large machine takes a while, so its result is kept in the user's cache, under
the hash of everything it depends on: the configuration, the sources of the hardware, Amaranth.
"""

import importlib
import importlib.metadata
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from celosia import isa
from celosia.atomic import atomic_directory, atomic_write
from celosia.config import MachineConfig

__all__ = ["MODULE", "Design", "cache_root", "elaborate", "generate"]

#: Name of the top module.
MODULE = "accelerator"
#: Version of the JSON.
FORMAT = 1


@dataclass(frozen=True)
class Design:
    """A generated machine.

    Attributes
    ----------
    verilog : str
        Its Verilog; the top module is `MODULE`.
    description : mapping
        What the JSON says.
    path : Path
        A file with this Verilog.
    """

    verilog: str
    description: Mapping[str, Any]
    path: Path


def cache_root() -> Path:
    """Return the folder for what can be made again: `CELOSIA_CACHE`, or the user's cache."""
    if named := os.environ.get("CELOSIA_CACHE"):
        return Path(named)
    user = os.environ.get("XDG_CACHE_HOME")
    return (Path(user) if user else Path.home() / ".cache") / "celosia"


def _fingerprint(config: MachineConfig) -> str:
    """Return the hash of everything that the Verilog depends on."""
    parts = [repr(sorted(config.to_dict().items())), importlib.metadata.version("amaranth")]
    sources = [Path(isa.__file__), Path(__file__)]
    names = ("config.py", "flash_part.py", "sdram_part.py")
    sources += [Path(isa.__file__).with_name(name) for name in names]
    for name in ("celosia.cores", "celosia.rtl"):
        folder = Path(next(iter(importlib.import_module(name).__path__)))
        sources += sorted(folder.glob("*.py"))
    parts += [f"{source.name}\n{source.read_text()}" for source in sources]
    return sha256("\0".join(parts).encode()).hexdigest()[:32]


def _ports(top: Any) -> list[dict[str, object]]:
    """Describe the ports as the Verilog has them."""
    ports = [{"name": name, "direction": "in", "width": 1} for name in ("clk", "rst")]
    for path, member, _ in top.signature.flatten(top):
        direction = "in" if member.flow.name == "In" else "out"
        width = len(_signal(top, path))
        ports.append({"name": "__".join(map(str, path)), "direction": direction, "width": width})
    return ports


def _signal(top: Any, path: tuple[str | int, ...]) -> Any:
    for name in path:
        top = top[name] if isinstance(name, int) else getattr(top, name)
    return top


def _describe(
    config: MachineConfig, ports: list[dict[str, object]], verilog: str
) -> dict[str, Any]:
    memory: dict[str, object] = {
        "registers": {"first": 0, "bytes": max(isa.REGISTERS.values()) + 4, "port": "s_axi_lite"},
    }
    if config.memory != "axi4":
        memory[config.memory] = {
            "first": isa.MEMORY_WINDOW,
            "bytes": config.memory_bytes,
            "port": "s_axi_lite",
        }
    else:
        memory["window"] = {
            "first": "register window_base",
            "bytes": "register window_size",
            "port": "m_axi",
        }
    return {
        "format": FORMAT,
        "name": config.name,
        "module": MODULE,
        "isa": isa.VERSION,
        "digest": config.digest().hex(),
        "sha256": {f"{MODULE}.v": sha256(verilog.encode()).hexdigest()},
        "parameters": config.to_dict(),
        "ports": ports,
        "memory_map": memory,
        "registers": isa.REGISTERS,
    }


def elaborate(config: MachineConfig, *, cache: Path | None = None) -> Design:
    """Make the Verilog of a machine, or find it in the cache.

    Parameters
    ----------
    config : MachineConfig
        The machine.
    cache : Path, optional
        Where results are kept; `cache_root()` by default.
    """
    folder = (cache or cache_root()) / "verilog" / _fingerprint(config)
    try:
        description = json.loads((folder / f"{MODULE}.json").read_text())
        verilog = (folder / f"{MODULE}.v").read_text()
        if sha256(verilog.encode()).hexdigest() == description["sha256"][f"{MODULE}.v"]:
            return Design(verilog, description, folder / f"{MODULE}.v")
    except (OSError, ValueError, KeyError):
        pass  # not there, or damaged: made again
    from amaranth.back.verilog import convert

    from celosia.rtl.machine import machine

    top = machine(config)
    ports = _ports(top)
    text = convert(top, name=MODULE, emit_src=False, strip_internal_attrs=True)
    design = Design(text, _describe(config, ports, text), folder / f"{MODULE}.v")
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write(design.path, design.verilog)
    atomic_write(folder / f"{MODULE}.json", _json(design.description))
    return design


def generate(config: MachineConfig, out: Path | str, *, cache: Path | None = None) -> Design:
    """Write `accelerator.v` and `accelerator.json` into the folder `out`, both or none.

    Raises
    ------
    CelosiaError
        If the folder cannot be written, or holds files of another origin.
    """
    design = elaborate(config, cache=cache)
    with atomic_directory(out) as folder:
        (folder / f"{MODULE}.v").write_text(design.verilog)
        (folder / f"{MODULE}.json").write_text(_json(design.description))
    return design


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=2) + "\n"
