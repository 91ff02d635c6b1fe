"""What every device offers: run a program on inputs, one after the other.

A device is the machine with its memory. Between the inputs of one call everything keeps its
state, as on a board: only the inputs are written anew.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from celosia import isa
from celosia.compiler.program import Program, Tensor
from celosia.config import MachineConfig
from celosia.errors import DeviceError, ProgramError

__all__ = [
    "Batch",
    "Device",
    "Run",
    "Writes",
    "check_inputs",
    "fault_error",
    "output_span",
    "window_size",
]

#: What the host writes into the window before a run: addresses and data, multiples of 4 bytes.
Writes = Sequence[tuple[int, bytes]]


@dataclass(frozen=True)
class Run:
    """What one input gave.

    Attributes
    ----------
    outputs : mapping of int to bytes
        The rows of the program's output tensors, with their padding, by address.
    counters : mapping of str to int
        The counters that the device has, by their names in `isa.COUNTERS`.
    events : (n, 4) uint32, optional
        What happened and when, if the device was asked for it; see `celosia.runtime.timeline`.
    """

    outputs: Mapping[int, bytes]
    counters: Mapping[str, int]
    events: NDArray[np.uint32] | None = None

    def read(self, address: int, size: int) -> bytes:
        """Return the first `size` bytes of the output tensor at `address`."""
        return self.outputs[address][:size]


@dataclass(frozen=True)
class Batch:
    """What all the inputs of a call gave.

    Attributes
    ----------
    runs : tuple of Run
        One for each input.
    memory : (bytes,) uint8
        The whole window afterwards.
    seconds : float
        Time that the device took, its start left out.
    cycles : int
        Clock cycles in that time, the host's own included; 0 if there is no clock.
    cpu_seconds : float
        Processor time, which other work on the same computer does not lengthen.
    """

    runs: tuple[Run, ...]
    memory: NDArray[np.uint8]
    seconds: float
    cycles: int = 0
    cpu_seconds: float = 0.0


class Device(Protocol):
    """A machine that runs programs."""

    name: str
    config: MachineConfig

    def run(
        self,
        program: Program,
        inputs: Sequence[Writes],
        *,
        progress: Callable[[int], None] | None = None,
    ) -> Batch:
        """Load a program and run it on each of the inputs.

        Parameters
        ----------
        program : Program
            Made for the configuration of this device.
        inputs : sequence of sequence of (int, bytes)
            What to write before each run, as `celosia.runtime.host.prepare` gives it.
        progress : callable, optional
            Called with the number of runs that have ended.

        Raises
        ------
        ProgramError
            If the program is for another machine, or an input lies outside its window.
        DeviceError
            If the machine stops with a fault.
        """
        ...


def window_size(program: Program) -> int:
    """Return the bytes of the window: the whole memory on a chip, else what the program needs."""
    config = program.config
    if config.memory == "on_chip":
        if program.window_bytes > config.on_chip_bytes:
            raise ProgramError(
                f"{program.model}: needs {program.window_bytes} bytes of memory, but on_chip_bytes "
                f"is {config.on_chip_bytes}; enlarge it, or use axi4 memory"
            )
        return config.on_chip_bytes
    return -(-program.window_bytes // 64) * 64  # whole beats of any width


def check_inputs(program: Program, inputs: Sequence[Writes]) -> None:
    """Check where the inputs go, before anything is run.

    Raises
    ------
    ProgramError
        If one lies outside the window, or is not made of whole words.
    """
    size = window_size(program)
    for address, data in (write for writes in inputs for write in writes):
        if address % 4 or len(data) % 4:
            raise ProgramError(
                f"{program.model}: inputs must be whole words of 4 bytes, not {len(data)} bytes "
                f"at {address:#x}"
            )
        if not 0 <= address <= address + len(data) <= size:
            raise ProgramError(
                f"{program.model}: the input of {len(data)} bytes at {address:#x} lies outside "
                f"the window of {size} bytes"
            )


def output_span(program: Program, tensor: Tensor) -> int:
    """Return the bytes of a tensor's rows with their padding, as whole words in the window."""
    return min(-(-tensor.rows * tensor.pitch // 4) * 4, window_size(program) - tensor.address)


def fault_error(program: Program, cause: int, address: int, *, device: str) -> DeviceError:
    """Say why the machine stopped."""
    try:
        name = isa.Cause(cause).name.lower().replace("_", " ")
    except ValueError:
        name = f"cause {cause}"
    where = program.image[address : address + isa.INSTRUCTION_BYTES]
    try:
        instruction = f" ({isa.Instruction.decode(where)})"
    except ProgramError:
        instruction = ""
    return DeviceError(
        f"{program.model}: the machine ({device}) stopped with a fault: {name}, instruction at "
        f"{address:#x}{instruction}; compile the model again"
    )
