"""Whose each cycle of a run was: every cycle goes to one instruction, and one cause.

The array decides. A cycle in which it takes a row belongs to the row's instruction. In any other
one the next row is late, and the cycle belongs to whatever held it back.
"""

from dataclasses import dataclass

from celosia.config import MachineConfig
from celosia.isa import Flag, Unit
from celosia.runtime.compare import mac_rows
from celosia.runtime.timeline import ArrayState, Span, Timeline

__all__ = ["CAUSES", "MAC", "Piece", "attribute"]

#: A row enters the array.
MAC = "mac"
#: Why none does, and what that means.
CAUSES = {
    "weights": "its tile is still on the way from the scratchpad",
    "rows": "the row itself, or its probabilities, are not there yet",
    "accumulators": "the accumulators that it needs are still being drained",
    "token": "its instruction waits for the result of another one",
    "memory": "its tile or its operands are still on the way from memory, or results to it",
    "issue": "its instruction has not reached the unit",
}


@dataclass(frozen=True)
class Piece:
    """Cycles from `begin` up to `end` that belong to one instruction, for one cause."""

    begin: int
    end: int
    span: Span
    cause: str


def attribute(timeline: Timeline, config: MachineConfig) -> list[Piece]:
    """Give each cycle of a run to an instruction, in order and without gaps.

    Rows enter the array in the order of the instructions, except that ATTENDs next to each other
    may mix; the cycles of such a mix go to them in the order of the program.
    """
    queue = iter(timeline.units[Unit.MATRIX])
    givers = _last_givers(timeline)
    pieces: list[Piece] = []
    span, left = None, 0
    for begin, end, state in timeline.array:
        while begin < end:
            if left == 0:
                span = next(queue, None)
                left = mac_rows(span.instruction, config) if span else -1
            if span is None:
                after = _after_the_last_row(timeline)
                upto, (owner, cause) = end, after
            elif state is ArrayState.ROW:
                upto = min(end, begin + left)
                left -= upto - begin
                owner, cause = span, MAC
            else:
                upto, owner, cause = _stall(begin, end, state, span, givers[span.index])
            _append(pieces, Piece(begin, upto, owner, cause))
            begin = upto
    return pieces


def _stall(
    begin: int, end: int, state: ArrayState, span: Span, giver: Span | None
) -> tuple[int, Span, str]:
    """Return up to which cycle one reason holds, whose cycles these are, and the cause."""
    if state is ArrayState.TILE:
        from_memory = Flag.WEIGHTS_IN_MEMORY in span.instruction.flags
        return end, span, "memory" if from_memory else "weights"
    if state is ArrayState.BANK:
        return end, span, "accumulators"
    if begin >= span.start:
        return end, span, "rows"
    if giver is not None and begin <= giver.end:
        return min(end, giver.end + 1), giver, _cause_of(giver)
    return min(end, span.start), span, "issue"


def _cause_of(giver: Span) -> str:
    return "memory" if giver.instruction.unit in (Unit.LOAD, Unit.STORE) else "token"


def _last_givers(timeline: Timeline) -> dict[int, Span | None]:
    """Find for each matrix instruction the one whose token came last, by places in the program."""
    tokens = {
        unit: iter([
            span for span in timeline.units[unit] if Unit.MATRIX in span.instruction.signal
        ])
        for unit in Unit
    }
    found: dict[int, Span | None] = {}
    for span in timeline.units[Unit.MATRIX]:
        givers = [next(tokens[unit]) for unit in Unit if unit in span.instruction.wait]
        found[span.index] = max(givers, key=lambda giver: giver.end, default=None)
    return found


def _after_the_last_row(timeline: Timeline) -> tuple[Span, str]:
    """Return the instruction that ended last: the end of the run waits for it."""
    last = max((spans[-1] for spans in timeline.units if spans), key=lambda span: span.end)
    return last, _cause_of(last)


def _append(pieces: list[Piece], piece: Piece) -> None:
    """Add a piece; join it to the one before if only its cycles differ."""
    if pieces and (pieces[-1].span, pieces[-1].cause) == (piece.span, piece.cause):
        piece = Piece(pieces.pop().begin, piece.end, piece.span, piece.cause)
    pieces.append(piece)
