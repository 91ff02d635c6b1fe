"""Rounds the columns of a matrix one after the other, each making up for those before.

All of it minimises the error of a layer's output, `trace(E·H·Eᵀ)`, with E the exact weights less
the rounded ones and H the second moments of the layer's input. Matrices are held transposed here,
(in, out), so that one input of all channels is contiguous.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from celosia.compiler.pruning import best_patterns

__all__ = ["Sparsity", "descend", "descend_patterns", "descend_steps", "sweep", "sweep_order"]

FloatArray = NDArray[np.float64]
Nearest = Callable[[FloatArray], FloatArray]
"""From numbers to the integers of the format that are nearest."""

#: Inputs between two updates of all that follow.
CHUNK = 64
#: Times that the inputs of a run are rounded anew in a pattern that is tried.
TRIES = 3


@dataclass(frozen=True, eq=False)
class Sparsity:
    """N:M sparsity of a matrix.

    Attributes
    ----------
    keep, run : int
        N and M.
    sets : (out,) int64
        Channels of one set share their patterns, see `partners`.
    allowed : (in, out) bool
        False where a weight must be 0 in any case.
    """

    keep: int
    run: int
    sets: NDArray[np.int64]
    allowed: NDArray[np.bool_]

    def choose(
        self, part: slice | NDArray[np.int64], weight: FloatArray, inverse: NDArray[np.floating]
    ) -> NDArray[np.bool_]:
        """Return which weights of a run are kept, (run, out); `inverse` is of its Hessian."""
        return self.allowed[part] & best_patterns(weight, inverse, self.keep, self.sets)


def sweep_order(hessian: FloatArray, run: int) -> NDArray[np.int64]:
    """Return the inputs in the order to go through: the strongest runs first.

    Those `run` inputs that N:M sparsity takes together stay together.
    """
    strength = np.diag(hessian)
    starts = np.arange(0, len(strength), run)
    first = np.argsort(-np.maximum.reduceat(strength, starts), kind="stable")
    # A short last run must stay last: positions are counted in whole runs.
    if len(strength) % run:
        first = np.append(first[first != len(starts) - 1], len(starts) - 1)
    return np.concatenate([np.arange(s, min(s + run, len(strength))) for s in starts[first]])


def sweep(
    weight: FloatArray,
    hessian: FloatArray,
    steps: FloatArray,
    nearest: Nearest,
    kept: NDArray[np.bool_],
    sparsity: Sparsity | None = None,
) -> FloatArray:
    """Round input by input; the inputs that follow take each error up (GPTQ).

    Parameters
    ----------
    weight : (in, out) float64
        Exact weights.
    hessian : (in, in) float64
        Positive definite.
    steps : (in, out) float64
        Real value of one integer.
    nearest : callable
        Rounding to the format.
    kept : (in, out) bool
        False where a weight must be 0; filled in, in place, if there is a sparsity.
    sparsity : Sparsity, optional
        Its patterns are chosen as the sweep arrives at them.

    Returns
    -------
    (in, out) float64
        Integers.
    """
    run = sparsity.run if sparsity else 1
    order = sweep_order(hessian, run)
    # H = R·Rᵀ with R upper triangular; U = R⁻¹ then gives the inverse of what is left at input p
    # as U[p:, p:]ᵀ·U[p:, p:].
    backward = np.linalg.cholesky(hessian[np.ix_(order, order)][::-1, ::-1])
    upper = np.triu(np.linalg.inv(backward[::-1, ::-1]))
    left = weight[order]
    codes = np.zeros_like(left)
    chunk = max(CHUNK // run, 1) * run
    for start in range(0, len(order), chunk):
        end = min(start + chunk, len(order))
        errors = np.zeros((end - start, left.shape[1]))
        for position in range(start, end):
            column = order[position]
            if sparsity and (position - start) % run == 0:
                some = slice(position, min(position + run, end))
                part = upper[some, some]
                kept[order[some]] = sparsity.choose(order[some], left[some], part.T @ part)
            step = steps[column]
            codes[position] = np.where(kept[column], nearest(left[position] / step), 0)
            error = (left[position] - codes[position] * step) / upper[position, position]
            errors[position - start] = error
            left[position + 1 : end] -= upper[position, position + 1 : end, np.newaxis] * error
        left[end:] -= upper[start:end, end:].T @ errors
    found = np.empty_like(codes)
    found[order] = codes
    return found


def descend(
    hessian: FloatArray,
    steps: FloatArray,
    nearest: Nearest,
    kept: NDArray[np.bool_],
    codes: FloatArray,
    gradient: FloatArray,
) -> None:
    """Round every input anew, all others as they are; that never makes it worse.

    `codes` and `gradient`, which is the Hessian times what is left of the exact weights, are
    changed in place.
    """
    diagonal = np.diag(hessian)
    for start in range(0, len(codes), CHUNK):
        part = slice(start, min(start + CHUNK, len(codes)))
        inner, around = gradient[part].copy(), hessian[part, part]
        moved = np.zeros_like(inner)
        for i in range(len(inner)):
            column = start + i
            step = steps[column]
            wanted = codes[column] + inner[i] / (diagonal[column] * step)
            new = np.where(kept[column], nearest(wanted), 0)
            moved[i] = (new - codes[column]) * step
            codes[column] = new
            inner -= around[i][:, np.newaxis] * moved[i]
        gradient -= hessian[:, part] @ moved


def descend_patterns(
    hessian: FloatArray,
    steps: FloatArray,
    nearest: Nearest,
    kept: NDArray[np.bool_],
    codes: FloatArray,
    gradient: FloatArray,
    sparsity: Sparsity,
) -> None:
    """Choose the pattern of every run anew, all other runs as they are; never to the worse.

    As `descend`, but `kept` is changed too. Channels of one set take a new pattern together or not
    at all.
    """
    for start in range(0, len(codes), sparsity.run):
        part = slice(start, min(start + sparsity.run, len(codes)))
        around, step, slope = hessian[part, part], steps[part], gradient[part]
        inverse = np.linalg.inv(around)
        mask = sparsity.choose(part, codes[part] * step + inverse @ slope, inverse)
        new = np.where(mask, codes[part], 0)
        inner = slope - around @ ((new - codes[part]) * step)
        for i in list(range(len(new))) * TRIES:
            wanted = new[i] + inner[i] / (around[i, i] * step[i])
            code = np.where(mask[i], nearest(wanted), 0)
            inner -= around[i][:, np.newaxis] * ((code - new[i]) * step[i])
            new[i] = code
        moved = (new - codes[part]) * step
        gain = (moved * (2 * slope - around @ moved)).sum(axis=0)
        better = np.bincount(sparsity.sets, gain)[sparsity.sets] > 0
        codes[part] = np.where(better, new, codes[part])
        kept[part] = np.where(better, mask, kept[part])
        gradient -= hessian[:, part] @ (moved * better)


def descend_steps(
    hessian: FloatArray,
    groups: Sequence[slice],
    codes: FloatArray,
    steps: FloatArray,
    round_step: Callable[[FloatArray], FloatArray],
    gradient: FloatArray,
) -> None:
    """Find the best step of every group, all others as they are.

    `steps`, which is (groups, out), and `gradient` are changed in place; `round_step` takes the
    steps of a group to those that can be had.
    """
    for index, group in enumerate(groups):
        own = codes[group]
        curvature = (own * (hessian[group, group] @ own)).sum(axis=0)
        slope = (own * gradient[group]).sum(axis=0)
        wanted = steps[index] + slope / np.where(curvature > 0, curvature, 1.0)
        new = round_step(wanted)
        gradient -= hessian[:, group] @ (own * (new - steps[index]))
        steps[index] = new
