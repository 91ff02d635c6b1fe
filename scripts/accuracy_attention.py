"""Error of the machine's integer attention against float64, over kinds of logits and lengths.

The error of a case is the largest (and the root of the mean square) difference between an output
and its float64 reference over one draw of 64 queries by 64 columns, relative to the largest
reference. Logits are rounded to 1/64 octave and values are int8, as the machine has them; the
reference has the same values, and logits of queries and keys in float64. Softmax, accumulation
and division are those that ATTEND of the golden machine is made of.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from celosia.config import PRESETS, MachineConfig
from celosia.golden.softmax import FRACTION_BITS, attend, attention_float

__all__ = ["KEYS", "KINDS", "TARGET", "Error", "error", "main", "records"]

#: Most that the worst case may be off, in percent.
TARGET = 1.5
#: Numbers of keys.
KEYS = (128, 1024, 8192, 32768)
#: Queries and width of a head.
QUERIES, WIDTH = 64, 64
#: Row exponent of Vᵀ: outputs have this many bits more than int8 values.
VALUE_EXPONENT = 8

Scores = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]


def scaled(spread: float) -> Scores:
    """Queries and keys whose logits are normal with standard deviation `spread`."""

    def draw(rng: np.random.Generator, keys: int) -> tuple[np.ndarray, np.ndarray]:
        return spread * rng.normal(size=(QUERIES, WIDTH)), rng.normal(size=(keys, WIDTH))

    return draw


def sink(rng: np.random.Generator, keys: int) -> tuple[np.ndarray, np.ndarray]:
    """Normal logits, but that of the first key is larger by 10: it draws most attention."""
    q, k = scaled(1.0)(rng, keys)
    q[:, 0], k[:, 0] = 1.0, 0.0
    k[0, 0] = 10 * np.sqrt(WIDTH)
    return q, k


KINDS: dict[str, Scores] = {
    "flat": scaled(0.1),
    "normal": scaled(1.0),
    "sink": sink,
    "peaky": scaled(4.0),
}


class Error(NamedTuple):
    """Error of one case, in percent of the largest output."""

    worst: float
    rms: float


def error(config: MachineConfig, kind: str, keys: int, seed: int = 0) -> Error:
    """Return the error of one draw of a case."""
    rng = np.random.default_rng([seed, list(KINDS).index(kind), keys])
    q, k = KINDS[kind](rng, keys)
    v = rng.integers(-127, 128, (keys, WIDTH))
    octaves = q @ k.T / np.sqrt(WIDTH) * np.log2(np.e)
    logits = np.clip(np.round(octaves * (1 << FRACTION_BITS)), -(1 << 15), (1 << 15) - 1)
    found = attend(config, logits.astype(np.int64), v, VALUE_EXPONENT) / (1 << VALUE_EXPONENT)
    exact = attention_float(q, k, v)
    off = 100 * np.abs(found - exact) / np.abs(exact).max()
    return Error(float(off.max()), float(np.sqrt(np.square(off).mean())))


def records(config: MachineConfig) -> list[dict[str, object]]:
    """Measure every case; the last records are the worst rms and the worst of all."""
    errors = {f"{kind}.k{keys}": error(config, kind, keys) for kind in KINDS for keys in KEYS}
    found = {name: case.worst for name, case in errors.items()}
    found["rms"] = max(case.rms for case in errors.values())
    found["worst"] = max(found.values())
    return [
        {
            "name": f"accuracy.attention.{name}",
            "value": round(value, 3),
            "unit": "%",
            "target": TARGET,
            "limit": 0.0,
            "config": config.name,
            "how": "python scripts/accuracy_attention.py",
        }
        for name, value in found.items()
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the records there")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="report these records only")
    options = parser.parse_args(arguments)

    found = records(PRESETS["bench"])
    if options.only:
        unknown = sorted(set(options.only) - {str(record["name"]) for record in found})
        if unknown:
            parser.error(f"unknown record {unknown[0]!r}")
        found = [record for record in found if record["name"] in options.only]
    for record in found:
        print(f"{record['name']:34} {record['value']:7.3f} %   target {record['target']} %")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
