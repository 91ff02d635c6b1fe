# amaranth: UnusedElaboratable=no
"""A whole machine as a netlist: the self-test through its registers, against the golden machine."""

from typing import Any

from harness import CACHE
from netlists import FAMILIES, Netlist, synthesise

from celosia.cli.selftest import examine
from celosia.config import PRESETS, MachineConfig
from celosia.errors import CheckFailed
from celosia.generate import MODULE
from celosia.rtl.top import Accelerator
from celosia.runtime.selftest import selftest_program
from celosia.runtime.sim_device import SimDevice

__all__ = ["MACHINES", "machine", "selftest"]

TINY = PRESETS["tiny"]
#: More than a run takes; a machine that hangs is stopped.
MAX_CYCLES = 50_000
#: Little more than the self-test needs.
SMALL = TINY.replace(
    name="2x4",
    rows=2,
    scratchpad_words=256,
    exponent_slots=32,
    accumulator_rows=16,
    attention_rows=8,
    parameter_entries=16,
    vector_lanes=2,
    on_chip_bytes=8192,
)
#: What is built of each family.
MACHINES = {"ecp5": TINY, "ice40": SMALL, "gowin": SMALL}


def machine(family: str, config: MachineConfig | None = None) -> Netlist:
    """Make the netlist of a machine, or find it."""
    design = Accelerator(config or MACHINES[family])
    return synthesise(design, FAMILIES[family], name=MODULE)


def selftest(
    netlist: Netlist, config: MachineConfig, *, runs: int = 1, fault: int = 0
) -> dict[str, Any]:
    """Run the self-test on a netlist; what was compared and what differs, as `examine` says.

    Raises
    ------
    CheckFailed
        If the machine does not end.
    """
    # A device has one file of Verilog.
    verilog = netlist.path.with_name("machine.v")
    verilog.write_text("\n".join(path.read_text() for path in netlist.sources()))
    device = SimDevice(config, verilog, CACHE, max_cycles=MAX_CYCLES)
    device.plusargs = [*device.plusargs, f"+fault={fault}"]
    with device.open(selftest_program(config)) as session:
        found = examine(config, session, runs)
    if found["differences"]:
        raise CheckFailed(f"{config.name}: the netlist differs:\n" + found["differences"][0])
    return found
