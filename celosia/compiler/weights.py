"""Rounds the matrices of a model, each to the format that it was given."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from celosia.compiler.graph import Linear
from celosia.compiler.hessians import Moments
from celosia.compiler.quantise import quantise_weights
from celosia.compiler.rounding import round_weights
from celosia.compiler.weight_format import RoundedWeights, WeightFormat

__all__ = ["NEAREST", "WeightRounder"]


@dataclass(frozen=True, eq=False)
class WeightRounder:
    """Formats of a model's matrices, and what is known of the rows that they multiply.

    Attributes
    ----------
    formats : mapping of str to WeightFormat
        By name, such as "block0.down"; int8 and dense for those not named.
    moments : mapping of str to Moments
        Of all named ones.
    pair : int
        Columns of the array: channels that share one also share the pattern of their sparsity.
    """

    formats: Mapping[str, WeightFormat] = field(default_factory=dict)
    moments: Mapping[str, Moments] = field(default_factory=dict)
    pair: int = 0

    def format(self, key: str) -> WeightFormat:
        """Return the format of a matrix."""
        return self.formats.get(key, WeightFormat())

    def round(
        self, key: str, linear: Linear, factors: NDArray[np.floating] | None = None
    ) -> RoundedWeights:
        """Round a matrix, whose columns have been multiplied by `factors`.

        The order and the scales of its channels need not be those of the model.
        """
        format = self.format(key)
        if format == WeightFormat():
            values, scale = quantise_weights(linear.weight)
            ones = np.ones((len(values), 1), np.int64)
            return RoundedWeights(values.astype(np.int64), ones, scale)
        moments = self.moments[key]
        if factors is not None:
            moments = moments.divided(factors)
        pair = 0 if format.code == "int8" else self.pair
        return round_weights(linear.weight, format, moments.second, pair=pair)


#: All matrices int8, each weight rounded to the nearest.
NEAREST = WeightRounder()
