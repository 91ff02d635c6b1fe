"""What a LOAD or STORE touches of each of its rows."""

from celosia.config import MachineConfig
from celosia.isa import Flag, Instruction, Opcode, Space

__all__ = ["ENTRY_BYTES", "memory_rows", "touched"]

#: Bytes of an entry of the parameters and of the table.
ENTRY_BYTES = {Space.PARAMETERS: 8, Space.TABLE: 4}


def memory_rows(instruction: Instruction) -> int:
    """Return the rows that lie in memory: of a chained LOAD one for each word of its rows."""
    if Space(instruction["space"]) in ENTRY_BYTES:
        return 1
    return instruction["words" if Flag.CHAIN in instruction.flags else "rows"]


def touched(instruction: Instruction, config: MachineConfig) -> tuple[range, range]:
    """Return the words of a row and the beats of one in memory that are touched, from its first.

    Only a STORE with a count does not touch all of them. In memory a row of a chained LOAD has the
    same word of all its rows.
    """
    words, space = instruction["words"], Space(instruction["space"])
    if space in ENTRY_BYTES:
        return range(words), range(-(-words * ENTRY_BYTES[space] // config.memory_width))
    first, end = 0, words * config.lanes
    if instruction.opcode is Opcode.STORE and instruction["count"]:
        first = instruction["first"]
        end = first + instruction["count"]
    size = 2 if space is Space.ROWS16 else 1
    last = instruction["rows"] * config.lanes if Flag.CHAIN in instruction.flags else end
    beats = range(size * first // config.memory_width, -(-size * last // config.memory_width))
    return range(first // config.lanes, -(-end // config.lanes)), beats
