"""Values of the argument registers, and programs with them added."""

from collections.abc import Iterable, Sequence

from celosia.errors import ProgramError
from celosia.isa import ARGUMENTS, Instruction

__all__ = ["check_arguments", "resolve"]


def check_arguments(arguments: Sequence[int]) -> tuple[int, ...]:
    """Return the values of the argument registers from 0 on, as integers.

    Raises
    ------
    ProgramError
        If there are more than registers, or one does not fit its 32 bits.
    """
    if len(arguments) > ARGUMENTS:
        raise ProgramError(f"there are {ARGUMENTS} argument registers, not {len(arguments)}")
    for register, value in enumerate(arguments):
        if not 0 <= value < 1 << 32:
            raise ProgramError(
                f"argument {register} must be 0 to {(1 << 32) - 1}, not {value}; a negative one "
                "is given modulo 2^32"
            )
    return tuple(int(value) for value in arguments)


def resolve(program: Iterable[Instruction], arguments: Sequence[int] = ()) -> list[Instruction]:
    """Return the program as its units see it; registers beyond `arguments` are 0.

    Raises
    ------
    ProgramError
        If the arguments are not values of the registers.
    """
    values = check_arguments(arguments)
    values += (0,) * (ARGUMENTS - len(values))
    return [instruction.resolved(values) for instruction in program]
