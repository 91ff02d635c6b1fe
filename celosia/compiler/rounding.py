"""From float weights to the integers of a format, with the least error of the layer's output.

With the second moments of the layer's input (`hessians`) the rounding of one weight makes up for
that of others; without, each is rounded to the nearest. Both search for the steps of the groups.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from celosia.compiler.pruning import damped, partners
from celosia.compiler.rounding_sweep import (
    FloatArray,
    Sparsity,
    descend,
    descend_patterns,
    descend_steps,
    sweep,
)
from celosia.compiler.weight_format import CODES, RoundedWeights, WeightFormat

__all__ = ["nearest_code", "output_error", "round_weights"]

#: Shares of a group's range that are tried as its clipping.
RATIOS = np.linspace(0.35, 1.05, 29)
#: Largest scale of a group, and what the search begins with, so that steps may still grow.
LARGEST, FIRST = 255, 240
#: Times that all integers, and then all steps, are found anew.
PASSES = 4


def nearest_code(code: str) -> Callable[[FloatArray], FloatArray]:
    """Return the rounding to the nearest integer of a format, halves to either side."""
    values = np.array(CODES[code][1], dtype=np.float64)
    low, high = values[0], values[-1]
    if len(values) == high - low + 1:
        return lambda x: np.clip(np.rint(x), low, high)
    middles = (values[1:] + values[:-1]) / 2
    return lambda x: values[np.searchsorted(middles, x)]


def round_weights(
    weight: NDArray[np.floating],
    format: WeightFormat,
    hessian: NDArray[np.floating] | None,
    *,
    pair: int = 0,
    kept: NDArray[np.bool_] | None = None,
) -> RoundedWeights:
    """Round a matrix to a format.

    Parameters
    ----------
    weight : (out, in) float
        Exact weights.
    format : WeightFormat
        What they become; a last group or run of M inputs may be short.
    hessian : (in, in) float, optional
        Second moments of the layer's input, `XᵀX / n`; None rounds to the nearest.
    pair : int
        Channels c and c + `pair` of every 2 · `pair` share the pattern of their sparsity; 0 if
        none do.
    kept : (out, in) bool, optional
        False where a weight must be 0, as from `prune_blocks`.

    Returns
    -------
    RoundedWeights
    """
    exact = np.ascontiguousarray(weight.T, dtype=np.float64)
    inputs, channels = exact.shape
    allowed = np.ones(exact.shape, dtype=bool) if kept is None else kept.T
    size = format.group or inputs
    groups = [slice(s, min(s + size, inputs)) for s in range(0, inputs, size)]
    lengths = [g.stop - g.start for g in groups]
    full = np.eye(inputs) if hessian is None else damped(hessian)
    nearest = nearest_code(format.code)

    # The steps are searched for with the weights that matter alone.
    mask = allowed.copy()
    keep, run = format.sparsity
    sparsity = None
    if keep < run:
        sparsity = Sparsity(keep, run, partners(channels, pair), allowed)
        for start in range(0, inputs, run):
            some = slice(start, min(start + run, inputs))
            inverse = np.diag(1 / np.diag(full)[some])
            mask[some] = sparsity.choose(some, exact[some] * allowed[some], inverse)
    importance = np.diag(full)[:, np.newaxis] * mask
    found = [_search(exact[g] * mask[g], importance[g], format.code) for g in groups]
    steps = np.stack(found)
    largest = steps.max(axis=0)
    scale = np.where(largest > 0, largest, 1.0) / (FIRST if format.group else 1)

    def round_step(step: FloatArray) -> FloatArray:
        if not format.group:
            return np.where(step > 0, step, scale)
        return np.clip(np.rint(step / scale), 1, LARGEST) * scale

    steps = round_step(steps)
    wide = np.repeat(steps, lengths, axis=0)
    if hessian is None:
        codes = np.where(mask, nearest(exact / wide), 0)
    else:
        codes = sweep(exact, full, wide, nearest, mask, sparsity)
        gradient = full @ (exact - codes * wide)
        for _ in range(PASSES):
            descend_steps(full, groups, codes, steps, round_step, gradient)
            wide = np.repeat(steps, lengths, axis=0)
            if sparsity:
                descend_patterns(full, wide, nearest, mask, codes, gradient, sparsity)
            descend(full, wide, nearest, mask, codes, gradient)
    factors = np.rint(steps / scale) if format.group else np.ones_like(steps)
    scale = scale if format.group else steps[0]
    return RoundedWeights(
        codes.T.astype(np.int64), factors.T.astype(np.int64), scale.astype(np.float64)
    )


def output_error(
    weight: NDArray[np.floating],
    rounded: NDArray[np.floating],
    hessian: NDArray[np.floating],
) -> float:
    """Return the mean square error of a layer's output, relative to that output's mean square."""
    exact = weight.astype(np.float64)
    error = exact - rounded
    power = float(((exact @ hessian) * exact).sum())
    return float(((error @ hessian) * error).sum()) / max(power, 1e-30)


def _search(weight: FloatArray, importance: FloatArray, code: str) -> FloatArray:
    """Return the step of a group of inputs, for each channel, that rounds it best; 0 if all are 0.

    Both arrays are (inputs of the group, out).
    """
    nearest = nearest_code(code)
    peak = np.abs(weight).max(axis=0)
    full = np.where(peak > 0, peak, 1.0) / max(CODES[code][1])
    best, least = full, np.full(len(full), np.inf)
    for ratio in RATIOS:
        step = full * ratio
        error = (importance * np.square(nearest(weight / step) * step - weight)).sum(axis=0)
        better = error < least
        best, least = np.where(better, step, best), np.where(better, error, least)
    return np.where(peak > 0, best, 0.0)
