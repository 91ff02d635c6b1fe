"""What every device offers: sessions, in which a program runs as often as it is asked to.

A device is the machine with its memory. Within a session everything keeps its state from run to
run, as on a board: memory, scratchpad, exponents, parameters and arguments.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

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
    "Session",
    "Writes",
    "check_inputs",
    "check_span",
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


class Session(ABC):
    """A program on a device, which keeps its state from run to run until it is closed.

    Parameters
    ----------
    program : Program
        What is loaded.
    """

    def __init__(self, program: Program) -> None:
        self.program = program

    @abstractmethod
    def write(self, address: int, data: bytes) -> None:
        """Write bytes into the window; address and size are multiples of 4."""

    @abstractmethod
    def read(self, address: int, size: int) -> bytes:
        """Return bytes of the window; address and size are multiples of 4."""

    @abstractmethod
    def run(self, writes: Writes = (), arguments: Sequence[int] = ()) -> Run:
        """Run the program once.

        Parameters
        ----------
        writes : sequence of (int, bytes)
            What to write before.
        arguments : sequence of int
            Values of the argument registers from 0 on; the others keep theirs, at first 0.

        Raises
        ------
        ProgramError
            If something lies outside the window, or an argument does not fit its register.
        DeviceError
            If the machine stops with a fault; the session can go on.
        """

    @abstractmethod
    def close(self) -> None:
        """End the session."""

    def run_all(
        self,
        inputs: Sequence[Writes],
        arguments: Sequence[int] = (),
        progress: Callable[[int], None] | None = None,
    ) -> Batch:
        """Run the program on each of the inputs; see `Device.run`."""
        check_inputs(self.program, inputs)
        begin = time.perf_counter()
        runs = []
        for writes in inputs:
            runs.append(self.run(writes, arguments))
            if progress is not None:
                progress(len(runs))
        seconds = time.perf_counter() - begin
        memory = np.frombuffer(self.read(0, window_size(self.program)), np.uint8)
        return Batch(tuple(runs), memory, seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Device(ABC):
    """A machine that runs programs.

    Parameters
    ----------
    config : MachineConfig
        The machine.
    """

    #: How messages call it.
    name: str

    def __init__(self, config: MachineConfig) -> None:
        self.config = config

    @abstractmethod
    def open(self, program: Program) -> Session:
        """Load a program into a machine whose memories are all zero.

        Raises
        ------
        ProgramError
            If the program is for another machine.
        """

    def run(
        self,
        program: Program,
        inputs: Sequence[Writes],
        *,
        arguments: Sequence[int] = (),
        progress: Callable[[int], None] | None = None,
    ) -> Batch:
        """Run a program on each of the inputs in a session of its own.

        Parameters
        ----------
        program : Program
            Made for the configuration of this device.
        inputs : sequence of sequence of (int, bytes)
            What to write before each run, as `celosia.runtime.host.prepare` gives it.
        arguments : sequence of int
            Values of the argument registers from 0 on, for all runs; the others are 0.
        progress : callable, optional
            Called with the number of runs that have ended.

        Raises
        ------
        ProgramError
            If the program is for another machine, or an input lies outside its window.
        DeviceError
            If the machine stops with a fault.
        """
        program.check_config(self.config)
        check_inputs(program, inputs)  # before anything is built or opened
        with self.open(program) as session:
            return session.run_all(inputs, arguments, progress)


def window_size(program: Program) -> int:
    """Return the bytes of the window: the whole memory on a chip, else what the program needs.

    With flash it is the memory on the chip, and behind it what the program has in the flash.
    """
    config = program.config
    if config.memory != "axi4" and program.window_bytes > config.memory_bytes:
        what, cure = "the SDRAM", "take a larger part"
        if config.memory == "on_chip":
            what, cure = "on_chip_bytes", "enlarge it"
        if config.memory == "flash":
            what, cure = "what it has on the chip and in the flash", "take a larger part"
        raise ProgramError(
            f"{program.model}: needs {program.window_bytes} bytes of memory, but {what} is "
            f"{config.memory_bytes}; {cure}, or use axi4 memory"
        )
    if config.memory == "on_chip":
        return config.on_chip_bytes
    return -(-program.window_bytes // 64) * 64  # whole beats of any width


def check_inputs(program: Program, inputs: Sequence[Writes]) -> None:
    """Check where the inputs go, before anything is run.

    Raises
    ------
    ProgramError
        If one lies outside the window, or is not made of whole words.
    """
    for address, data in (write for writes in inputs for write in writes):
        check_span(program, address, len(data), "input")


def check_span(program: Program, address: int, size: int, what: str) -> None:
    """Check where the host reads or writes.

    Raises
    ------
    ProgramError
        If it lies outside the window, or is not made of whole words.
    """
    if address % 4 or size % 4:
        raise ProgramError(
            f"{program.model}: {what} must be whole words of 4 bytes, not {size} bytes at "
            f"{address:#x}"
        )
    limit = window_size(program)
    if not 0 <= address <= address + size <= limit:
        raise ProgramError(
            f"{program.model}: {what} of {size} bytes at {address:#x} lies outside the window of "
            f"{limit} bytes"
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
    place = address - program.base
    where = program.image[place : place + isa.INSTRUCTION_BYTES] if place >= 0 else b""
    try:
        instruction = f" ({isa.Instruction.decode(where)})"
    except ProgramError:
        instruction = ""
    return DeviceError(
        f"{program.model}: the machine ({device}) stopped with a fault: {name}, instruction at "
        f"{address:#x}{instruction}; compile the model again"
    )
