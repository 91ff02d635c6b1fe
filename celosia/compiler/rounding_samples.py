"""Inputs that the moments of a model's layers are taken over."""

from numpy.typing import NDArray

from celosia.compiler.calibrate import calibration_inputs
from celosia.compiler.calibrate_decoder import decoder_samples
from celosia.compiler.datasets_sentences import ROUNDING_SENTENCES
from celosia.compiler.decoder import Decoder
from celosia.compiler.layers import Model
from celosia.compiler.tokens import load_tokenizer

__all__ = ["rounding_samples"]

#: Sequences that are drawn from a language model: with 8 its moments are as good as none.
SEQUENCES = 32


def rounding_samples(model: Model) -> list[NDArray]:
    """Return more inputs than ranges are found from, real ones where the model came with some."""
    if isinstance(model, Decoder):
        return decoder_samples(model, SEQUENCES)
    found = calibration_inputs(model)
    if model.name == "minilm":
        tokenizer = load_tokenizer("minilm")
        found += [tokenizer.encode(sentence) for sentence in ROUNDING_SENTENCES]
    return found
