"""Accuracy of language models on the golden machine, which computes bit for bit what hardware does.

The four models of mathformer answer 345 problems, all of which they answer right in floating
point. Of glassllm it is the mean negative log-likelihood of a page that counts, over windows as
long as its context, each from an empty cache: by how much it is above that of the float model.
"""

from collections import Counter

import numpy as np
from records import Measurement, main

from celosia.compiler.checkpoint import load_model
from celosia.compiler.compile_decoder import compile_decoder
from celosia.compiler.datasets_text import alice_page, arithmetic_problems
from celosia.compiler.precision import log_softmax
from celosia.compiler.program import Program
from celosia.compiler.recipe import Recipe
from celosia.compiler.text import load_codec
from celosia.config import PRESETS, MachineConfig
from celosia.golden.reference_decoder import forward, nll
from celosia.runtime.generate import Generator, generate
from celosia.runtime.golden_device import GoldenDevice

__all__ = ["MEASUREMENTS", "nll_delta"]

ARITHMETIC, PAGE = PRESETS["small"], PRESETS["bench"]
#: Most tokens of an answer.
ANSWER = 8


def open_generator(program: Program) -> Generator:
    """Return a language model on the golden machine."""
    return Generator(program, GoldenDevice(program.config).open(program))


def correct() -> dict[str, object]:
    """Count the problems that are answered right, each matrix in the precision chosen for it."""
    problems, wrong, precisions = arithmetic_problems(), [], Counter()
    for name in dict.fromkeys(name for _, _, name in problems):
        program, codec = compile_decoder(load_model(name), ARITHMETIC), load_codec(name)
        precisions.update(one["precision"] for one in program.extra["report"])
        generator = open_generator(program)
        for prompt, answer, wanted in problems:
            if wanted == name:
                generator.reset()
                ids = generate(generator, codec.encode(prompt), ANSWER, stop=codec.stop)
                found = codec.decode(list(ids))
                wrong += [] if found == answer else [f"{prompt}{found}"]
    return {
        "value": len(problems) - len(wrong),
        "problems": len(problems),
        "wrong": wrong,
        "precisions": dict(precisions),
    }


def nll_delta(config: MachineConfig = PAGE, weights: Recipe | None = None) -> dict[str, object]:
    """Compare the likelihood of a page with that by the float model, all matrices A8."""
    decoder = load_model("glassllm")
    tokens = np.array(load_codec("glassllm").encode(alice_page()))
    program = compile_decoder(decoder, config, precision="A8W8", weights=weights)
    generator = open_generator(program)
    block, found, exact, diverged = generator.shape.block, [], [], []
    for first in range(0, len(tokens) - decoder.context + 1, decoder.context):
        window = tokens[first : first + decoder.context]
        generator.reset()
        rows = []
        for start in range(0, len(window), block):
            generator.score(window[start : start + block])
            rows.append(generator.logits())
        ours, right = np.concatenate(rows), forward(decoder, window)
        found.append(nll(ours, window))
        exact.append(nll(right, window))
        p, q = log_softmax(right), log_softmax(ours)
        diverged.append((np.exp(p) * (p - q)).sum(axis=-1))
    return {
        "value": float(np.mean(found) - np.mean(exact)),
        "nll": float(np.mean(found)),
        "nll_float": float(np.mean(exact)),
        # The difference may be negative by chance; this is what it comes from, and never is.
        "divergence": float(np.mean(diverged)),
        "divergence_worst": float(np.max(diverged)),
        "weight_bytes": sum(one["bytes"] for one in program.extra["report"]),
        "windows": len(found),
        "tokens": len(found) * decoder.context,
    }


MEASUREMENTS = [
    Measurement("accuracy.mathformer.correct", 344, 345, "of 345", ARITHMETIC.name, correct),
    Measurement("accuracy.glassllm.w8.nll_delta", 0.01, 0.0, "nats", PAGE.name, nll_delta),
]

if __name__ == "__main__":
    main(__doc__, "accuracy_decoders.py", MEASUREMENTS)
