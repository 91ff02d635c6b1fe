"""A profile as one page of HTML: timeline, roofline, table. It needs no script and no network."""

from collections.abc import Iterable
from math import ceil, floor, log10
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from numpy.typing import NDArray

from celosia.runtime.attribution import CAUSES, MAC
from celosia.runtime.profile import Layer, Profile
from celosia.runtime.profile_trace import ARRAY, tracks

__all__ = ["page_html"]

TEMPLATE = Path(__file__).parent / "profile_page.html"
#: Width of the timeline's drawing, in units of the SVG; also the columns of the array's track.
WIDTH = 1200
#: Size of the roofline's drawing.
ROOFLINE = (640, 360)
COLOURS = dict(
    zip(
        (MAC, *CAUSES),
        ("#2f7d4f", "#d9822b", "#c23b22", "#8e5bb5", "#3b78c2", "#7f6a2d", "#9a9a9a"),
        strict=True,
    )
)


def page_html(profile: Profile) -> str:
    """Return the page."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["number"] = lambda value: f"{value:,.0f}"
    shown = tracks(profile)
    del shown[ARRAY]
    scale = WIDTH / profile.timeline.cycles
    return environment.from_string(TEMPLATE.read_text()).render(
        profile=profile,
        config=profile.program.config,
        causes={MAC: "a row enters the array", **CAUSES},
        colours=COLOURS,
        hues=_hues(profile.layers),
        width=WIDTH,
        tracks={name: list(_slices(slices, scale)) for name, slices in shown.items() if slices},
        array=_columns(profile),
        roofline=_roofline(profile),
    )


def _hues(layers: list[Layer]) -> dict[str, int]:
    """Give every layer a hue; neighbours are far apart on the colour wheel."""
    return {layer.name: round(137.5 * number) % 360 for number, layer in enumerate(layers)}


def _slices(slices: Iterable[tuple[int, int, str, str]], scale: float) -> Iterable[dict[str, Any]]:
    for begin, end, name, layer in slices:
        yield {
            "x": round(begin * scale, 2),
            "width": round(max((end - begin) * scale, 0.5), 2),
            "layer": layer,
            "title": f"{name} {layer}: cycles {begin:,} to {end:,}",
        }


def _columns(profile: Profile) -> list[tuple[int, str, float, float]]:
    """Return bars of the array's track: column, cause, from and to which share of its height."""
    edges = np.linspace(0, profile.timeline.cycles, WIDTH + 1)
    shares = {cause: np.zeros(WIDTH) for cause in COLOURS}
    for cause, share in shares.items():
        pieces = [(piece.begin, piece.end) for piece in profile.pieces if piece.cause == cause]
        share += np.diff(_covered(np.array(pieces, float).reshape(-1, 2), edges)) / np.diff(edges)
    bars, base = [], np.zeros(WIDTH)
    for cause, share in shares.items():
        for column in np.flatnonzero(share > 0.005).tolist():
            low = float(base[column])
            bars.append((column, cause, round(low, 3), round(low + float(share[column]), 3)))
        base += share
    return bars


def _covered(pieces: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how many cycles before each edge lie in one of the pieces, which do not overlap."""
    if not pieces.size:
        return np.zeros_like(edges)
    lengths = np.concatenate([[0.0], np.cumsum(pieces[:, 1] - pieces[:, 0])])
    times = pieces.reshape(-1)  # begins and ends in turn: the sum rises from each begin to its end
    return np.interp(edges, times, np.repeat(lengths, 2)[1:-1])


def _roofline(profile: Profile) -> dict[str, Any]:
    """Return the drawing of the roofline, both axes logarithmic."""
    total = profile.total
    peak, slope = profile.program.config.products_per_cycle, total.bandwidth
    layers = [layer for layer in profile.layers if layer.products and layer.cycles]
    placed = [(layer, layer.intensity) for layer in [*layers, *([total] if layers else [])]]
    known = [intensity for _, intensity in placed if intensity] + [peak / slope]
    rates = [layer.products / layer.cycles for layer, _ in placed] + [peak]
    left, right = floor(log10(min(known))), ceil(log10(max(known))) + 1
    low, high = floor(log10(min(rates))), ceil(log10(peak))
    across, down = ROOFLINE

    def at(intensity: float, rate: float) -> tuple[float, float]:
        x = (log10(intensity) - left) / (right - left) * across
        return round(x, 1), round((high - log10(rate)) / (high - low) * down, 1)

    points = []
    for layer, intensity in placed:
        # Without any bytes memory is no limit: such a layer stands at the right edge.
        x, y = at(intensity or 10.0**right, layer.products / layer.cycles)
        points.append({"layer": layer, "x": x, "y": y})
    start = max(10.0**left, 10.0**low / slope)
    return {
        "width": across,
        "height": down,
        "roof": [at(start, start * slope), at(peak / slope, peak), at(10.0**right, peak)],
        "points": points,
        "x_ticks": [
            (at(10.0**power, peak)[0], f"{10.0**power:g}") for power in range(left, right + 1)
        ],
        "y_ticks": [
            (at(1.0, 10.0**power)[1], f"{10.0**power:g}") for power in range(low, high + 1)
        ],
    }
