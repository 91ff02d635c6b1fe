"""Small random decoders, compiled and run on the golden machine."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from checkpoints import write
from checkpoints_decoder import LLAMA, llama_tensors

from celosia.compiler.checkpoint import load_model
from celosia.compiler.decoder import Rope
from celosia.golden.reference_decoder import forward
from celosia.runtime.generate import Generator
from celosia.runtime.golden_device import GoldenDevice

ATTENTION, GATED = {"q", "k", "v", "o"}, {"gate", "up", "down"}


def build(*, layout="half", biases="", seed=0, **changes):
    """A random decoder, of 2 layers, 6 heads of 4 on 2 heads of K and V, if nothing is changed."""
    named = set(biases.split())
    config = LLAMA | {"attention_bias": bool(named & ATTENTION), "mlp_bias": bool(named & GATED)}
    config |= {"max_position_embeddings": 40} | changes
    with TemporaryDirectory() as folder:
        tensors = llama_tensors(config, biases=biases, seed=seed)
        decoder = load_model(write(Path(folder) / "odd", tensors, config))
    return replace(decoder, rope=Rope(base=decoder.rope.base, layout=layout))


def tokens_of(decoder, count=None, seed=0):
    """Random token ids, as many as the context has by default."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, decoder.vocabulary, count or decoder.context)


def samples_of(decoder):
    """Sequences to calibrate with, none of them one of `tokens_of` with a small seed."""
    return [tokens_of(decoder, seed=seed) for seed in range(100, 106)]


def opened(program):
    """A generator on a golden machine, with noise wherever the program has put nothing."""
    generator = Generator(program, GoldenDevice(program.config).open(program))
    memory = generator.session.memory
    free = memory.size - len(program.image)
    memory[len(program.image) :] = np.random.default_rng(1).integers(0, 256, free, np.uint8)
    return generator


def cuts(count, most, rng=None):
    """Places to cut `count` tokens into runs of at most `most`, random ones with `rng`."""
    places = [0]
    while places[-1] < count:
        size = most if rng is None else int(rng.integers(1, most + 1))
        places.append(min(places[-1] + size, count))
    return places


def scored(generator, tokens, places=None, sequence=0):
    """The logits behind every token, run in pieces of the largest size or cut at `places`."""
    places = places or cuts(len(tokens), generator.shape.block)
    rows = []
    for first, last in pairwise(places):
        best = generator.score(tokens[first:last], sequence)
        rows.append(generator.logits())
        np.testing.assert_array_equal(best, rows[-1].argmax(axis=1))
    return np.concatenate(rows)


def cache(generator, sequence=None):
    """The bytes of a sequence's cache, or of all of them."""
    place, size = generator.program.extra["cache"]["address"], generator.shape.sequence_bytes
    whole = generator.session.memory[place:][: size * generator.shape.sequences]
    return whole if sequence is None else whole[sequence * size :][:size]


def error(decoder, tokens, logits):
    """Root mean square of the logits' error, by that of the float reference's logits."""
    exact = forward(decoder, tokens)
    return float(np.sqrt(np.square(logits - exact).mean() / np.square(exact).mean()))
