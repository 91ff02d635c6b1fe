"""The generated Verilog in Verilator as a device.

The host is Verilog too, and executes a script that is written here, so that no Python runs while
the clock does. Where the memory is on the chip it goes through the machine's own register port.
"""

import json
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from celosia.compiler.program import Program
from celosia.config import MachineConfig
from celosia.errors import CheckFailed, DeviceError
from celosia.isa import COUNTERS, MEMORY_WINDOW, REGISTERS
from celosia.runtime.compare import mac_cycles
from celosia.runtime.devices import (
    Batch,
    Run,
    Writes,
    check_inputs,
    fault_error,
    output_span,
    window_size,
)
from celosia.runtime.verilator import Simulation, build_simulation, run_simulation

__all__ = ["SimDevice"]

HARNESS = Path(__file__).parent / "sim"
#: Where the simulated system has its external memory.
WINDOW_BASE = 0x4000_0000
#: External memory of a simulation, unless a program needs more.
MEMORY_BYTES = 1 << 24
#: Registers read after each run, in this order.
READ = ("status", "cause", "fault_address", *COUNTERS)

_FAILURES = {
    1: "the host's script has a line that it cannot read",
    3: "the machine answered an access of the host with an error",
    4: "a file of the host cannot be opened",
    5: "the machine broke the protocol of its memory port",
}


class SimDevice:
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
        Beats that the memory moves each way in 256 cycles.
    events : bool
        Whether runs record what happens in them.
    max_cycles : int, optional
        Longest run; one that takes longer is an error. By default a hundred times what the
        products need, and ten million.
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
    ) -> None:
        self.config = config
        self.verilog = verilog
        self.cache = cache
        self.plusargs = [f"+latency={latency}", f"+bandwidth={bandwidth}"]
        self.plusargs += ["+events=events"] if events else []
        self.max_cycles = max_cycles

    def build(self, size: int = MEMORY_BYTES) -> Simulation:
        """Compile the simulation with room for a window of `size` bytes, or find it."""
        defines = f"`define BASE 32'h{MEMORY_WINDOW:08x}\n"
        if self.config.memory == "axi4":
            room = max(MEMORY_BYTES, 1 << (size - 1).bit_length())
            defines = (
                f"`define EXTERNAL\n`define BASE 32'h{WINDOW_BASE:08x}\n"
                f"`define WIDTH {self.config.memory_width}\n`define SIZE {room}\n"
            )
        with tempfile.TemporaryDirectory(prefix="celosia-") as folder:
            top = Path(folder) / "sim_top.v"
            top.write_text(defines + (HARNESS / "sim_top.v").read_text())
            return build_simulation(
                top,
                "sim_top",
                self.cache,
                extra_sources=[self.verilog, HARNESS / "sim_memory.v"],
            )

    def run(
        self,
        program: Program,
        inputs: Sequence[Writes],
        *,
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
        check_inputs(program, inputs)
        size = window_size(program)
        limit = self.max_cycles or 100 * mac_cycles(program) + 10_000_000
        simulation = self.build(size)
        with tempfile.TemporaryDirectory(prefix="celosia-") as name:
            folder = Path(name)
            self._write_script(folder, program, inputs, size, limit)
            with _watch(folder / "log.txt", progress):
                self._simulate(simulation, folder)
            report = json.loads((folder / "report.json").read_text())
            log = [int(line, 16) for line in (folder / "log.txt").read_text().split()]
            self._check(program, report["failure"], log, limit)
            events = _read_events(folder / "events", len(inputs))
            runs = []
            for index in range(len(inputs)):
                counters = dict(zip(READ, log[index * len(READ) :], strict=False))
                outputs = {
                    tensor.address: (folder / f"o{index}_{number}").read_bytes()
                    for number, tensor in enumerate(program.outputs)
                }
                counted = {key: counters[key] for key in COUNTERS}
                runs.append(Run(outputs, counted, events[index]))
            memory = np.fromfile(folder / "memory", np.uint8)
        return Batch(
            tuple(runs), memory, report["seconds"], report["cycles"], report["cpu_seconds"]
        )

    def _simulate(self, simulation: Simulation, folder: Path) -> None:
        try:
            run_simulation(
                simulation,
                "celosia.runtime.sim.bench",
                folder,
                env={"REPORT": folder / "report.json"},
                plusargs=self.plusargs,
            )
        except CheckFailed as error:  # the log, whose end it shows, will not be there to look at
            log = folder.resolve() / "simulation.log"
            raise CheckFailed(str(error).replace(f"; see {log}", "")) from error

    def _write_script(
        self, folder: Path, program: Program, inputs: Sequence[Writes], size: int, limit: int
    ) -> None:
        """Write the host's script, and the files that it loads."""
        image = program.image + bytes(-len(program.image) % 4)
        (folder / "image").write_bytes(image)
        lines = [f"R {REGISTERS['digest']:x}", f"L 0 {len(image):x} image"]
        base = 0 if self.config.memory == "on_chip" else WINDOW_BASE
        settings = {"program": program.entry, "window_base": base, "window_size": size}
        lines += [f"W {REGISTERS[name]:x} {value:x}" for name, value in settings.items()]
        for index, values in enumerate(inputs):
            for number, (address, data) in enumerate(values):
                name = f"i{index}_{number}"
                (folder / name).write_bytes(data)
                lines.append(f"L {address:x} {len(data):x} {name}")
            lines += [f"W {REGISTERS['control']:x} 1", f"I {limit:x}"]
            lines += [*(f"R {REGISTERS[name]:x}" for name in READ), "X"]
            lines += [
                f"D {tensor.address:x} {output_span(program, tensor):x} o{index}_{number}"
                for number, tensor in enumerate(program.outputs)
            ]
        lines += [f"D 0 {size:x} memory", "E"]
        (folder / "script.txt").write_text("\n".join(lines) + "\n")

    def _check(self, program: Program, failure: int, log: list[int], limit: int) -> None:
        """Raise what went wrong, if anything did; drops the digest from the log."""
        digest = int.from_bytes(self.config.digest(), "little")
        if log and log[0] != digest:
            raise DeviceError(
                f"{self.verilog}: made for another configuration (digest {log[0]:08x}, not "
                f"{digest:08x}); generate it again"
            )
        del log[:1]
        ended = [log[at : at + len(READ)] for at in range(0, len(log), len(READ))]
        for state in ended:
            if len(state) == len(READ) and state[READ.index("cause")]:
                cause, address = (state[READ.index(name)] for name in ("cause", "fault_address"))
                raise fault_error(program, cause, address, device=self.name)
        if failure == 2:
            counters = dict(zip(READ, ended[-1], strict=True))
            busy = [f"{name} {counters[name]:,}" for name in COUNTERS if counters[name]]
            raise CheckFailed(
                f"{program.model}: input {len(ended) - 1}: the machine did not end within "
                f"{limit} cycles\nits counters: {', '.join(busy)}"
            )
        if failure:
            raise CheckFailed(f"{program.model}: {_FAILURES[failure]}")


def _read_events(path: Path, runs: int) -> list[NDArray[np.uint32] | None]:
    """Read what was recorded, run by run; each begins with its cycle 0."""
    if not path.exists():
        return [None] * runs
    records = np.fromfile(path, np.uint32).reshape(-1, 4)
    return list(np.split(records, np.flatnonzero(records[:, 0] == 0)[1:]))


class _watch:  # noqa: N801 - used like a function
    """Report how many runs the log shows, while the simulation runs."""

    def __init__(self, log: Path, progress: Callable[[int], None] | None) -> None:
        self.log = log
        self.progress = progress
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        assert self.progress is not None
        while not self.done.wait(0.2):
            if self.log.exists():
                self.progress(self.log.read_text().count("\n") // len(READ))

    def __enter__(self) -> None:
        if self.progress is not None:
            self.thread.start()

    def __exit__(self, *exception: object) -> None:
        self.done.set()
        if self.progress is not None:
            self.thread.join()
