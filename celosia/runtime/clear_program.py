"""A program that brings a machine back to zeros: boards keep what the last program left."""

from celosia import isa
from celosia.config import MachineConfig
from celosia.isa import Instruction, Opcode, Space

__all__ = ["clear_image"]

_TABLE_ENTRIES, _TABLE_BYTES, _PARAMETER_BYTES = 256, 1024, 8


def clear_image(config: MachineConfig) -> bytes:
    """Return a program, to be put at the window's begin, that loads zeros everywhere.

    Scratchpad, exponents, parameters and the activation table are 0 after it, and the window is but
    for the image itself if it was before.
    """
    row = 2 * config.lanes  # bytes of a scratchpad word
    zeros = max(_TABLE_BYTES, row)
    wide, slots = zeros // row, config.exponent_slots
    entries = zeros // _PARAMETER_BYTES
    loads: list[dict[str, int]] = []

    def rows(base: int, rows: int, words: int, slot: int = 0) -> None:
        loads.append({"rows": rows, "words": words, "base": base, "stride": words, "slot": slot})

    # All rows are read from the same zeros.
    tall = min(slots, config.scratchpad_words)
    for slot in range(0, slots, tall):
        rows(0, min(tall, slots - slot), 1, slot)
    at = 0
    while left := config.scratchpad_words - at:
        words = min(wide, max(1, left // slots))
        rows(at, min(slots, left // words), words)
        at += min(slots, left // words) * words
    for entry in range(0, config.parameter_entries, entries):
        words = min(entries, config.parameter_entries - entry)
        loads.append({"space": Space.PARAMETERS, "rows": 1, "words": words, "base": entry})
    loads.append({"space": Space.TABLE, "rows": 1, "words": _TABLE_ENTRIES})
    size = (len(loads) + 1) * isa.INSTRUCTION_BYTES
    code = [Instruction(Opcode.LOAD, load | {"address": size}) for load in loads]
    return isa.assemble([*code, Instruction(Opcode.HALT)]) + bytes(zeros)
