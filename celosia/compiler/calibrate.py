"""Ranges of activations: from sample inputs to the scale of every tensor.

The float reference runs on the samples, and what is kept of each tensor is the peak of each of
its *rows*, a row being what the machine gives one exponent to.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from celosia.compiler import datasets
from celosia.compiler.graph import BertEmbedding, Encoder, PatchEmbedding
from celosia.errors import ModelError
from celosia.golden.fixed import bit_length
from celosia.golden.reference import forward

__all__ = ["HEADROOM", "LIMIT", "Calibration", "best_scale", "calibration_inputs", "find_ranges"]

#: Largest int16.
LIMIT = 32767
#: What inputs that were not in the samples may exceed them by.
HEADROOM = 1.5
#: Scales that are tried within one octave.
STEPS = 16
#: Most rows of a sample that are kept as they are.
KEPT_ROWS = 48
#: Synthetic inputs, for models that come without data.
SAMPLES = 16


class Calibration:
    """A tap of the float reference that keeps the peaks of rows.

    Parameters
    ----------
    encoder : Encoder
        What the tensors belong to.

    Attributes
    ----------
    peaks : dict of str to list of ndarray
        By the name of the tensor, the largest magnitude of each row of each sample.
    columns : dict of str to ndarray
        Of the results of norms, the largest magnitude of each column.
    rows : dict of str to list of ndarray
        Of the results of norms, some rows of each sample.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.peaks: dict[str, list[NDArray[np.float64]]] = {}
        self.columns: dict[str, NDArray[np.float64]] = {}
        self.rows: dict[str, list[NDArray[np.float32]]] = {}

    def __call__(self, name: str, values: NDArray[np.floating]) -> None:
        """Take one tensor in."""
        block, _, what = name.rpartition(".")
        if what in ("logits", "probabilities") and block:
            return
        magnitudes = np.abs(np.atleast_2d(values))
        if what in ("q", "k"):  # one product, and so one exponent, for each head
            heads = self.encoder.blocks[int(block.removeprefix("block"))].attention.heads
            peaks = magnitudes.reshape(len(magnitudes), heads, -1).max(axis=-1)
        elif what == "v":  # transposed in the machine: a row is one channel of all tokens
            peaks = magnitudes.max(axis=0)
        else:
            peaks = magnitudes.max(axis=-1)
        self.peaks.setdefault(name, []).append(peaks.ravel().astype(np.float64))
        if what in ("norm", "norm1", "norm2"):
            columns = magnitudes.max(axis=0)
            self.columns[name] = np.maximum(self.columns.get(name, 0.0), columns)
            kept = values[:: -(-len(values) // KEPT_ROWS)]
            self.rows.setdefault(name, []).append(kept.astype(np.float32))

    def largest(self, name: str) -> float:
        """Return the largest magnitude that a tensor has shown."""
        return max(float(peaks.max()) for peaks in self.peaks[name])

    def needed(self, name: str) -> float:
        """Return the least scale at which a tensor fits int16 with room to spare."""
        return max(self.largest(name) * HEADROOM, 1e-6) / LIMIT

    def scale(self, name: str, floor: float = 0.0) -> float:
        """Choose the scale of a tensor that the array reads, not below `floor`."""
        least = max(self.needed(name), floor)
        return best_scale(np.concatenate(self.peaks[name]), least)


def best_scale(peaks: NDArray[np.floating], least: float) -> float:
    """Choose the scale of rows that the array reads.

    Any scale not below the least will do for int16; within the octave above it, the one is
    taken at which the exponents, powers of two, cost the rows least: the quantisation step is
    relative to the row's own peak.

    Parameters
    ----------
    peaks : (rows,) float
        Largest magnitude of each row.
    least : float
        Least scale at which everything fits int16.
    """
    peaks = peaks[peaks > 0]
    if not len(peaks):
        return least

    def cost(scale: float) -> float:
        codes = np.minimum(np.rint(peaks / scale), LIMIT).astype(np.int64)
        exponents = np.maximum(bit_length(codes) - 7, 0)
        return float(np.mean(np.square(scale * 2.0**exponents / peaks)))

    return min((least * 2 ** (step / STEPS) for step in range(STEPS)), key=cost)


def find_ranges(encoder: Encoder, inputs: Iterable[NDArray]) -> Calibration:
    """Run the float reference on samples.

    Parameters
    ----------
    encoder : Encoder
        The model.
    inputs : iterable of ndarray
        Token ids (tokens,) or images (channels, height, width), at least one.

    Raises
    ------
    ModelError
        If there is no sample, or a sample does not fit the model.
    """
    found = Calibration(encoder)
    head = encoder.head
    for sample in inputs:
        hidden = forward(encoder, sample, tap=found, dtype=np.float32)["hidden"]
        assert hidden is not None, "every forward pass has rows"
        found("output", hidden)
        if head is not None:
            # The machine may apply the head to rows that are pooled only afterwards.
            rows = hidden[:1] if encoder.pooling == "cls" else hidden
            bias = 0.0 if head.bias is None else head.bias
            found("head", rows @ head.weight.T + bias)
    if not found.peaks:
        raise ModelError(f"{encoder.name}: calibration needs at least one input; give a sample")
    for name, peaks in found.peaks.items():
        if not all(np.isfinite(peak).all() for peak in peaks):
            raise ModelError(
                f"{encoder.name}: {name} is not finite on a calibration input; check the weights"
            )
    return found


def calibration_inputs(encoder: Encoder) -> list[NDArray]:
    """Return samples for a model: its own data if it came with some, else synthetic ones.

    Synthetic token ids and pixels are uniform, from a fixed seed. They find the right order of
    magnitude; real inputs give better scales.
    """
    if encoder.name == "digits_vit":
        return list(datasets.digits_calibration())
    if encoder.name == "minilm":
        return _sentences()
    rng = np.random.default_rng(0)
    embedding = encoder.embedding
    if isinstance(embedding, BertEmbedding):
        longest = min(embedding.max_tokens, 64)
        lengths = rng.integers(1, longest + 1, SAMPLES)
        lengths[0] = longest
        return [rng.integers(0, len(embedding.words), length) for length in lengths]
    return [_image(embedding, rng) for _ in range(SAMPLES)]


def _image(embedding: PatchEmbedding, rng: np.random.Generator) -> NDArray:
    """Draw an image whose normalised pixels lie between -1 and 1."""
    shape = (embedding.channels, *embedding.image_size)
    mean, std = (np.array(v)[:, None, None] for v in (embedding.mean, embedding.std))
    return (rng.uniform(-1, 1, shape) * std + mean) / embedding.scale


def _sentences() -> list[NDArray]:
    from celosia.compiler.tokens import load_tokenizer

    tokenizer = load_tokenizer("minilm")
    return [tokenizer.encode(sentence) for sentence in datasets.CALIBRATION_SENTENCES]
