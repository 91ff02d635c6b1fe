"""The controller of a board's DDR3: a core that LiteDRAM generates.

LiteDRAM comes from PyPI (`pip install 'celosia[ddr3]'`). Its generator runs in a process of its
own, in about a second; equal settings give equal text. The core has a port of AXI4 for the machine,
one of LiteDRAM's own kind for the host, a Wishbone port to its registers, and makes the machine's
clock.
"""

import functools
import importlib.util
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from celosia.config import MachineConfig
from celosia.errors import ConfigError, ToolError
from celosia.platforms.litedram_files import DDR3Core, read_core

__all__ = [
    "CORE",
    "LINE_BYTES",
    "DDR3Part",
    "check_ddr3",
    "generate_core",
    "simulated_core",
]

#: Name of the core's module.
CORE = "litedram"
#: Bytes that the DDR3 moves at once, and the width of the host's port: a burst of 8 x 16 bits.
LINE_BYTES = 16
#: Clocks of the machine in MHz; that of the DDR3 is twice as fast. LiteX's designs for these boards
#: run at 48 to 75 MHz, although parts are specified from 300 MHz on.
CLOCKS_MHZ = (48, 100)

#: Bits of mode register 1 that choose the part's termination.
_TERMINATION = 0b10_0100_0100


@dataclass(frozen=True, kw_only=True)
class DDR3Part:
    """What a board's DDR3 is to LiteDRAM; of 16 bits."""

    #: Name of the part in `litedram.modules`.
    module: str
    #: Clock of a machine that uses it, in MHz, if nothing else is asked for.
    frequency: float
    #: Whether the pins of the data masks are those of each other's lane.
    dm_swap: bool = False
    #: Whether the part terminates its data lines.
    terminated: bool = True
    #: Steps by which the commands are late at clocks up to 64 MHz.
    slow_cmd_delay: int = 0


def generate_core(
    part: DDR3Part,
    config: MachineConfig,
    *,
    device: str,
    reference: float,
    frequency: float,
) -> DDR3Core:
    """Return the core of a DDR3 at the pins of an ECP5.

    Parameters
    ----------
    part : DDR3Part
        The board's DDR3.
    config : MachineConfig
        The machine, with beats of at most `LINE_BYTES`.
    device : str
        Name of the chip.
    reference, frequency : float
        Clocks of the board and of the machine, in MHz.

    Raises
    ------
    ConfigError
        If width or frequency cannot be had.
    ToolError
        If LiteDRAM is missing or fails.
    """
    slowest, fastest = CLOCKS_MHZ
    if not slowest <= frequency <= fastest:
        raise ConfigError(
            f"frequency must be between {slowest} and {fastest} MHz with a DDR3, not {frequency:g}"
        )
    check_ddr3(config)
    late = part.slow_cmd_delay if frequency <= 64 else 0
    core = _generate(
        config,
        device=device,
        sdram_module=part.module,
        input_clk_freq=1e6 * reference,
        sys_clk_freq=1e6 * frequency,
        dm_swap=part.dm_swap,
        cmd_delay=late,
    )
    if part.terminated:
        return core
    # LiteDRAM's generator has a setting for it, which it ignores.
    first, second, *rest = core.description.modes
    modes = (first, second & ~_TERMINATION, *rest)
    return replace(core, description=replace(core.description, modes=modes))


def simulated_core(module: str, config: MachineConfig, *, frequency: float) -> DDR3Core:
    """Return the controller with LiteDRAM's own models of PHY and DDR3, for simulations.

    It has no pins but `clk`; it needs no levelling. LiteDRAM wants the packages `liteeth` and
    `litescope` too for it.

    Raises
    ------
    ToolError
        If something is missing or fails.
    """
    return _generate(
        config,
        simulated=True,
        sdram_module=module,
        input_clk_freq=1e6 * frequency,
        sys_clk_freq=1e6 * frequency,
    )


def check_ddr3(config: MachineConfig) -> None:
    """Check that a machine suits a DDR3.

    Raises
    ------
    ConfigError
        If it does not.
    """
    if config.memory_width > LINE_BYTES:
        raise ConfigError(
            f"configuration {config.name!r}: memory_width must be at most {LINE_BYTES} with a "
            f"DDR3, not {config.memory_width}"
        )


@functools.cache
def _generate(config: MachineConfig, *, simulated: bool = False, **settings: Any) -> DDR3Core:
    for package in ("litedram", *(("liteeth", "litescope") if simulated else ())):
        if importlib.util.find_spec(package) is None:
            raise ToolError(
                f"{package} was not found, which makes the controller of a DDR3; "
                f"pip install 'celosia[{'test' if simulated else 'ddr3'}]'"
            )
    ports = {
        "machine": {"type": "axi", "id_width": 1, "data_width": 8 * LINE_BYTES},
        "host": {"type": "native"},
    }
    settings |= {
        "cpu": None,
        "memtype": "DDR3",
        "sdram_phy": "ECP5DDRPHY",
        "sdram_module_nb": LINE_BYTES // 8,  # lanes
        "sdram_rank_nb": 1,
        "init_clk_freq": 25e6,
        "user_ports": ports,
    }
    with tempfile.TemporaryDirectory(prefix="celosia-") as name:
        folder = Path(name)
        (folder / "settings.json").write_text(json.dumps(settings))
        options = ["--no-compile", "--output-dir", ".", "--csr-json", "csr.json", "--name", CORE]
        done = subprocess.run(
            [sys.executable, "-m", "litedram.gen", "settings.json", *options]
            + (["--sim"] if simulated else []),
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        header = folder / "software" / "include" / "generated" / "sdram_phy.h"
        verilog = folder / "gateware" / f"{CORE}.v"
        # For a simulation it then fails, missing a part of its own simulator.
        if (done.returncode and not simulated) or not (verilog.exists() and header.exists()):
            lines = (done.stdout + done.stderr).strip().splitlines()
            raise ToolError("litedram failed: " + "\n".join(lines[-3:]))
        registers = json.loads((folder / "csr.json").read_text())["csr_registers"]
        return read_core(
            config,
            verilog.read_text(),
            header.read_text(),
            {key: value["addr"] for key, value in registers.items()},
            settings["input_clk_freq"] / 1e6,
        )
