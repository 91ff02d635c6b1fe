"""Where things lie in the local memory of a microprogrammed machine."""

from celosia.config import MachineConfig
from celosia.errors import ConfigError
from celosia.isa import ARGUMENTS, INSTRUCTION_BYTES

__all__ = ["LANES", "STRIP", "MicroLayout"]

#: Rows and columns of the array that a microprogrammed machine stands for.
LANES = 4
#: Inputs of the strip of weights.
STRIP = 256
#: Half-words that the ports of the processor reach.
_MOST = 1 << 15


class MicroLayout:
    """Places in the local memory, in half-words.

    Attributes
    ----------
    scratchpad, exponents, parameters, table : int
        What all machines have: words of 4 lanes, a half-word for a row, 4 half-words for an entry,
        2 for a segment.
    arguments, instruction : int
        Argument registers and the instruction that is executed, as memory has it.
    sums : int
        Accumulators: 4 words for each of `accumulator_rows`.
    states : int
        Exponent and denominator of each query.
    row, keys, logits, probabilities : int
        Of one row: 4 sums, exponents of 4 keys, 4 logits as words, 4 probabilities.
    words : int
        Words of 32 bits of all together.

    Raises
    ------
    ConfigError
        If the machine is not of this kind, or too large.
    """

    def __init__(self, config: MachineConfig) -> None:
        self._end = 0
        self.scratchpad = self._take(4 * config.scratchpad_words)
        self.exponents = self._take(config.exponent_slots)
        self.parameters = self._take(4 * config.parameter_entries)
        self.table = self._take(2 * 256)
        self.arguments = self._take(2 * ARGUMENTS)
        self.instruction = self._take(INSTRUCTION_BYTES // 2)
        self.sums = self._take(8 * config.accumulator_rows)
        self.states = self._take(4 * config.attention_rows)
        self.row = self._take(8)
        self.keys = self._take(4)
        self.logits = self._take(8)
        self.probabilities = self._take(4)
        if self._end > _MOST:
            raise ConfigError(
                f"configuration {config.name!r}: a microprogrammed machine has {_MOST} half-words "
                f"of local memory, not {self._end}; make scratchpad_words smaller"
            )
        self.words = self._end // 2

    def _take(self, count: int) -> int:
        self._end += count
        return self._end - count
