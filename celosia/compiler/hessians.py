"""Second moments of what every matrix multiplies, over the calibration inputs.

The error that rounding makes in a layer's output depends on its input only through `H = XᵀX / n`:
this is what `rounding` and `pruning` minimise it by. The float reference runs on the samples, and
its tap sums the moments up; nothing of a sample is kept.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from celosia.compiler.decoder import Decoder
from celosia.compiler.layers import Model, named_linears, sources
from celosia.errors import ModelError
from celosia.golden import reference, reference_decoder

__all__ = ["Moments", "find_moments"]


@dataclass(frozen=True, eq=False)
class Moments:
    """What is known of the rows X that a matrix multiplies.

    Attributes
    ----------
    second : (in, in) float64
        `XᵀX / n`, the Hessian.
    peak : (in,) float64
        Largest magnitude of each column of X.
    """

    second: NDArray[np.float64]
    peak: NDArray[np.float64]

    def divided(self, factors: NDArray[np.floating]) -> "Moments":
        """Return the moments of rows whose columns are divided by factors, as smoothing does."""
        return Moments(self.second / np.outer(factors, factors), self.peak / np.abs(factors))


class _Sum:
    """Sums of one tensor, in float32: what is added to the diagonal later is far larger."""

    def __init__(self, width: int) -> None:
        self.count = 0
        self.second = np.zeros((width, width), dtype=np.float32)
        self.peak = np.zeros(width)

    def add(self, rows: NDArray[np.floating]) -> None:
        self.count += len(rows)
        self.second += rows.T @ rows
        self.peak = np.maximum(self.peak, np.abs(rows).max(axis=0))

    def moments(self) -> Moments:
        return Moments(self.second.astype(np.float64) / self.count, self.peak)


def find_moments(
    model: Model, samples: Iterable[NDArray], names: Iterable[str] | None = None
) -> dict[str, Moments]:
    """Run the float reference on samples and return the moments of the matrices' inputs.

    Parameters
    ----------
    model : Encoder or Decoder
        The model.
    samples : iterable of ndarray
        Inputs, at least one: token ids or images.
    names : iterable of str, optional
        Matrices, by their names; all by default. Those that multiply the same tensor share one
        object.

    Raises
    ------
    ModelError
        If there is no sample.
    """
    reads = sources(model)
    reads = reads if names is None else {name: reads[name] for name in names}
    wanted = set(reads.values())
    sums: dict[str, _Sum] = {}
    for sample in samples:
        for tensor, rows in _tensors(model, sample, wanted).items():
            sums.setdefault(tensor, _Sum(rows.shape[1])).add(rows)
    if not sums:
        raise ModelError(f"{model.name}: calibration needs at least one input; give a sample")
    # Lets go of one sum after the other.
    found = {tensor: sums.pop(tensor).moments() for tensor in list(sums)}
    return _merged(model, {name: found[tensor] for name, tensor in reads.items()})


def _tensors(model: Model, sample: NDArray, wanted: set[str]) -> dict[str, NDArray]:
    """Return some tensors of one run."""
    found: dict[str, NDArray] = {}

    def tap(name: str, values: NDArray) -> None:
        if name in wanted:
            found[name] = values

    if isinstance(model, Decoder):
        reference_decoder.forward(model, sample, tap=tap, dtype=np.float32)
        return found
    hidden = reference.forward(model, sample, tap=tap, dtype=np.float32)["hidden"]
    assert hidden is not None, "every forward pass has rows"
    if "hidden" in wanted:
        found["hidden"] = hidden[:1] if model.pooling == "cls" else hidden
    return found


def _merged(model: Model, found: dict[str, Moments]) -> dict[str, Moments]:
    """Give a matrix that stands in several places what all of them see."""
    places: dict[int, list[str]] = {}
    for name, part in named_linears(model).items():
        if name in found:
            places.setdefault(id(part), []).append(name)
    for several in places.values():
        if len(several) > 1:
            every = [found[name] for name in several]
            second = np.mean([one.second for one in every], axis=0)
            peak = np.max([one.peak for one in every], axis=0)
            found |= dict.fromkeys(several, Moments(second, peak))
    return found
