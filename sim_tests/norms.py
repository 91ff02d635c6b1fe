"""Rows for LayerNorm: every kind of mean and variance."""

import numpy as np

__all__ = ["CLIPPED_EPSILON", "CLIPPED_ROWS", "norm_columns", "norm_rows"]

#: With this epsilon, a row whose gain rounds up to 2^17: its root is 2^19 + 1.
CLIPPED_ROWS = [[1000, -1000, 1000, -1000]]
CLIPPED_EPSILON = (1 << 24) + 96 - 16_000_000


def norm_rows(rng: np.random.Generator, m: int, n: int) -> np.ndarray:
    """Return m rows of n int16 values, of a different kind each."""
    kinds = [
        lambda: rng.integers(-32768, 32768, n),
        lambda: rng.normal(rng.integers(-30000, 30000), 10.0 ** rng.uniform(-1, 4), n),
        lambda: np.full(n, rng.integers(-32768, 32768)),
        lambda: np.full(n, rng.choice([-32768, 0, 32767])),
        lambda: np.where(rng.random(n) < 0.5, -32768, 32767),
        lambda: rng.integers(0, 2, n) + rng.integers(-30000, 30000),
        lambda: -32768 * (np.arange(n) == rng.integers(n)),
        lambda: 32767 - (np.arange(n) == rng.integers(n)),
        lambda: np.where(np.arange(n) == rng.integers(n), 32767, -32768),
        lambda: rng.normal(0, 20, n) + 20000 * (np.arange(n) == rng.integers(n)),
    ]
    order = rng.permutation(max(m, len(kinds)))[:m] % len(kinds)
    rows = [np.clip(np.rint(kinds[kind]()), -32768, 32767) for kind in order]
    return np.array(rows).astype(np.int64)


def norm_columns(rng: np.random.Generator, n: int, shift: int) -> np.ndarray:
    """Return gains and offsets (2, n): extremes, and those that leave results in range."""
    near = min(32767, 1 << min(shift, 12) + 2)
    extreme = rng.choice([-32768, 0, 32767], (2, n))
    within = [rng.integers(-near, near + 1, n), rng.integers(-32768, 32768, n)]
    return np.where(rng.random((2, n)) < 0.3, extreme, within)
