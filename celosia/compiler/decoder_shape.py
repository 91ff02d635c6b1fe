"""Argument registers of a decoder's program: what the host sets for a number of tokens at a place.

One program serves every length and every position, because whatever depends on them is added to its
instructions from these registers.
"""

from dataclasses import dataclass
from enum import IntEnum

from celosia.errors import ModelError

__all__ = ["Argument", "DecoderShape"]


class Argument(IntEnum):
    """Registers, for T tokens from position P on, the last S of which are scored."""

    TOKENS = 0
    """T."""
    SCORED = 1
    """S."""
    LAST = 2
    """Words from the first row of the residual stream to the first that is scored."""
    POSITION = 3
    """P."""
    KEYS = 4
    """P + T."""
    KEY_WORDS = 5
    """Words of a row of Vᵀ with all keys."""
    QUERIES = 6
    """Queries that share a head of K: T for each of a group."""
    SEQUENCE = 7
    """Bytes to the cache of the sequence."""
    KEY_PLACE = 8
    """Bytes to where the first new key goes."""
    VALUE_PLACE = 9
    """Bytes to the beat in which the first new value goes."""
    VALUE_WORDS = 10
    """Words from that beat to the last new value."""
    LANE = 11
    """The new value's place in that beat."""
    LANE_END = 12
    """The place behind the last new value."""
    LANE_ROWS = 13
    """Minus the words of LANE rows of V."""
    LANE_SLOTS = 14
    """Minus LANE."""
    TURN = 15
    """Bytes to the cosines and sines of the position."""


@dataclass(frozen=True, kw_only=True)
class DecoderShape:
    """What a decoder's program is made for.

    Parameters
    ----------
    context : int
        Most positions of a sequence.
    block : int
        Most tokens of one run.
    sequences : int
        Caches that there are.
    sequence_bytes : int
        Bytes of one cache.
    unit, lanes : int
        Values of one beat or scratchpad word, whichever is larger; lanes of a word.
    group : int
        Heads of Q that share a head of K in one instruction.
    stream_stride, value_stride : int
        Words from row to row of the residual stream and of V.
    key_pitch, turn_pitch : int
        Bytes of a row of the cache's keys, and of a row of cosines and sines.
    """

    context: int
    block: int
    sequences: int
    sequence_bytes: int
    unit: int
    lanes: int
    group: int
    stream_stride: int
    value_stride: int
    key_pitch: int
    turn_pitch: int

    def arguments(
        self, position: int, tokens: int, *, scored: int = 1, sequence: int = 0
    ) -> list[int]:
        """Return the registers, by `Argument`, for a run.

        Parameters
        ----------
        position : int
            Position of the first token: the tokens that the cache has.
        tokens : int
            Tokens of the run, 1 to `block`.
        scored : int
            How many of them, the last ones, get logits.
        sequence : int
            Whose cache.

        Raises
        ------
        ModelError
            If they do not fit the program.
        """
        if not 1 <= tokens <= self.block:
            raise ModelError(f"a run takes 1 to {self.block} tokens, not {tokens}")
        if not 1 <= scored <= tokens:
            raise ModelError(f"of {tokens} tokens 1 to {tokens} can be scored, not {scored}")
        if not 0 <= sequence < self.sequences:
            raise ModelError(
                f"sequence must be 0 to {self.sequences - 1}, not {sequence}; compile the model "
                "for more sequences"
            )
        if position < 0 or position + tokens > self.context:
            raise ModelError(
                f"the cache holds {self.context} positions: {tokens} tokens do not fit behind "
                f"{position}; {max(self.context - position, 0)} do"
            )
        lane = position % self.unit
        keys, words = position + tokens, self.unit // self.lanes

        def beats(values: int) -> int:
            return -(-values // self.unit)

        found = {
            Argument.TOKENS: tokens,
            Argument.SCORED: scored,
            Argument.LAST: (tokens - scored) * self.stream_stride,
            Argument.POSITION: position,
            Argument.KEYS: keys,
            Argument.KEY_WORDS: beats(keys) * words,
            Argument.QUERIES: self.group * tokens,
            Argument.SEQUENCE: sequence * self.sequence_bytes,
            Argument.KEY_PLACE: sequence * self.sequence_bytes + position * self.key_pitch,
            Argument.VALUE_PLACE: sequence * self.sequence_bytes + position - lane,
            Argument.VALUE_WORDS: beats(lane + tokens) * words,
            Argument.LANE: lane,
            Argument.LANE_END: lane + tokens,
            Argument.LANE_ROWS: -lane * self.value_stride,
            Argument.LANE_SLOTS: -lane,
            Argument.TURN: position * self.turn_pitch,
        }
        return [found[argument] & 0xFFFF_FFFF for argument in Argument]
