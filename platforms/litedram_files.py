"""What LiteDRAM's generator has written, and what must be known of it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from celosia.config import MachineConfig
from celosia.ddr3 import DDR3Description

__all__ = ["DDR3Core", "read_core"]

#: What LiteDRAM's generator says about the PHY, and a mode register that it loads.
_CONSTANT = re.compile(r"#define SDRAM_PHY_(\w+) (0x[0-9a-f]+|\d+)")
_MODE = re.compile(r"/\* Load Mode Register (\d).*?address_write\((\w+)\);", re.DOTALL)
_COMMENT = re.compile(r"//.*|/\*(?s:.*?)\*/")
#: Pins of the DDR3 among the ports. Those that are driven both ways, or that nothing drives, are
#: declared as inputs.
_INPUTS = re.compile(r"input ( wire .* ddram_\w+,)")
_PIN = re.compile(r"(?:output|inout) +wire +(?:\[(\d+):0\] +)?ddram_(\w+),")


@dataclass(frozen=True, kw_only=True)
class DDR3Core:
    """A generated core."""

    #: The machine that it is for.
    config: MachineConfig
    #: Verilog of its module.
    verilog: str
    #: Clock that it makes for the machine, in MHz.
    output: float
    #: Widths of its ports of the DDR3's pins, by their names without `ddram_`.
    pins: Mapping[str, int]
    #: What the host needs.
    description: DDR3Description
    #: Addresses of its registers.
    registers: Mapping[str, int]


def read_core(
    config: MachineConfig, verilog: str, header: str, registers: dict[str, int], reference: float
) -> DDR3Core:
    """Return a core from the files of LiteDRAM's generator, with its pins bidirectional.

    Parameters
    ----------
    config : MachineConfig
        The machine.
    verilog, header : str
        The core, and the constants for software.
    registers : dict
        Addresses of its registers.
    reference : float
        Clock of the board, in MHz.
    """
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
