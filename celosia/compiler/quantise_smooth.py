"""Evens out the columns of a norm's result before the array reads it.

A few columns of a transformer's rows are far larger than the rest, and a row has one exponent.
So the norm that feeds a product divides each column by a factor of its own, which its gain and
offset take in, and the weights of that column are multiplied by it.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from celosia.compiler.calibrate import HEADROOM, LIMIT, Calibration, best_scale
from celosia.compiler.graph import Linear, Norm
from celosia.compiler.quantise import quantise_weights
from celosia.golden.fixed import row_exponent
from celosia.golden.quantise import quantise

__all__ = ["smooth", "smooth_scale", "smoothed_linear", "smoothed_norm"]

#: Shares of the columns' ranges that are moved to the weights; 0 changes nothing.
STRENGTHS = (0.0, 0.35, 0.5, 0.65, 0.8)
#: Most rows that the shares are compared on.
ROWS = 256
#: Least factor, relative to the largest.
LEAST = 1e-4


def smooth(name: str, ranges: Calibration, parts: Sequence[Linear]) -> NDArray[np.float64]:
    """Choose the factor of each column of the norm result `name`, which `parts` multiply.

    The strength is taken at which quantised rows by quantised weights come closest to the exact
    product, on rows of the calibration.

    Returns
    -------
    (width,) float64
    """
    rows = np.concatenate(ranges.rows[name]).astype(np.float64)
    rows = rows[:: -(-len(rows) // ROWS)]
    weight = np.concatenate([part.weight for part in parts]).astype(np.float64)
    exact = rows @ weight.T

    def error(strength: float) -> float:
        factors = _factors(ranges.columns[name], weight, strength)
        scale = smooth_scale(name, ranges, factors)
        codes = np.clip(np.rint(rows / factors / scale), -LIMIT - 1, LIMIT).astype(np.int64)
        exponents = row_exponent(codes)
        values, step = quantise_weights(weight * factors)
        x = quantise(codes, exponents) * 2.0 ** exponents[:, np.newaxis] * scale
        return float(np.square(x @ (values * step[:, np.newaxis]).T - exact).sum())

    return _factors(ranges.columns[name], weight, min(STRENGTHS, key=error))


def _factors(
    columns: NDArray[np.float64], weight: NDArray[np.float64], strength: float
) -> NDArray[np.float64]:
    inputs = np.maximum(columns, max(columns.max(), 1e-30) * LEAST)
    peaks = np.abs(weight).max(axis=0)
    weights = np.maximum(peaks, max(peaks.max(), 1e-30) * LEAST)
    if not strength:
        return np.ones(len(columns))
    factors = inputs**strength / weights ** (1 - strength)
    return factors / np.exp(np.log(factors).mean())


def smooth_scale(
    name: str, ranges: Calibration, factors: NDArray[np.float64], beta: float = 0.0
) -> float:
    """Choose the scale of a smoothed norm result, whose offset may reach `beta`."""
    largest = float((ranges.columns[name] / factors).max())
    least = max(largest * HEADROOM, beta, 1e-6) / LIMIT
    rows = np.concatenate(ranges.rows[name])
    return best_scale(np.abs(rows / factors).max(axis=1), least)


def smoothed_norm(norm: Norm, factors: NDArray[np.float64]) -> Norm:
    """Return the norm whose result is divided by the factors."""
    return replace(
        norm,
        gamma=(norm.gamma / factors).astype(np.float32),
        beta=(norm.beta / factors).astype(np.float32),
    )


def smoothed_linear(linear: Linear, factors: NDArray[np.float64]) -> Linear:
    """Return the matrix that takes such a result."""
    return replace(linear, weight=(linear.weight * factors).astype(np.float32))
