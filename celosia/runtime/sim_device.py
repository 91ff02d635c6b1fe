"""The generated Verilog in Verilator as a device.

The host is Verilog too, and executes commands that come through a pipe, so that no Python runs
while the clock does. Where the memory is on the chip it goes through the machine's own register
port. An SDRAM, and a flash, is a model that checks every rule of the part.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from celosia.compiler.program import Program
from celosia.config import MachineConfig
from celosia.isa import MEMORY_WINDOW
from celosia.runtime.devices import Batch, Device, Writes, check_inputs, window_size
from celosia.runtime.flash_model import model_parameters as flash_parameters
from celosia.runtime.sdram_model import model_parameters
from celosia.runtime.sim_session import WINDOW_BASE, SimSession
from celosia.runtime.verilator import Simulation, build_simulation
from celosia.sdram_part import PARTS

__all__ = ["HARNESS", "SimDevice", "parameter_list"]

#: The Verilog around the machine.
HARNESS = Path(__file__).parent / "sim"
#: External memory of a simulation, unless a program needs more.
MEMORY_BYTES = 1 << 24


def parameter_list(values: Mapping[str, int]) -> str:
    """Return the parameters of an instance in Verilog."""
    return ", ".join(f".{name}({value})" for name, value in values.items())


class SimDevice(Device):
    """The RTL of a machine with a memory and a host around it.

    Parameters
    ----------
    config : MachineConfig
        The machine.
    verilog : Path
        Its Verilog, as `celosia.generate` makes it.
    cache : Path
        Where compiled simulations are kept.
    latency : int
        Cycles from a memory request to its first beat; external memory only.
    bandwidth : int
        Beats that external memory moves each way in 256 cycles.
    events : bool
        Whether runs record what happens in them.
    max_cycles : int, optional
        Longest run; one that takes longer is an error. By default a hundred times what the
        products need, and ten million.
    quick : bool
        Whether it is to be built quickly, for short runs, rather than to run fast.
    """

    name = "sim"

    def __init__(
        self,
        config: MachineConfig,
        verilog: Path,
        cache: Path,
        *,
        latency: int = 40,
        bandwidth: int = 256,
        events: bool = False,
        max_cycles: int | None = None,
        quick: bool = False,
    ) -> None:
        super().__init__(config)
        self.quick = quick
        self.verilog = verilog
        self.cache = cache
        self.plusargs = [f"+latency={latency}", f"+bandwidth={bandwidth}"]
        self.plusargs += ["+events=events"] if events else []
        self.max_cycles = max_cycles

    def build(self, size: int = MEMORY_BYTES) -> Simulation:
        """Compile the simulation with room for a window of `size` bytes, or find it."""
        config = self.config
        defines, model = f"`define PORT 32'h{MEMORY_WINDOW:08x}\n", "sim_memory.v"
        if config.memory == "sdram":
            part = PARTS[config.sdram_part]
            parameters = model_parameters(part, config.sdram_mhz, config.sdram_round_trip)
            defines = f"`define SDRAM {parameter_list(parameters)}\n"
            model = "sim_sdram.v"
        if config.memory == "flash":
            parameters = flash_parameters(config.flash, config.flash_offset)
            defines += f"`define FLASH {parameter_list(parameters)}\n"
            model = "sim_flash.v"
        if config.memory == "axi4":
            room = max(MEMORY_BYTES, 1 << (size - 1).bit_length())
            defines = (
                f"`define EXTERNAL\n`define BASE 32'h{WINDOW_BASE:08x}\n"
                f"`define WIDTH {config.memory_width}\n`define SIZE {room}\n"
            )
        with tempfile.TemporaryDirectory(prefix="celosia-") as folder:
            top = Path(folder) / "sim_top.v"
            top.write_text(defines + (HARNESS / "sim_top.v").read_text())
            return build_simulation(
                top,
                "sim_top",
                self.cache,
                extra_sources=[self.verilog, HARNESS / model],
                timing=True,
                quick=self.quick,
            )

    def open(self, program: Program) -> SimSession:
        """Load a program; see `Device.open`.

        Raises
        ------
        ToolError
            If a tool is missing or refuses the Verilog.
        DeviceError
            If the Verilog is that of another machine.
        """
        program.check_config(self.config)
        simulation = self.build(window_size(program))
        return SimSession(program, simulation, self.verilog, self.plusargs, self.max_cycles)

    def run(
        self,
        program: Program,
        inputs: Sequence[Writes],
        *,
        arguments: Sequence[int] = (),
        progress: Callable[[int], None] | None = None,
    ) -> Batch:
        """Run a program; see `Device.run`.

        Raises
        ------
        ToolError
            If a tool is missing or refuses the Verilog.
        CheckFailed
            If the machine does not end, or breaks a protocol.
        """
        program.check_config(self.config)
        check_inputs(program, inputs)  # before the simulation is built
        with self.open(program) as session:
            batch = session.run_all(inputs, arguments, progress)
        report = session.report
        return replace(
            batch,
            seconds=report["seconds"],
            cycles=int(report["cycles"]),
            cpu_seconds=report["cpu_seconds"],
        )
