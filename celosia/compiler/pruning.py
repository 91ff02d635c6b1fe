"""Drops the weights that matter least, and lets the others make up for them.

What a weight matters is what the output of its layer loses by its absence once the remaining
weights have been adapted (optimal brain surgeon): `w² / [H⁻¹]`, H being the Hessian of the layer's
input, and for several weights at once `w · ([H⁻¹]_SS)⁻¹ · w`.
"""

from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

__all__ = ["best_patterns", "damped", "partners", "prune_blocks"]

#: Share of the mean diagonal that is added to a Hessian.
DAMPING = 0.03
#: Blocks are dropped in so many rounds, the weights adapted after each.
ROUNDS = 4


def damped(hessian: NDArray[np.floating], damping: float = DAMPING) -> NDArray[np.float64]:
    """Return a Hessian that can be inverted, columns that were always 0 included."""
    found = np.array(hessian, dtype=np.float64)
    mean = float(np.diag(found).mean())
    found[np.diag_indices_from(found)] += damping * mean if mean > 0 else 1.0
    return found


@cache
def _patterns(length: int, dropped: int) -> NDArray[np.int64]:
    """Return every choice of `dropped` among `length`: (choices, dropped)."""
    return np.array(list(combinations(range(length), dropped)), dtype=np.int64)


def partners(channels: int, pair: int) -> NDArray[np.int64]:
    """Return the set that each channel belongs to, those of a set sharing one pattern.

    Channels c and c + `pair` of every 2 · `pair` are one set; without `pair` each is its own.
    """
    every = np.arange(channels)
    return every // (2 * pair) * pair + every % pair if pair else every


def best_patterns(
    weight: NDArray[np.floating],
    inverse: NDArray[np.floating],
    keep: int,
    sets: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Choose which of a few inputs each channel keeps, by trying every pattern.

    Parameters
    ----------
    weight : (inputs, out) float
        Weights of M inputs, not more than 8 or so.
    inverse : (inputs, inputs) float
        That part of the inverse Hessian.
    keep : int
        Weights to keep.
    sets : (out,) int
        From `partners`.

    Returns
    -------
    (inputs, out) bool
        True where a weight is kept.
    """
    inputs, channels = weight.shape
    kept = np.ones((inputs, channels), dtype=bool)
    if keep >= inputs:
        return kept
    patterns = _patterns(inputs, inputs - keep)
    loss = np.zeros((len(patterns), int(sets.max()) + 1))
    for row, dropped in zip(loss, patterns, strict=True):
        part = weight[dropped]
        cost = (part * np.linalg.solve(inverse[np.ix_(dropped, dropped)], part)).sum(axis=0)
        row += np.bincount(sets, cost, minlength=len(row))
    chosen = patterns[loss.argmin(axis=0)[sets]]
    kept[chosen.T, np.arange(channels)] = False
    return kept


def prune_blocks(
    weight: NDArray[np.floating],
    hessian: NDArray[np.floating] | None,
    shape: tuple[int, int],
    share: float,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Drop a share of the blocks of a matrix, and adapt the remaining weights.

    The blocks go in a few rounds, the least summed saliency first, over the whole matrix. The
    channels of a row of blocks lose the same inputs, so what is left is one system of equations.

    Parameters
    ----------
    weight : (out, in) float
        Weights; the last block of a row or column may be short.
    hessian : (in, in) float or None
        Second moments of the input; without it what counts is the magnitude.
    shape : (int, int)
        Channels and inputs of a block.
    share : float
        Share of the blocks that are dropped, 0 to 1; the number is rounded down.

    Returns
    -------
    weight : (out, in) float64
        0 in the blocks that are dropped.
    kept : (out, in) bool
        True in the others.

    Raises
    ------
    ValueError
        If the share is not from 0 to 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share of blocks to drop must be 0 to 1, not {share}")
    exact = weight.astype(np.float64)
    channels, inputs = exact.shape
    rows, columns = shape
    down, across = -(-channels // rows), -(-inputs // columns)
    full = np.eye(inputs) if hessian is None else damped(hessian)
    kept = np.ones((down, across), dtype=bool)
    found = exact.copy()
    total = int(share * down * across + 1e-9)
    # Before anything is dropped all rows of blocks have one system in common.
    saliency = _saliency(exact, full, np.ones(across, dtype=bool), shape)
    for step in range(1, ROUNDS + 1):
        more = total * step // ROUNDS - int((~kept).sum())
        dropped = np.argsort(saliency, axis=None, kind="stable")[:more]
        kept.ravel()[dropped] = False
        for i in np.unique(dropped // across):
            part = slice(i * rows, (i + 1) * rows)
            inside = np.repeat(kept[i], columns)[:inputs]
            found[part] = 0.0
            if inside.any():
                right = full[inside] @ exact[part].T
                found[part, inside] = np.linalg.solve(full[np.ix_(inside, inside)], right).T
            saliency[i] = np.inf
            if inside.any() and step < ROUNDS:
                saliency[i] = _saliency(found[part], full, kept[i], shape)[0]
    mask = np.repeat(np.repeat(kept, rows, axis=0), columns, axis=1)[:channels, :inputs]
    return found, mask


def _saliency(
    weight: NDArray[np.float64],
    hessian: NDArray[np.float64],
    kept: NDArray[np.bool_],
    shape: tuple[int, int],
) -> NDArray[np.float64]:
    """Return what each block matters, (rows of blocks, blocks), infinite where it is dropped.

    All channels have `kept` the same blocks of inputs.
    """
    rows, columns = shape
    where = np.flatnonzero(np.repeat(kept, columns)[: len(hessian)])
    inverse = np.linalg.inv(hessian[np.ix_(where, where)])
    starts = np.arange(0, len(weight), rows)
    found = np.full((len(starts), len(kept)), np.inf)
    for block in np.flatnonzero(kept):
        inside = where // columns == block
        part = weight[:, where[inside]].T
        cost = (part * np.linalg.solve(inverse[np.ix_(inside, inside)], part)).sum(axis=0)
        found[:, block] = np.add.reduceat(cost, starts)
    return found
