"""From a decoder to a program: samples, ranges, precision, integers, instructions."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from celosia.compiler.calibrate_decoder import decoder_samples, find_decoder_ranges
from celosia.compiler.decoder import Decoder
from celosia.compiler.emit_decoder import emit_decoder
from celosia.compiler.precision import PRECISIONS, Choice, choose_precision, divergence, matrices
from celosia.compiler.program import Program
from celosia.compiler.quantise_decoder import WIDE_ACCUMULATORS, quantise_decoder
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
        One of `PRECISIONS` for all matrices, or "auto": chosen by the error that each makes.
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
    samples = decoder_samples(decoder) if samples is None else samples
    ranges = find_decoder_ranges(decoder, samples)
    parts = matrices(decoder)
    if precision != "auto":
        choice = Choice(dict.fromkeys(parts, precision), 0.0, 0.0, [])
    else:
        scales = {name: ranges.scale(rows_of(name)) for name in parts}
        measure = divergence(decoder, samples, scales.__getitem__)
        narrow = config.accumulator_width < WIDE_ACCUMULATORS
        choice = choose_precision(
            [] if narrow else parts,
            {name: part.weight.size for name, part in parts.items()},
            measure,
        )
    model = quantise_decoder(decoder, ranges, config, choice.precision)
    program = emit_decoder(model, config, context=context, sequences=sequences, block=block)
    program.extra["precision"] = {
        "asked": precision,
        "divergence_a8w8": choice.plain,
        "divergence": choice.reached,
        "steps": choice.steps,
    }
    return program
