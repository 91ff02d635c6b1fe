"""The controller of a board's DDR3: a core that LiteDRAM generates, and what must be known of it.

LiteDRAM comes from PyPI (`pip install 'celosia[ddr3]'`). Its generator runs in a process of its
own, in about a second; equal settings give equal text. The core has a port of AXI4 for the machine,
one of LiteDRAM's own kind for the host, a Wishbone port to its registers, and makes the machine's
clock.
"""

import functools
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from celosia.config import MachineConfig
from celosia.ddr3 import DDR3Description
from celosia.errors import ConfigError, ToolError

__all__ = [
    "CORE",
    "LINE_BYTES",
    "DDR3Core",
    "DDR3Part",
    "check_ddr3",
    "generate_core",
    "simulated_core",
]

#: Name of the core's module.
CORE = "litedram"
#: Bytes that the DDR3 moves at once, and the width of the host's port: a burst of 8 x 16 bits.
LINE_BYTES = 16
#: Clock of the machine in MHz. LiteDRAM's own designs for these boards run at 48 to 75 MHz, the
#: DDR3 at twice that; it is specified for 300 MHz and more, and works all the same.
CLOCKS_MHZ = (48, 100)

#: What LiteDRAM's generator says about the PHY, and a mode register that it loads.
_CONSTANT = re.compile(r"#define SDRAM_PHY_(\w+) (0x[0-9a-f]+|\d+)")
_MODE = re.compile(r"/\* Load Mode Register (\d).*?address_write\((\w+)\);", re.DOTALL)
#: Bits of mode register 1 that choose the part's termination.
_TERMINATION = 0b10_0100_0100
_COMMENT = re.compile(r"//.*|/\*(?s:.*?)\*/")
#: Pins of the DDR3 among the ports. Those that are driven both ways, or that nothing drives, are
#: declared as inputs.
_INPUTS = re.compile(r"input ( wire .* ddram_\w+,)")
_PIN = re.compile(r"(?:output|inout) +wire +(?:\[(\d+):0\] +)?ddram_(\w+),")


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


@dataclass(frozen=True, kw_only=True)
class DDR3Core:
    """A generated core."""

    #: The machine that it is for.
    config: MachineConfig

    #: Verilog of the module `CORE`.
    verilog: str
    #: Clock that it makes for the machine, in MHz.
    output: float
    #: Widths of its ports of the DDR3's pins, by their names without `ddram_`.
    pins: Mapping[str, int]
    #: What the host needs.
    description: DDR3Description
    #: Addresses of its registers.
    registers: Mapping[str, int]


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
                "pip install 'celosia[ddr3]'"
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
        return _core(
            config,
            verilog.read_text(),
            header.read_text(),
            {key: value["addr"] for key, value in registers.items()},
            settings["input_clk_freq"] / 1e6,
        )


def _core(
    config: MachineConfig, verilog: str, header: str, registers: dict[str, int], reference: float
) -> DDR3Core:
    """Read out of LiteDRAM's files what must be known; make pins of the DDR3 bidirectional."""
    # Comments have the date, and lists in any order.
    text = _INPUTS.sub(r"inout \1", _COMMENT.sub("", verilog))
    pins = {name: int(high or 0) + 1 for high, name in _PIN.findall(text)}
    constants = {key: int(value, 0) for key, value in _CONSTANT.findall(header)}
    modes = {int(number): int(value, 0) for number, value in _MODE.findall(header)}
    description = DDR3Description(
        size_bits=constants["SUPPORTED_MEMORY"].bit_length() - 1,
        phases=constants["PHASES"],
        read_phase=constants["RDPHASE"],
        write_phase=constants["WRPHASE"],
        phase_bytes=constants["DFI_DATABITS"] // 8,
        lanes=constants["MODULES"],
        delays=constants.get("DELAYS", 0),
        bitslips=constants.get("BITSLIPS", 0),
        modes=(modes[0], modes[1], modes[2], modes[3]),
        phy=registers.get("ddrphy_dly_sel", 0),
        dfii=registers["sdram_dfii_control"],
    )
    return DDR3Core(
        config=config,
        verilog=text,
        output=_made_clock(text, reference),
        pins=pins,
        description=description,
        registers=registers,
    )


def _made_clock(verilog: str, reference: float) -> float:
    """Return the clock that a core makes of `reference` MHz: half of its PLL's first output."""
    pll = re.search(r"EHXPLLL #\((.*?)\) EHXPLLL", verilog, re.DOTALL)
    if pll is None:  # simulated
        return reference
    numbers = {name: int(value) for name, value in re.findall(r"(\w+) +\(\d+'d(\d+)\)", pll[1])}
    fed_back = re.search(r'"INT_(\w+)"', pll[1])
    assert fed_back is not None
    oscillator = reference / numbers["CLKI_DIV"] * numbers["CLKFB_DIV"]
    oscillator *= numbers[f"CLK{fed_back[1]}_DIV"]
    return oscillator / numbers["CLKOP_DIV"] / 2
