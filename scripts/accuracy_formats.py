"""Accuracy of number formats and sparsity on the golden machine, beside the bytes that they take.

Of all-MiniLM-L6-v2 it is the mean cosine of sentence embeddings to those of the float model, of
glassllm the mean negative log-likelihood of a page above that of the float model. Activations are
int8 in the array; weights are rounded with error compensation, by sentences and text that are not
those of the test. An encoder's V stays int8. The machine has packed elements that select (M = 4).
"""

from functools import partial

import numpy as np
from accuracy_decoders import nll_delta
from accuracy_minilm import SENTENCES, cosines
from records import Measurement, main

from celosia.compiler.formats import read_weights
from celosia.compiler.recipe import Recipe, parse_recipe
from celosia.config import PRESETS

__all__ = ["FORMATS", "MEASUREMENTS"]

CONFIG = PRESETS["mixed"]
FORMATS = {
    "w4g32": "int4 g32",
    "w4g64": "int4 g64",
    "w4g128": "int4 g128",
    "fp4g32": "fp4 g32",
    "ternary": "ternary g32",
    "nm24": "int8 2:4",
    "block50": "int8 b50%",
    "nm24_w4g32": "int4 g32 2:4",
    "mix5": "",
}
#: Mean of 5 bits a weight, the formats chosen layer by layer.
MIX = {
    "auto": {
        "mean_bits": 5.0,
        "formats": [
            {"code": "int8"},
            {"code": "int4", "group": 32},
            {"code": "int4", "group": 128},
            {"code": "int8", "sparsity": "2:4"},
        ],
    }
}
COSINE_TARGETS = {"w4g32": 0.98}
NLL_TARGETS = {"w4g32": 0.05}


def recipe(name: str) -> Recipe:
    """Return the recipe of a format."""
    return read_weights(FORMATS[name]) if FORMATS[name] else parse_recipe(MIX, "mix")


def _cosine(name: str) -> dict[str, object]:
    found, model = cosines(CONFIG, SENTENCES, weights=recipe(name))
    layers = [one for one in model.report if "bytes" in one]
    size = sum(one["bytes"] for one in layers)
    count = sum(part.weight.size for part in model.encoder.linears)
    return {
        "value": float(np.mean(found)),
        "least": float(np.min(found)),
        "weight_bytes": size,
        "bits": 8 * size / count,
        "layers": [
            {k: one[k] for k in ("name", "format", "bytes", "weight_error")} for one in layers
        ],
    }


def _nll(name: str) -> dict[str, object]:
    return nll_delta(CONFIG, recipe(name))


#: Of each model: metric, target by format, limit, unit, and what measures it.
MODELS = [
    ("accuracy.minilm.{}.cosine", COSINE_TARGETS, 1.0, "", _cosine),
    ("accuracy.glassllm.{}.nll_delta", NLL_TARGETS, 0.0, "nats", _nll),
]
MEASUREMENTS = [
    Measurement(
        metric.format(name), targets.get(name), limit, unit, CONFIG.name, partial(run, name)
    )
    for metric, targets, limit, unit, run in MODELS
    for name in FORMATS
]

if __name__ == "__main__":
    main(str(__doc__), "accuracy_formats.py", MEASUREMENTS)
