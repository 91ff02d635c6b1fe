"""The golden machine as a device."""

import time
from collections.abc import Callable, Sequence

import numpy as np

from celosia.compiler.program import Program
from celosia.config import MachineConfig
from celosia.golden.machine import GoldenMachine
from celosia.isa import Cause
from celosia.runtime.devices import (
    Batch,
    Run,
    Writes,
    check_inputs,
    fault_error,
    output_span,
    window_size,
)

__all__ = ["GoldenDevice"]


class GoldenDevice:
    """NumPy twin of the hardware: the same bytes, no notion of time.

    Parameters
    ----------
    config : MachineConfig
        The machine.
    """

    name = "golden"

    def __init__(self, config: MachineConfig) -> None:
        self.config = config

    def run(
        self,
        program: Program,
        inputs: Sequence[Writes],
        *,
        progress: Callable[[int], None] | None = None,
    ) -> Batch:
        """Run a program; see `Device.run`."""
        program.check_config(self.config)
        check_inputs(program, inputs)
        memory = np.zeros(window_size(program), np.uint8)
        memory[: len(program.image)] = np.frombuffer(program.image, np.uint8)
        machine = GoldenMachine(self.config, memory)
        begin = time.perf_counter()
        runs = []
        for values in inputs:
            for address, data in values:
                memory[address : address + len(data)] = np.frombuffer(data, np.uint8)
            result = machine.run(program.entry)
            if result.cause is not Cause.NONE:
                raise fault_error(program, result.cause, result.fault_address, device=self.name)
            counters = {
                "instructions": result.instructions,
                "mac_rows": result.mac_rows,
                "saturations": result.saturations,
            }
            outputs = {
                tensor.address: memory[tensor.address :][: output_span(program, tensor)].tobytes()
                for tensor in program.outputs
            }
            runs.append(Run(outputs, counters))
            if progress is not None:
                progress(len(runs))
        return Batch(tuple(runs), memory, time.perf_counter() - begin)
