"""The whole machine: executes a program on a memory image, bit for bit as the hardware does.

Instructions are taken one after the other; tokens order them in hardware and change no result.
What the contract leaves undefined (an operand out of its limits, a word that does not exist, a
result over its own operand) is refused as a `ProgramError`, so that a compiler learns of it here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from celosia.arguments import check_arguments
from celosia.config import MachineConfig
from celosia.errors import ProgramError
from celosia.golden.attend import attend
from celosia.golden.matmul import check_chaining, check_range, check_released, matmul
from celosia.golden.memory import Fault, MachineState
from celosia.golden.vector import execute_argmax, execute_multiply, execute_norm
from celosia.isa import INSTRUCTION_BYTES, Cause, Instruction, Opcode, Space

__all__ = ["GoldenMachine", "Result"]

#: Entry of the parameter buffer, as memory holds it.
PARAMETER = np.dtype({
    "names": ["multiplier", "shift", "bias"],
    "formats": ["<u2", "u1", "<i2"],
    "offsets": [0, 2, 4],
    "itemsize": 8,
})


@dataclass(frozen=True)
class Result:
    """What a run leaves in the registers.

    Attributes
    ----------
    instructions : int
        Instructions executed, HALT included; one that faults is not.
    mac_rows : int
        Rows streamed into the array.
    saturations : int
        Elements that MATMUL clipped.
    cause : Cause
        NONE after a HALT.
    fault_address : int
        Byte offset of the instruction that faulted, in the window.
    """

    instructions: int
    mac_rows: int
    saturations: int
    cause: Cause = Cause.NONE
    fault_address: int = 0


class GoldenMachine:
    """The machine's state, and `run`, which changes it.

    Parameters
    ----------
    config : MachineConfig
        The machine.
    memory : bytearray or (bytes,) uint8
        The window, read and written in place.

    Attributes
    ----------
    state : MachineState
        Everything but the memory starts zero and persists from run to run, as in hardware;
        only what an ATTEND holds does not.
    """

    def __init__(self, config: MachineConfig, memory: bytearray | NDArray[np.uint8]) -> None:
        self.config = config
        self.state = MachineState.blank(config, memory)

    def run(self, program: int = 0, arguments: Sequence[int] = ()) -> Result:
        """Execute the program at byte offset `program`, up to its HALT or to a fault.

        `arguments` are written to the argument registers from 0 on; the others keep their values.

        Raises
        ------
        ProgramError
            If an instruction has operands for which the contract defines no result, or the
            arguments are no values of the registers.
        """
        self.state.arguments[: len(arguments)] = check_arguments(arguments)
        instructions = mac_rows = saturations = 0
        address = program
        self.state.held = None
        self.state.chained.clear()
        try:
            while True:
                instruction = self._fetch(address)
                rows, clipped = self._execute(instruction, address)
                instructions += 1
                mac_rows += rows
                saturations += clipped
                if instruction.opcode is Opcode.HALT:
                    return Result(instructions, mac_rows, saturations)
                address += INSTRUCTION_BYTES
        except Fault as fault:
            return Result(instructions, mac_rows, saturations, fault.cause, address)

    def _fetch(self, address: int) -> Instruction:
        data = self.state.window.read(address, INSTRUCTION_BYTES).tobytes()
        try:
            instruction = Instruction.decode(data)
        except ProgramError as error:
            raise Fault(Cause.ILLEGAL_INSTRUCTION) from error
        return instruction.resolved(self.state.arguments.tolist())

    def _execute(self, instruction: Instruction, address: int) -> tuple[int, int]:
        """Execute one instruction; return the rows it streamed and the elements it clipped."""
        try:
            match instruction.opcode:
                case Opcode.HALT:
                    check_released(self.state)
                    if self.state.chained:
                        raise ProgramError("a chained MATMUL must stream what chained LOADs wrote")
                case Opcode.MATMUL:
                    return matmul(self.state, instruction)
                case Opcode.ATTEND:
                    return attend(self.state, instruction), 0
                case Opcode.LOAD:
                    self._load(instruction)
                case Opcode.STORE:
                    self._store(instruction)
                case Opcode.NORM:
                    execute_norm(self.state, instruction)
                case Opcode.MULTIPLY:
                    execute_multiply(self.state, instruction)
                case Opcode.ARGMAX:
                    execute_argmax(self.state, instruction)
        except ProgramError as error:
            raise ProgramError(
                f"instruction at {address:#x}, {instruction.opcode.name}: {error}"
            ) from error
        return 0, 0

    def _load(self, instruction: Instruction) -> None:
        space = check_range(instruction, "space", 0, max(Space))
        words = check_range(instruction, "words", 1, 65535)
        chained = check_chaining(self.config, instruction)
        if space in (Space.PARAMETERS, Space.TABLE):
            check_range(instruction, "rows", 1, 1)
            if space == Space.TABLE:
                self._load_table(instruction)
            else:
                self._load_parameters(instruction, words)
            return
        rows = check_range(instruction, "rows", 1, 65535)
        runs, length = (words, rows) if chained else (rows, words)
        values = self.state.window.read(
            instruction["address"],
            length * self.config.lanes * (2 if space == Space.ROWS16 else 1),
            rows=runs,
            pitch=instruction["pitch"],
        ).view("<i2" if space == Space.ROWS16 else np.int8)
        base, stride = instruction["base"], instruction["stride"]
        if chained:  # memory has word after word of all rows
            values = values.reshape(words, rows, -1).swapaxes(0, 1).reshape(rows, -1)
            places = self.state.scratchpad.addresses(base, stride, rows, values.shape[1])
            self.state.chained.extend(places.T.ravel().tolist())
        self.state.scratchpad.write(base, stride, values, instruction["slot"])

    def _load_parameters(self, instruction: Instruction, words: int) -> None:
        entries = self.state.window.read(instruction["address"], words * PARAMETER.itemsize)
        entries = entries.view(PARAMETER)[0]
        first, last = instruction["base"], instruction["base"] + words
        if last > len(self.state.parameters):
            raise ProgramError(
                f"parameter entry {last - 1} does not exist; there are {len(self.state.parameters)}"
            )
        # The buffer keeps 15 bits of a multiplier and 6 of a shift.
        self.state.parameters[first:last, 0] = entries["multiplier"] & 0x7FFF
        self.state.parameters[first:last, 1] = entries["shift"] & 0x3F
        self.state.parameters[first:last, 2] = entries["bias"]

    def _load_table(self, instruction: Instruction) -> None:
        check_range(instruction, "words", 256, 256)
        check_range(instruction, "base", 0, 0)
        entries = self.state.window.read(instruction["address"], 4 * 256)
        self.state.table[:] = entries.view("<i2").reshape(256, 2)

    def _store(self, instruction: Instruction) -> None:
        space = check_range(instruction, "space", Space.ROWS16, Space.ROWS8)
        width = check_range(instruction, "words", 1, 65535) * self.config.lanes
        count = check_range(instruction, "count", 0, width)
        first = check_range(instruction, "first", 0, width - count if count else 0)
        rows = check_range(instruction, "rows", 1, 65535)
        values = self.state.scratchpad.read(
            instruction["base"], instruction["stride"], rows, width
        )[:, first : first + (count or width)]
        if space == Space.ROWS16:
            data = np.ascontiguousarray(values, "<i2").view(np.uint8)
            first *= 2  # bytes
        else:
            data = values.astype(np.uint8)  # the low byte
        self.state.window.write(
            instruction["address"], data, pitch=instruction["pitch"], first=first
        )
