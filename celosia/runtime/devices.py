"""What every device offers: run a program on inputs, one after the other.

A device is the machine with its memory. Between the inputs of one call everything keeps its
state, as on a board: only the inputs are written anew.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from celosia import isa
from celosia.compiler.program import Program, Tensor
from celosia.config import MachineConfig
from celosia.errors import DeviceError, ProgramError

__all__ = [
    "Batch",
    "Device",
    "Inputs",
    "Run",
    "check_inputs",
    "fault_error",
    "gather_rows",
    "pack_rows",
    "window_size",
]

#: Values of the program's input tensors, in steps, by name: integers of shape (rows, columns).
Inputs = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Run:
    """What one input gave.

    Attributes
    ----------
    outputs : mapping of str to (rows, columns) array
        The program's output tensors, in steps.
    counters : mapping of str to int
        The counters that the device has, by their names in `isa.COUNTERS`.
    """

    outputs: Mapping[str, NDArray[Any]]
    counters: Mapping[str, int]


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
    """

    runs: tuple[Run, ...]
    memory: NDArray[np.uint8]
    seconds: float
    cycles: int = 0


class Device(Protocol):
    """A machine that runs programs."""

    name: str
    config: MachineConfig

    def run(
        self,
        program: Program,
        inputs: Sequence[Inputs],
        *,
        progress: Callable[[int], None] | None = None,
    ) -> Batch:
        """Load a program and run it on each of the inputs.

        Parameters
        ----------
        program : Program
            Made for the configuration of this device.
        inputs : sequence of mapping
            What to write before each run.
        progress : callable, optional
            Called with the number of runs that have ended.

        Raises
        ------
        ProgramError
            If the program is for another machine, or an input does not fit.
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


def check_inputs(program: Program, inputs: Sequence[Inputs]) -> None:
    """Check names, shapes and ranges before anything is run.

    Raises
    ------
    ProgramError
        If something does not fit.
    """
    for values in inputs:
        expected = sorted(tensor.name for tensor in program.inputs)
        if sorted(values) != expected:
            raise ProgramError(
                f"{program.model}: inputs must be {', '.join(expected) or 'none'}, not "
                f"{', '.join(sorted(values)) or 'none'}"
            )
        for tensor in program.inputs:
            _check_values(program.model, tensor, values[tensor.name])


def _check_values(model: str, tensor: Tensor, values: NDArray[Any]) -> None:
    shape = tensor.rows, tensor.columns
    if values.shape != shape or not np.issubdtype(values.dtype, np.integer):
        raise ProgramError(
            f"{model}: input {tensor.name} must be integers of shape {shape}, not "
            f"{values.dtype} of shape {values.shape}"
        )
    limits = np.iinfo(tensor.dtype)
    if values.size and not limits.min <= values.min() <= values.max() <= limits.max:
        raise ProgramError(
            f"{model}: input {tensor.name} must be {tensor.dtype}, but holds "
            f"{values.min()} to {values.max()}"
        )


def pack_rows(tensor: Tensor, values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the bytes of each row, filled up with zeros to whole words of 32 bits.

    Returns
    -------
    (rows, bytes) uint8
    """
    dtype = np.dtype(tensor.dtype).newbyteorder("<")
    rows = np.ascontiguousarray(values.astype(dtype)).view(np.uint8).reshape(tensor.rows, -1)
    return np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4)))


def gather_rows(tensor: Tensor, data: NDArray[np.uint8]) -> NDArray[Any]:
    """Return the rows of a tensor, given the bytes from its address on.

    Returns
    -------
    (rows, columns) array of the tensor's dtype
    """
    dtype = np.dtype(tensor.dtype).newbyteorder("<")
    size = tensor.columns * dtype.itemsize
    index = tensor.pitch * np.arange(tensor.rows)[:, np.newaxis] + np.arange(size)
    return data[index].view(dtype).astype(tensor.dtype)


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
