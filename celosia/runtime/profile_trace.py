"""A profile as a trace for Perfetto (ui.perfetto.dev) or chrome://tracing; one cycle is 1 µs."""

import json
from itertools import pairwise
from typing import Any

from celosia.isa import Unit
from celosia.runtime.attribution import MAC
from celosia.runtime.profile import Profile

__all__ = ["ARRAY", "memory_rates", "trace_json", "tracks"]

ARRAY = "array"
#: Cycles over which the memory's rate is averaged; there are records at least as often.
STEP = 256


def tracks(profile: Profile) -> dict[str, list[tuple[int, int, str, str]]]:
    """Return what each track shows: first cycle, cycle after, name, and the layer.

    A unit may have several instructions under way, but they end in order; each is shown from the
    end of the one before on.
    """
    found: dict[str, list[tuple[int, int, str, str]]] = {}
    for unit in Unit:
        free, slices = 0, []
        for span in profile.timeline.units[unit]:
            name = profile.names[span.index]
            slices.append((max(span.start, free), span.end, span.instruction.opcode.name, name))
            free = span.end
        found[unit.name.lower()] = slices
    found[ARRAY] = [
        (piece.begin, piece.end, piece.cause, profile.names[piece.span.index])
        for piece in profile.pieces
    ]
    for unit in Unit:
        waits = profile.timeline.waits[unit]
        found[f"{unit.name.lower()} waits"] = [(*wait, "waits for tokens", "") for wait in waits]
    return found


def trace_json(profile: Profile) -> str:
    """Return the trace as JSON, in the Trace Event Format."""
    events: list[dict[str, Any]] = [
        {"ph": "M", "pid": 1, "name": "process_name", "args": {"name": profile.program.model}}
    ]
    for number, (track, slices) in enumerate(tracks(profile).items(), 1):
        events += [
            {"ph": "M", "pid": 1, "tid": number, "name": "thread_name", "args": {"name": track}},
            {
                "ph": "M",
                "pid": 1,
                "tid": number,
                "name": "thread_sort_index",
                "args": {"sort_index": number},
            },
        ]
        for begin, end, name, layer in slices:
            if track == ARRAY and name == MAC:
                continue  # what is left of this track are its stalls
            label = f"{name} · {layer}" if layer else name
            events.append({
                "ph": "X",
                "pid": 1,
                "tid": number,
                "ts": begin,
                "dur": end - begin,
                "name": label,
                "args": {"layer": layer},
            })
    for begin, _, read, written in memory_rates(profile):
        rates = {"read": read, "written": written}
        events.append({"ph": "C", "pid": 1, "ts": begin, "name": "bytes per cycle", "args": rates})
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}) + "\n"


def memory_rates(profile: Profile) -> list[tuple[int, int, float, float]]:
    """Return the bytes read and written per cycle, between events at least `STEP` cycles apart."""
    width = profile.program.config.memory_width
    beats = profile.timeline.beats.tolist()
    kept = [beats[0]]
    for record in beats[1:]:
        if record[0] - kept[-1][0] >= STEP or record is beats[-1]:
            kept.append(record)
    return [
        (now, then, (reads - read) * width / (then - now), (writes - wrote) * width / (then - now))
        for (now, read, wrote), (then, reads, writes) in pairwise(kept)
        if then > now
    ]
