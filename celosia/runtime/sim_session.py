"""A simulation that waits for its host: commands go through one pipe, answers through another."""

import contextlib
import json
import os
import select
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from celosia.arguments import check_arguments
from celosia.compiler.program import Program
from celosia.errors import CheckFailed, DeviceError
from celosia.isa import ARGUMENTS, COUNTERS, MEMORY_WINDOW, REGISTERS
from celosia.runtime.compare import mac_cycles
from celosia.runtime.devices import (
    Run,
    Session,
    Writes,
    check_inputs,
    check_span,
    fault_error,
    output_span,
    window_size,
)
from celosia.runtime.verilator import Simulation, run_simulation

__all__ = ["WINDOW_BASE", "SimSession"]

#: Where the simulated system has its external memory.
WINDOW_BASE = 0x4000_0000
#: Registers read after each run, in this order.
READ = ("status", "cause", "fault_address", *COUNTERS)
#: Seconds between two looks whether the simulation still runs.
LOOK = 0.5

_FAILURES = {
    1: "the host's script has a line that it cannot read",
    3: "the machine answered an access of the host with an error",
    4: "a file of the host cannot be opened",
    5: "the machine broke the protocol of its memory port",
}


class SimSession(Session):
    """A process with the simulated machine, which stands still between two commands.

    Parameters
    ----------
    program : Program
        What is loaded.
    simulation : Simulation
        The compiled simulation.
    verilog : Path
        The Verilog that it was compiled from, for messages.
    plusargs : sequence of str
        Settings of the simulated memory.
    max_cycles : int, optional
        Longest run; see `SimDevice`.

    Attributes
    ----------
    report : dict
        Once the session is closed: `cycles`, `seconds` and `cpu_seconds` of the simulation; and
        `sdram` and `flash`, the cycles that one spends on what while the machine runs.
    """

    def __init__(
        self,
        program: Program,
        simulation: Simulation,
        verilog: Path,
        plusargs: Sequence[str],
        max_cycles: int | None = None,
    ) -> None:
        super().__init__(program)
        self.max_cycles = max_cycles
        self.report: dict[str, Any] = {}
        self._arguments = [0] * ARGUMENTS
        self._runs = self._events_read = 0
        self._error: Exception | None = None
        self._kept = tempfile.TemporaryDirectory(prefix="celosia-")
        self._folder = Path(self._kept.name)
        self._rest = b""
        for name in ("script.txt", "log.txt"):
            os.mkfifo(self._folder / name)
        if program.config.memory == "flash":
            (self._folder / "flash").write_bytes(program.image)
            plusargs = [*plusargs, "+flash=flash"]
        self._log = os.open(self._folder / "log.txt", os.O_RDONLY | os.O_NONBLOCK)
        self._script = -1
        self._thread = threading.Thread(
            target=self._simulate, args=(simulation, plusargs), daemon=True
        )
        self._thread.start()
        try:
            self._script = self._open_script()
            self._begin(verilog)
        except BaseException:
            self.close()
            raise

    def write(self, address: int, data: bytes) -> None:
        """Write bytes into the window; see `Session.write`."""
        check_span(self.program, address, len(data), "what is written")
        self._command(self._load(0, address, data))

    def read(self, address: int, size: int) -> bytes:
        """Return bytes of the window; see `Session.read`."""
        check_span(self.program, address, size, "what is read")
        self._command([f"D {address:x} {size:x} read"])
        return (self._folder / "read").read_bytes()

    def run(self, writes: Writes = (), arguments: Sequence[int] = ()) -> Run:
        """Run the program once; see `Session.run`.

        Raises
        ------
        CheckFailed
            If the machine does not end, or breaks a protocol; the session is at its end.
        """
        check_inputs(self.program, [writes])
        values = check_arguments(arguments)
        self._arguments[: len(values)] = values
        limit = self.max_cycles or 100 * mac_cycles(self.program, self._arguments) + 10_000_000
        lines = [self._load(number, *write)[0] for number, write in enumerate(writes)]
        lines += [f"W {REGISTERS[f'argument{n}']:x} {value:x}" for n, value in enumerate(values)]
        lines += [f"W {REGISTERS['control']:x} 1", f"I {limit:x}"]
        self._send([*lines, *(f"R {REGISTERS[name]:x}" for name in READ), "X"])
        counters: dict[str, int] = dict(zip(READ, self._answers(len(READ)), strict=True))
        self._check_end(counters, limit)
        tensors = self.program.outputs
        self._command(
            f"D {tensor.address:x} {output_span(self.program, tensor):x} o{number}"
            for number, tensor in enumerate(tensors)
        )
        self._runs += 1
        if counters["cause"]:
            cause, address = counters["cause"], counters["fault_address"]
            raise fault_error(self.program, cause, address, device="sim")
        outputs = {
            tensor.address: (self._folder / f"o{number}").read_bytes()
            for number, tensor in enumerate(tensors)
        }
        return Run(outputs, {name: counters[name] for name in COUNTERS}, self._new_events())

    def close(self) -> None:
        """End the simulation."""
        if self._script >= 0:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._script, b"E\n")
            os.close(self._script)
            self._script = -1
        self._thread.join()
        if self._log >= 0:
            os.close(self._log)
            self._log = -1
        path = self._folder / "report.json"
        if path.exists():
            self.report = json.loads(path.read_text())
        self._kept.cleanup()

    def _simulate(self, simulation: Simulation, plusargs: Sequence[str]) -> None:
        """Run the simulation to its end, in a thread of its own."""
        try:
            run_simulation(
                simulation,
                "celosia.runtime.sim.bench",
                self._folder,
                env={"REPORT": self._folder / "report.json"},
                plusargs=plusargs,
            )
        except CheckFailed as error:  # the log, whose end it shows, will not be there to look at
            log = self._folder.resolve() / "simulation.log"
            self._error = CheckFailed(str(error).replace(f"; see {log}", ""))
        except Exception as error:
            self._error = error

    def _open_script(self) -> int:
        """Wait for the simulation to open its end of the pipe."""
        while self._thread.is_alive():
            try:
                pipe = os.open(self._folder / "script.txt", os.O_WRONLY | os.O_NONBLOCK)
            except OSError:  # nobody reads yet
                time.sleep(0.01)
                continue
            os.set_blocking(pipe, True)
            return pipe
        raise self._failure()

    def _begin(self, verilog: Path) -> None:
        """Check that this is the right machine; load the program."""
        config, program = self.program.config, self.program
        self._send([f"R {REGISTERS['digest']:x}"])
        digest = int.from_bytes(config.digest(), "little")
        (found,) = self._answers(1)
        if found != digest:
            raise DeviceError(
                f"{verilog}: made for another configuration (digest {found:08x}, not "
                f"{digest:08x}); generate it again"
            )
        settings = {
            "program": program.entry,
            "window_base": WINDOW_BASE if config.memory == "axi4" else 0,
            "window_size": window_size(program),
        }
        if config.memory in ("sdram", "flash"):
            # The machine sees it a while after the reset.
            self._send([f"R {MEMORY_WINDOW + config.flash_base:x}"])
            self._answers(1)
        lines = []
        if config.memory != "flash":
            image = program.image + bytes(-len(program.image) % 4)
            if config.memory == "sdram":  # it wakes with anything in it
                image += bytes(window_size(program) - len(image))
            lines = self._load(0, 0, image)
        self._command([*lines, *(f"W {REGISTERS[key]:x} {settings[key]:x}" for key in settings)])

    def _load(self, number: int, address: int, data: bytes) -> list[str]:
        """Return the command that writes `data` into the window, from a file."""
        (self._folder / f"i{number}").write_bytes(data)
        return [f"L {address:x} {len(data):x} i{number}"]

    def _command(self, lines: Iterable[str]) -> None:
        """Send commands and wait until they have been carried out."""
        self._send([*lines, f"R {REGISTERS['status']:x}"])
        self._answers(1)

    def _send(self, lines: Iterable[str]) -> None:
        if self._script < 0:
            raise CheckFailed(f"{self.program.model}: the session is closed")
        try:
            os.write(self._script, "".join(f"{line}\n" for line in lines).encode())
        except BrokenPipeError:
            raise self._failure() from None

    def _answers(self, count: int) -> list[int]:
        """Wait for so many answers to reads."""
        while self._rest.count(b"\n") < count:
            ready, _, _ = select.select([self._log], [], [], LOOK)
            data = os.read(self._log, 1 << 16) if ready else b""
            if not data and (ready or not self._thread.is_alive()):
                raise self._failure()
            self._rest += data
        *lines, self._rest = self._rest.split(b"\n", count)
        return [int(line, 16) for line in lines]

    def _failure(self) -> Exception:
        """Say why the simulation has ended."""
        self._thread.join()
        if self._error is not None:
            return self._error
        failure = json.loads((self._folder / "report.json").read_text())["failure"]
        why = _FAILURES.get(failure, "the simulation ended")
        return CheckFailed(f"{self.program.model}: {why}")

    def _check_end(self, counters: dict[str, int], limit: int) -> None:
        """Check that a run has ended; otherwise say what the machine was busy with."""
        if counters["status"] & 1:
            busy = [f"{name} {counters[name]:,}" for name in COUNTERS if counters[name]]
            raise CheckFailed(
                f"{self.program.model}: input {self._runs}: the machine did not end within "
                f"{limit} cycles\nits counters: {', '.join(busy)}"
            )

    def _new_events(self) -> NDArray[np.uint32] | None:
        """Return what the run has recorded, if it was asked to."""
        path = self._folder / "events"
        if not path.exists():
            return None
        records = np.fromfile(path, np.uint32, offset=self._events_read)
        self._events_read += records.nbytes
        return records.reshape(-1, 4)
