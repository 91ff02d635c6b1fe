"""From a decoder to a program: samples, ranges, precision, integers, instructions."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from celosia.compiler.calibrate_decoder import (
    DecoderCalibration,
    decoder_samples,
    find_decoder_ranges,
)
from celosia.compiler.decoder import Decoder
from celosia.compiler.emit_decoder import emit_decoder
from celosia.compiler.formats import make_rounder
from celosia.compiler.precision import PRECISIONS, Choice, choose_precision, divergence, matrices
from celosia.compiler.program import Program
from celosia.compiler.quantise_decoder import WIDE_ACCUMULATORS, quantise_decoder
from celosia.compiler.recipe import Recipe
from celosia.compiler.weight_format import WeightFormat
from celosia.config import MachineConfig
from celosia.errors import ModelError

__all__ = ["compile_decoder", "rows_of"]

#: Tensor of the float reference that each matrix takes.
ROWS = {
    "q": "norm1",
    "k": "norm1",
    "v": "norm1",
    "o": "context",
    "gate": "norm2",
    "up": "norm2",
    "down": "product",
}


def rows_of(name: str) -> str:
    """Return the name of the tensor that a matrix takes, by the matrix's name."""
    block, _, part = name.rpartition(".")
    return f"{block}.{ROWS[part]}" if block else "final_norm"


def compile_decoder(
    decoder: Decoder,
    config: MachineConfig,
    *,
    samples: Sequence[NDArray[np.integer]] | None = None,
    precision: str = "auto",
    weights: Recipe | None = None,
    context: int | None = None,
    sequences: int = 1,
    block: int | None = None,
) -> Program:
    """Compile a decoder.

    Parameters
    ----------
    decoder : Decoder
        The model.
    config : MachineConfig
        The machine.
    samples : sequence of (tokens,) int, optional
        Token ids to find ranges and precision with; the model's own data or its own text by
        default.
    precision : str
        One of `PRECISIONS` for all matrices, or "auto": chosen by the error that each makes with
        int8 weights.
    weights : Recipe, optional
        Formats of the weights; by default all are int8. Others have no second product (W16).
    context, sequences, block
        As in `emit_decoder`.

    Raises
    ------
    ModelError
        If a layer does not suit the machine, or the model does not fit; the message names it.
    """
    if precision != "auto" and precision not in PRECISIONS:
        raise ModelError(
            f"precision must be auto or one of {', '.join(PRECISIONS)}, not {precision!r}"
        )
    # Matrices this small gain nothing from threads, which wait for each other on a busy machine.
    with threadpool_limits(1, user_api="blas"):
        samples = decoder_samples(decoder) if samples is None else samples
        ranges = find_decoder_ranges(decoder, samples)
        choice = _choose(decoder, samples, ranges, config) if precision == "auto" else None
    chosen = dict.fromkeys(matrices(decoder), precision) if choice is None else choice.precision
    rounder = make_rounder(decoder, config, weights)
    chosen = {
        name: level.replace("W16", "W8") if rounder.format(name) != WeightFormat() else level
        for name, level in chosen.items()
    }
    model = quantise_decoder(decoder, ranges, config, chosen, rounder)
    program = emit_decoder(model, config, context=context, sequences=sequences, block=block)
    found: dict[str, object] = {"asked": precision}
    if choice is not None:
        found |= {
            "divergence_a8w8": choice.plain,
            "divergence": choice.reached,
            "steps": choice.steps,
        }
    return replace(program, extra={**program.extra, "precision": found})


def _choose(
    decoder: Decoder,
    samples: Sequence[NDArray[np.integer]],
    ranges: DecoderCalibration,
    config: MachineConfig,
) -> Choice:
    """Choose the precision of each matrix; without wide accumulators there is no choice."""
    parts = matrices(decoder)
    scales = {name: ranges.scale(rows_of(name)) for name in parts}
    measure = divergence(decoder, samples, scales.__getitem__)
    narrow = config.accumulator_width < WIDE_ACCUMULATORS
    sizes = {name: part.weight.size for name, part in parts.items()}
    return choose_precision([] if narrow else parts, sizes, measure)
