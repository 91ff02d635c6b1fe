"""Measures how far estimates of LUTs and flip-flops are from what synthesis makes of presets.

Each preset is synthesised, 2 to 5 minutes. The value is the error of an estimate that was fitted to
other machines only; `error` is that of what `celosia synthesize` says, which may have learnt from
this one. Multipliers and block RAMs must be exact.
"""

from functools import cache, partial

from fit_estimates import measure, total, without
from records import Measurement, main

from celosia.config import PRESETS
from celosia.platforms.estimate import BOARD_BLOCK_RAMS, ERROR, KINDS, Estimate
from celosia.platforms.estimate_table import COEFFICIENTS

NAMES = {"luts": "lut", "flip_flops": "ff"}


@cache
def synthesised(name: str) -> dict[str, dict[str, int]]:
    """Synthesise a preset; return what its parts take."""
    return measure(PRESETS[name])


def error(name: str, kind: str) -> dict[str, object]:
    """Compare a preset with its estimates."""
    config = PRESETS[name]
    parts = synthesised(name)
    there = sum(row[kind] for row in parts.values())
    said = total(config, kind, COEFFICIENTS, parts)
    guessed = total(config, kind, without(config), parts)
    return {
        "value": round(abs(guessed / there - 1), 4),
        "error": round(said / there - 1, 4),
        "estimated": round(said),
        "synthesised": there,
    }


def exact(name: str, resource: str) -> dict[str, object]:
    """Compare what is to be exact."""
    there = sum(row[resource] for row in synthesised(name).values())
    said = getattr(Estimate(PRESETS[name]), resource)
    if "board" not in synthesised(name):
        said -= BOARD_BLOCK_RAMS if resource == "block_rams" else 0
    return {"value": abs(said - there), "estimated": said, "synthesised": there}


MEASUREMENTS = [
    *(
        Measurement(
            f"estimate.error.{NAMES[kind]}.{name}", ERROR, 0, "", name, partial(error, name, kind)
        )
        for name in ("tiny", "small", "ulx3s")
        for kind in KINDS
    ),
    *(
        Measurement(
            f"estimate.error.{short}.{name}", 0, 0, "", name, partial(exact, name, resource)
        )
        for name in ("tiny", "small", "ulx3s")
        for short, resource in (("mult", "multipliers"), ("bram", "block_rams"))
    ),
]

if __name__ == "__main__":
    main(str(__doc__), "bench_estimate.py", MEASUREMENTS)
