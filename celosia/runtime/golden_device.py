"""The golden machine as a device."""

from collections.abc import Sequence

import numpy as np

from celosia.compiler.program import Program
from celosia.golden.machine import GoldenMachine
from celosia.isa import Cause
from celosia.runtime.devices import (
    Device,
    Run,
    Session,
    Writes,
    check_inputs,
    check_span,
    fault_error,
    output_span,
    window_size,
)

__all__ = ["GoldenDevice", "GoldenSession"]


class GoldenDevice(Device):
    """NumPy twin of the hardware: the same bytes, no notion of time."""

    name = "golden"

    def open(self, program: Program) -> "GoldenSession":
        """Load a program; see `Device.open`."""
        program.check_config(self.config)
        return GoldenSession(program)


class GoldenSession(Session):
    """A golden machine with a program in its memory."""

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self.memory = program.memory(window_size(program))
        self.machine = GoldenMachine(program.config, self.memory)

    def write(self, address: int, data: bytes) -> None:
        """Write bytes into the window; see `Session.write`."""
        check_span(self.program, address, len(data), "what is written")
        self.memory[address : address + len(data)] = np.frombuffer(data, np.uint8)

    def read(self, address: int, size: int) -> bytes:
        """Return bytes of the window; see `Session.read`."""
        check_span(self.program, address, size, "what is read")
        return self.memory[address : address + size].tobytes()

    def run(self, writes: Writes = (), arguments: Sequence[int] = ()) -> Run:
        """Run the program once; see `Session.run`."""
        program = self.program
        check_inputs(program, [writes])
        for address, data in writes:
            self.write(address, data)
        result = self.machine.run(program.entry, arguments)
        if result.cause is not Cause.NONE:
            raise fault_error(program, result.cause, result.fault_address, device="golden")
        counters = {
            "instructions": result.instructions,
            "mac_rows": result.mac_rows,
            "saturations": result.saturations,
        }
        outputs = {
            tensor.address: self.read(tensor.address, output_span(program, tensor))
            for tensor in program.outputs
        }
        return Run(outputs, counters)

    def close(self) -> None:
        """End the session; there is nothing to do."""
