"""Chooses a format for each layer, so that the error is least within a budget of bytes.

What each format costs a layer is measured with that layer alone rounded; errors of several layers
are taken to add up, which holds while they are small. The choice is then an integer program.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import LinearConstraint, milp

from celosia.compiler.decoder import Decoder
from celosia.compiler.hessians import Moments
from celosia.compiler.layers import Model, named_linears, replace_weights
from celosia.compiler.precision import log_softmax
from celosia.compiler.recipe import describe
from celosia.compiler.rounding import output_error
from celosia.compiler.weight_format import CODES, RoundedWeights, WeightFormat
from celosia.errors import ModelError
from celosia.golden import reference, reference_decoder

__all__ = ["Mix", "Option", "choose_mix", "mix_within", "model_error", "sensitivity", "stored_bits"]

#: Times that the errors allowed are lowered until the whole model is as accurate as it must be.
TRIALS = 8


@dataclass(frozen=True)
class Option:
    """What a layer may be.

    Attributes
    ----------
    format : WeightFormat
        Its format.
    bytes : float
        Memory that it then takes.
    error : float
        Error of the model with this layer alone rounded.
    """

    format: WeightFormat
    bytes: float
    error: float


@dataclass(frozen=True)
class Mix:
    """What was chosen.

    Attributes
    ----------
    formats : mapping of str to WeightFormat
        Format of every layer.
    bytes, error : float
        Sums over the layers: memory, and the error that is predicted.
    report : list of dict
        For each layer its format, bytes and error, and those of what it might have been.
    """

    formats: Mapping[str, WeightFormat]
    bytes: float
    error: float
    report: list[dict[str, Any]]


def stored_bits(format: WeightFormat, most: int = 4) -> float:
    """Return the bits of memory that a weight takes, those that are dropped counting too.

    A sparse tile has room for half of the weights, and beside each an index into `most`, the M of
    the machine; with 4 bits two channels share it.
    """
    bits = float(CODES[format.code][0])
    if format.sparsity[1] > 1:
        index = (most - 1).bit_length()
        bits = (bits + (index / 2 if bits == 4 else index)) / 2
    return (bits + (8 / format.group if format.group else 0)) * (1 - format.blocks)


def model_error(model: Model, samples: Sequence[NDArray]) -> Callable[[Model], float]:
    """Return a function from a rounded model to its error on samples.

    For a decoder that is the mean divergence of the next token's probabilities, in nats, for an
    encoder 1 less the mean cosine of what it gives: its pooled row, or each of its rows.
    """

    def outcome(one: Model, sample: NDArray) -> NDArray[np.float64]:
        if isinstance(one, Decoder):
            return log_softmax(reference_decoder.forward(one, sample, dtype=np.float32))
        found = reference.forward(one, sample, dtype=np.float32)
        rows = found["hidden"] if found["pooled"] is None else found["pooled"]
        assert rows is not None, "every forward pass has rows"
        rows = np.atleast_2d(rows).astype(np.float64)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    exact = [outcome(model, sample) for sample in samples]

    def measure(rounded: Model) -> float:
        errors = []
        for sample, right in zip(samples, exact, strict=True):
            ours = outcome(rounded, sample)
            if isinstance(rounded, Decoder):
                errors.append((np.exp(right) * (right - ours)).sum(axis=1))
            else:
                errors.append(1 - (right * ours).sum(axis=1))
        return float(np.concatenate(errors).mean())

    return measure


def sensitivity(
    model: Model,
    formats: Mapping[str, Sequence[WeightFormat]],
    moments: Mapping[str, Moments],
    rounded: Callable[[str, WeightFormat], RoundedWeights],
    *,
    measure: Callable[[Model], float] | None = None,
    most: int = 4,
) -> dict[str, list[Option]]:
    """Measure what each format costs each layer.

    Parameters
    ----------
    model : Encoder or Decoder
        The exact model.
    formats : mapping of str to sequence of WeightFormat
        What each layer may get, by its name.
    moments : mapping of str to Moments
        Of the layers' inputs.
    rounded : callable
        Rounds a layer, by its name, to a format.
    measure : callable, optional
        Error of a model, as from `model_error`. Without it what counts is the error of the
        layer's output relative to that output: much quicker, but blind to what becomes of it.
    most : int
        As in `stored_bits`.
    """
    linears = named_linears(model)
    found: dict[str, list[Option]] = {}
    for name, allowed in formats.items():
        weight = linears[name].weight
        options = []
        for format in allowed:
            real = rounded(name, format).real(format.group)
            if measure is None:
                error = output_error(weight, real, moments[name].second)
            else:
                error = measure(replace_weights(model, {name: real}))
            options.append(Option(format, weight.size * stored_bits(format, most) / 8, error))
        found[name] = options
    return found


def choose_mix(
    options: Mapping[str, Sequence[Option]],
    *,
    most_bytes: float | None = None,
    most_error: float | None = None,
) -> Mix:
    """Choose the least error within so many bytes, or the fewest bytes within an error.

    Parameters
    ----------
    options : mapping of str to sequence of Option
        What each layer may be.
    most_bytes, most_error : float
        The budget, one of the two.

    Raises
    ------
    ModelError
        If no choice is within it.
    """
    if (most_bytes is None) == (most_error is None):
        raise ValueError("either most_bytes or most_error must be given")
    every = [(name, option) for name, several in options.items() for option in several]
    size = np.array([option.bytes for _, option in every])
    error = np.array([option.error for _, option in every])
    by_bytes = most_bytes is not None
    goal, spent = (error, size) if by_bytes else (size, error)
    limit = most_bytes if by_bytes else most_error
    assert limit is not None
    least = sum(min(_spent(option, by_bytes) for option in several) for several in options.values())
    if least > limit * (1 + 1e-12):
        what = "bytes" if by_bytes else "error"
        raise ModelError(
            f"automatic mix: {what} must be at least {least:.6g} with the formats allowed, but the "
            f"budget is {limit:.6g}; raise it or allow {'smaller' if by_bytes else 'finer'} formats"
        )
    each = np.array([[name == owner for owner, _ in every] for name in options], dtype=np.float64)
    # Both are scaled: the solver's tolerances are absolute.
    spent, goal = spent / max(limit, 1e-30), goal / max(goal.max(), 1e-30)
    result = milp(
        goal,
        integrality=np.ones(len(every)),
        bounds=(0, 1),
        constraints=[LinearConstraint(each, 1, 1), LinearConstraint(spent, -np.inf, 1)],
        options={"mip_rel_gap": 0.0},
    )
    if result.x is None:
        raise ModelError(f"automatic mix: the solver found nothing: {result.message}")
    chosen = {
        name: option for (name, option), taken in zip(every, result.x, strict=True) if taken > 0.5
    }
    return _mix(options, chosen)


def _spent(option: Option, by_bytes: bool) -> float:
    return option.bytes if by_bytes else option.error


def _mix(options: Mapping[str, Sequence[Option]], chosen: Mapping[str, Option]) -> Mix:
    report = [
        {
            "layer": name,
            "format": describe(chosen[name].format),
            "bytes": chosen[name].bytes,
            "error": chosen[name].error,
            "options": {
                describe(option.format): {"bytes": option.bytes, "error": option.error}
                for option in several
            },
        }
        for name, several in options.items()
    ]
    return Mix(
        {name: option.format for name, option in chosen.items()},
        sum(option.bytes for option in chosen.values()),
        sum(option.error for option in chosen.values()),
        report,
    )


def mix_within(
    options: Mapping[str, Sequence[Option]],
    most_error: float,
    measure: Callable[[Mapping[str, WeightFormat]], float],
) -> tuple[Mix, float]:
    """Choose the fewest bytes with which the model as a whole has no larger an error.

    Parameters
    ----------
    options : mapping of str to sequence of Option
        What each layer may be.
    most_error : float
        Error that is allowed.
    measure : callable
        From the formats of all layers to the error of the whole model.

    Returns
    -------
    mix : Mix
    error : float
        Error of the whole model, measured.

    Raises
    ------
    ModelError
        If that is not found.
    """
    finest = sum(min(option.error for option in several) for several in options.values())
    allowed = max(most_error, finest)
    reached = np.inf
    for _ in range(TRIALS):
        mix = choose_mix(options, most_error=allowed)
        reached = measure(mix.formats)
        if reached <= most_error:
            return mix, reached
        if allowed == finest:
            break
        allowed = min(allowed, mix.error) * max(0.9 * most_error / reached, 0.25)
        allowed = max(allowed, finest)
    raise ModelError(
        f"automatic mix: an error of {most_error:.6g} is not reached, the last one was "
        f"{reached:.6g}; lower accuracy or allow finer formats"
    )
