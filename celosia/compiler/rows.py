"""What a LOAD or STORE touches of each of its rows."""

from celosia.config import MachineConfig
from celosia.isa import Instruction, Opcode, Space

__all__ = ["ENTRY_BYTES", "touched"]

#: Bytes of an entry of the parameters and of the table.
ENTRY_BYTES = {Space.PARAMETERS: 8, Space.TABLE: 4}


def touched(instruction: Instruction, config: MachineConfig) -> tuple[range, range]:
    """Return the words and the beats of memory that are touched, counted from a row's first.

    Only a STORE with a count does not touch all of them.
    """
    words, space = instruction["words"], Space(instruction["space"])
    if space in ENTRY_BYTES:
        return range(words), range(-(-words * ENTRY_BYTES[space] // config.memory_width))
    first, end = 0, words * config.lanes
    if instruction.opcode is Opcode.STORE and instruction["count"]:
        first = instruction["first"]
        end = first + instruction["count"]
    size = 2 if space is Space.ROWS16 else 1
    beats = range(size * first // config.memory_width, -(-size * end // config.memory_width))
    return range(first // config.lanes, -(-end // config.lanes)), beats
