"""Second moments of what every matrix multiplies, over the calibration inputs.

The error that rounding makes in a layer's output depends on its input only through `H = XᵀX / n`:
this is what `rounding` and `pruning` minimise it by. The float reference runs on the samples, and
its tap sums the moments up; nothing of a sample is kept.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields

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
    mean : (in,) float64
        Mean of the rows.
    cross : (in, in) float64
        `XᵀY / n`, with Y the rows of the exact model, where X may be those of a rounded one.
    exact_mean : (in,) float64
        Mean of Y.
    peak : (in,) float64
        Largest magnitude of each column of X.
    """

    second: NDArray[np.float64]
    mean: NDArray[np.float64]
    cross: NDArray[np.float64]
    exact_mean: NDArray[np.float64]
    peak: NDArray[np.float64]

    def divided(self, factors: NDArray[np.floating]) -> "Moments":
        """Return the moments of rows whose columns are divided by factors, as smoothing does."""
        both = np.outer(factors, factors)
        return Moments(
            self.second / both,
            self.mean / factors,
            self.cross / both,
            self.exact_mean / factors,
            self.peak / np.abs(factors),
        )


class _Sum:
    """Sums of one tensor, in float32: what is added to the diagonal later is far larger."""

    def __init__(self, width: int) -> None:
        self.count = 0
        self.second = np.zeros((width, width), dtype=np.float32)
        self.mean = np.zeros(width)
        self.peak = np.zeros(width)

    def add(self, rows: NDArray[np.floating], exact: NDArray[np.floating]) -> None:
        self.count += len(rows)
        self.second += rows.T @ exact
        self.mean += exact.sum(axis=0)
        self.peak = np.maximum(self.peak, np.abs(rows).max(axis=0))

    def moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return self.second.astype(np.float64) / self.count, self.mean / self.count


def find_moments(
    model: Model,
    samples: Iterable[NDArray],
    names: Iterable[str] | None = None,
    *,
    exact: Model | None = None,
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
    exact : Encoder or Decoder, optional
        The model that `model` stands for, if some weights of that are rounded already.

    Raises
    ------
    ModelError
        If there is no sample.
    """
    reads = sources(model)
    reads = reads if names is None else {name: reads[name] for name in names}
    wanted = set(reads.values())
    own: dict[str, _Sum] = {}
    crossed: dict[str, _Sum] = {}
    for sample in samples:
        rows = _tensors(model, sample, wanted)
        right = rows if exact is None else _tensors(exact, sample, wanted)
        for tensor, values in rows.items():
            own.setdefault(tensor, _Sum(values.shape[1])).add(values, values)
            if exact is not None:
                crossed.setdefault(tensor, _Sum(values.shape[1])).add(values, right[tensor])
    if not own:
        raise ModelError(f"{model.name}: calibration needs at least one input; give a sample")
    found: dict[str, Moments] = {}
    for tensor in list(own):  # let go of one after the other
        first = own[tensor].moments()
        second = first if exact is None else crossed[tensor].moments()
        found[tensor] = Moments(*first, *second, own[tensor].peak)
        del own[tensor]
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
            mean = Moments(
                *(
                    np.mean([getattr(one, field.name) for one in every], axis=0)
                    for field in fields(Moments)
                )
            )
            found |= dict.fromkeys(several, mean)
    return found
