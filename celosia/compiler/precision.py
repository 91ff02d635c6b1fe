"""Chooses the precision of each matrix of a decoder, from the error that it makes.

The model runs in floating point with the weights and the rows of its products rounded as the
machine would. What counts is the divergence of the next token's probabilities from those of the
float model: each matrix gets the least precision with which that stays small.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from celosia.compiler.decoder import Decoder
from celosia.compiler.graph import Linear
from celosia.compiler.quantise import quantise_weights
from celosia.golden.fixed import bit_length
from celosia.golden.reference import linear
from celosia.golden.reference_decoder import forward

__all__ = ["PRECISIONS", "Choice", "choose_precision", "divergence", "log_softmax", "matrices"]

#: What a matrix may have, the cheapest first: bits of its streamed rows, bits of its weights. Rows
#: of 16 bits take the array twice as long, but no longer where it waits for tiles, as in decode;
#: weights of 16 bits take twice the memory too.
PRECISIONS = ("A8W8", "A16W8", "A16W16")
#: Divergence of the worst token, in nats, up to which there is nothing to mend.
TOLERANCE = 0.01
#: Most tokens that are looked at.
TOKENS = 1024
#: Magnitudes of an int16 row, at the scale that suits its peak.
LIMIT = 32767


@dataclass(frozen=True)
class Choice:
    """Precision of every matrix.

    Attributes
    ----------
    precision : mapping of str to str
        One of `PRECISIONS` by the name of the matrix.
    plain, reached : float
        Divergence with all A8W8, and with what was chosen.
    steps : list of dict
        What each matrix got, in the order in which they were tried, with the divergence then.
    """

    precision: Mapping[str, str]
    plain: float
    reached: float
    steps: list[dict[str, Any]]


def matrices(decoder: Decoder) -> dict[str, Linear]:
    """Return the matrices by the names that their precision is chosen by."""
    found: dict[str, Linear] = {}
    for index, block in enumerate(decoder.blocks):
        attention, ffn = block.attention, block.ffn
        for name, part in (
            ("q", attention.q),
            ("k", attention.k),
            ("v", attention.v),
            ("o", attention.o),
            ("gate", ffn.gate),
            ("up", ffn.up),
            ("down", ffn.down),
        ):
            found[f"block{index}.{name}"] = part
    return found | {"head": decoder.head}


def rounded_rows(x: NDArray[np.floating], scale: float) -> NDArray[np.floating]:
    """Round rows as the array takes them: int16 at `scale`, then 8 bits and an exponent."""
    codes = np.clip(np.rint(x / scale), -LIMIT - 1, LIMIT)
    peaks = np.abs(codes).max(axis=-1, keepdims=True).astype(np.int64)
    steps = 2.0 ** np.maximum(bit_length(peaks) - 7, 0)
    return np.clip(np.rint(codes / steps), -128, 127) * steps * scale


def rounded_weights(weight: NDArray[np.floating], bits: int) -> NDArray[np.float64]:
    """Round weights to 8 bits a channel, or to 16 as two matrices of 8."""
    values, scale = quantise_weights(weight)
    main = values * scale[:, np.newaxis]
    if bits == 8:
        return main
    values, scale = quantise_weights(weight - main)
    return main + values * scale[:, np.newaxis]


def divergence(
    decoder: Decoder,
    samples: Iterable[NDArray[np.integer]],
    scale: Callable[[str], float],
) -> Callable[[Mapping[str, str]], float]:
    """Return a function from precisions to the divergence of the worst token, in nats.

    Parameters
    ----------
    decoder : Decoder
        The model.
    samples : iterable of (tokens,) int
        Sequences; some `TOKENS` tokens of them are used.
    scale : callable
        Real value of one int16 step of the rows that a matrix takes, by the matrix's name.
    """
    used, count = [], 0
    for sample in samples:
        used.append(sample)
        count += len(sample)
        if count >= TOKENS:
            break
    names = {id(part): name for name, part in matrices(decoder).items()}
    exact = [log_softmax(forward(decoder, sample, dtype=np.float32)) for sample in used]
    weights: dict[tuple[str, int], NDArray[np.float32]] = {}

    def measure(precision: Mapping[str, str]) -> float:
        def product(part: Linear, x: NDArray) -> NDArray:
            name = names.get(id(part))
            if name is None:
                return linear(part, x)
            chosen = precision.get(name, "A8W8")
            bits = 16 if chosen.endswith("W16") else 8
            if (name, bits) not in weights:
                weights[name, bits] = rounded_weights(part.weight, bits).astype(np.float32)
            rows = x if chosen.startswith("A16") else rounded_rows(x, scale(name))
            y = rows.astype(np.float32) @ weights[name, bits].T
            return y if part.bias is None else y + part.bias

        worst = 0.0
        for sample, right in zip(used, exact, strict=True):
            ours = log_softmax(forward(decoder, sample, dtype=np.float32, product=product))
            worst = max(worst, float((np.exp(right) * (right - ours)).sum(axis=-1).max()))
        return worst

    return measure


def log_softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Logarithms of the probabilities of each row."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def choose_precision(
    names: Iterable[str],
    sizes: Mapping[str, int],
    measure: Callable[[Mapping[str, str]], float],
    tolerance: float = TOLERANCE,
) -> Choice:
    """Lower precisions from the highest, what does the least harm first, while the error is small.

    That ends at or below the tolerance if any precision does; from below, errors that cancel each
    other would lead astray.

    Parameters
    ----------
    names : iterable of str
        Matrices.
    sizes : mapping of str to int
        Weights of each.
    measure : callable
        From precisions to the divergence.
    tolerance : float
        Divergence to stay below.
    """
    names = list(names)
    lowest, highest = PRECISIONS[0], PRECISIONS[-1]
    low = dict.fromkeys(names, lowest)
    plain = measure(low)
    if plain <= tolerance:
        return Choice(low, plain, plain, [])
    chosen = dict.fromkeys(names, highest)
    reached = measure(chosen)
    # Harm of each alone, by what is saved.
    harm = {name: (measure(chosen | {name: lowest}) - reached) / sizes[name] for name in names}
    steps: list[dict[str, Any]] = []
    for name in sorted(names, key=harm.__getitem__):
        for level in PRECISIONS[:-1]:
            error = measure(chosen | {name: level})
            if error <= tolerance:
                chosen, reached = chosen | {name: level}, error
                break
        else:
            error = reached
        steps.append({"layer": name, "precision": chosen[name], "divergence": error})
    return Choice(chosen, plain, reached, steps)
