"""Attention patterns: which runs of keys a block of queries sees.

Queries and keys are counted by position; a query block starts at any position, a run at a multiple
of L keys, as the columns of Vᵀ do.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from celosia.compiler.key_runs import KeyRun
from celosia.errors import ProgramError

__all__ = [
    "band",
    "block_row",
    "block_sparse",
    "causal",
    "causally",
    "full",
    "packed",
    "shared_prefix",
]


def full(keys: int) -> list[KeyRun]:
    """Return all keys."""
    return [KeyRun(0, keys)]


def causal(query: int, queries: int) -> list[KeyRun]:
    """Return keys up to the query's own position; `queries` queries from position `query` on."""
    return [KeyRun(0, query + queries, diagonal=query)]


def band(
    query: int, queries: int, keys: int, lanes: int, *, before: int, after: int = 0, sinks: int = 0
) -> list[KeyRun]:
    """Return keys from `before` positions before the query to `after` after it, and sinks.

    Parameters
    ----------
    query, queries : int
        Position of the first query, and how many there are.
    keys : int
        Keys that exist.
    lanes : int
        Keys of a block, L.
    before, after : int
        Reach of the window, on either side of the query.
    sinks : int
        The first keys, seen by every query that they do not come after.
    """
    runs = []
    start = query - before  # of the first query's window
    end = min(query + queries + after, keys)
    # The sinks end where the window begins, so that no key is in both.
    sinks = min(sinks, keys, max(start + queries - 1, 0))
    if sinks:
        runs.append(KeyRun(0, sinks, diagonal=start - 1))
    first = max(start, 0) // lanes * lanes
    if first < end:
        runs.append(
            KeyRun(first, end - first, diagonal=query + after - first, window=start - first)
        )
    return [run for given in runs for run in given.reduced(queries)]


def block_row(
    block: int, blocks: int, *, offsets: Iterable[int] = (), stripes: Iterable[int] = ()
) -> NDArray[np.bool_]:
    """Mark blocks at some distances from the query's own, and some that all queries see.

    Returns
    -------
    (blocks,) bool
        For `block_sparse`, for the query block number `block`.
    """
    row = np.zeros(blocks, bool)
    row[[block + offset for offset in offsets if 0 <= block + offset < blocks]] = True
    row[list(stripes)] = True
    return row


def block_sparse(
    row: Sequence[bool] | NDArray[np.bool_], size: int, keys: int, lanes: int
) -> list[KeyRun]:
    """Return any set of blocks: diagonals, stripes, or what a model has learned.

    Parameters
    ----------
    row : (blocks,) bool
        Blocks that the query block sees.
    size : int
        Keys of one block of the pattern, a multiple of L.
    keys, lanes : int
        Keys that exist, and L.
    """
    if size % lanes:
        raise ProgramError(f"blocks of keys must be multiples of {lanes} keys, not {size}")
    if len(row) != -(-keys // size):
        raise ProgramError(f"{keys} keys are {-(-keys // size)} blocks of {size}, not {len(row)}")
    runs = []
    for seen, group in groupby(range(len(row)), lambda block: bool(row[block])):
        blocks = list(group)
        first, end = blocks[0] * size, min((blocks[-1] + 1) * size, keys)
        if seen:
            runs.append(KeyRun(first, end - first))
    return runs


def causally(runs: Iterable[KeyRun], query: int, queries: int) -> list[KeyRun]:
    """Hide the keys after the position of each query; the first query is at `query`."""
    found = []
    for run in runs:
        keys, diagonal = min(run.keys, query + queries - run.first), query - run.first
        if run.diagonal is not None:
            diagonal = min(diagonal, run.diagonal)
        if keys > 0:
            found += replace(run, keys=keys, diagonal=diagonal).reduced(queries)
    return found


def shared_prefix(prefix: int, own: Iterable[KeyRun]) -> list[KeyRun]:
    """Return all of a shared prefix, source 0, then runs of the keys that are a sequence's own.

    `own` counts positions from the end of the prefix; its sources are moved up by one.
    """
    return [KeyRun(0, prefix), *(replace(run, source=run.source + 1) for run in own)]


def packed(lengths: Sequence[int], most: int) -> Iterator[tuple[int, int, list[KeyRun]]]:
    """Pack sequences one after the other, without padding: each sees its own keys only.

    Parameters
    ----------
    lengths : sequence of int
        Tokens of each sequence; its keys are source `index`.
    most : int
        Queries of a block.

    Yields
    ------
    first, queries : int
        A block of queries, as positions in all sequences together.
    runs : list of KeyRun
        What it sees.
    """
    first = 0
    for source, length in enumerate(lengths):
        for start in range(0, length, most):
            yield first + start, min(most, length - start), [KeyRun(0, length, source=source)]
        first += length
