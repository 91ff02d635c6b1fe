"""Ranges of a decoder's activations: from sample sequences to the scale of every tensor."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from celosia.compiler.calibrate import HEADROOM, LIMIT, best_scale
from celosia.compiler.datasets_text import arithmetic_problems
from celosia.compiler.decoder import Decoder
from celosia.compiler.text import load_codec
from celosia.errors import ModelError
from celosia.golden.reference_decoder import forward

__all__ = ["DecoderCalibration", "decoder_samples", "find_decoder_ranges"]

#: Sequences that are drawn from a model itself, and their tokens.
SAMPLES, LENGTH = 8, 64
#: Products that drawing `SAMPLES` of them may cost; larger models get random tokens.
DRAWING = 2_000_000_000
#: Most rows of a sample that are kept as they are.
KEPT_ROWS = 32


class DecoderCalibration:
    """A tap of the float reference that keeps the peaks of rows and columns.

    Attributes
    ----------
    peaks : dict of str to list of ndarray
        By the name of the tensor, the largest magnitude of each row of each sample.
    columns : dict of str to ndarray
        The largest magnitude of each column.
    rows : dict of str to list of ndarray
        Some rows of each sample.
    """

    def __init__(self) -> None:
        self.peaks: dict[str, list[NDArray[np.float64]]] = {}
        self.columns: dict[str, NDArray[np.float64]] = {}
        self.rows: dict[str, list[NDArray[np.float32]]] = {}

    def __call__(self, name: str, values: NDArray[np.floating]) -> None:
        """Take one tensor in."""
        rows = values.reshape(len(values), -1)
        magnitudes = np.abs(rows)
        if not np.isfinite(magnitudes).all():
            raise ModelError(f"{name} is not finite on a calibration input; check the weights")
        self.peaks.setdefault(name, []).append(magnitudes.max(axis=-1).astype(np.float64))
        columns = magnitudes.max(axis=0).astype(np.float64)
        self.columns[name] = np.maximum(self.columns.get(name, 0.0), columns)
        step = -(-len(rows) // KEPT_ROWS)
        self.rows.setdefault(name, []).append(rows[::step].astype(np.float32))

    def needed(self, name: str) -> float:
        """Return the least scale at which a tensor fits int16 with room to spare."""
        largest = max(float(peaks.max()) for peaks in self.peaks[name])
        return max(largest * HEADROOM, 1e-6) / LIMIT

    def scale(self, name: str, floor: float = 0.0) -> float:
        """Choose the scale of a tensor that the array reads, not below `floor`."""
        return best_scale(np.concatenate(self.peaks[name]), max(self.needed(name), floor))


def find_decoder_ranges(
    decoder: Decoder, samples: Iterable[NDArray[np.integer]]
) -> DecoderCalibration:
    """Run the float reference on sequences of token ids.

    Raises
    ------
    ModelError
        If there is none, or one does not fit the model.
    """
    found = DecoderCalibration()
    for sample in samples:
        decoder.rows(sample)  # refuses what does not fit
        forward(decoder, sample, tap=found, dtype=np.float32)
    if not found.peaks:
        raise ModelError(f"{decoder.name}: calibration needs at least one sequence; give one")
    return found


def decoder_samples(decoder: Decoder, count: int = SAMPLES) -> list[NDArray[np.integer]]:
    """Return sequences for a model: its own data if it came with some, else `count` of its own.

    A model's own text is what its activations look like in use; it needs no data. Drawing is left
    out for models too large for it here, which get random tokens: right in order of magnitude.
    """
    problems = [
        prompt + answer for prompt, answer, model in arithmetic_problems() if model == decoder.name
    ]
    if problems:
        codec = load_codec(decoder.name)
        return [np.array(codec.encode(problem)) for problem in problems]
    rng = np.random.default_rng(0)
    length = min(LENGTH, decoder.context)
    starts = rng.integers(0, decoder.vocabulary, (count, length))
    macs = sum(linear.weight.size for linear in decoder.linears)
    if macs * SAMPLES * length * length // 2 > DRAWING * 20:
        return list(starts)
    samples = []
    for start in starts:
        tokens = start[:1]
        while len(tokens) < length:
            logits = forward(decoder, tokens, dtype=np.float32)[-1].astype(np.float64)
            powers = np.exp(logits - logits.max())
            drawn = rng.choice(len(powers), p=powers / powers.sum())
            tokens = np.append(tokens, drawn)
        samples.append(tokens)
    return samples
