"""From a checkpoint to a program.

The passes run in this order: import into a graph, calibrate, quantise, place the constants,
schedule, insert tokens, emit the image and the manifest. Nothing here knows the hardware but
through `celosia.config` and `celosia.isa`, and arithmetic comes from the golden models.
"""

from collections.abc import Iterable

from numpy.typing import NDArray

from celosia.compiler.calibrate import calibration_inputs, find_ranges
from celosia.compiler.emit import emit_program
from celosia.compiler.formats import make_rounder
from celosia.compiler.graph import Encoder
from celosia.compiler.program import Program
from celosia.compiler.quantise_model import quantise_encoder
from celosia.compiler.quantise_parts import QuantisedEncoder
from celosia.compiler.recipe import Recipe
from celosia.config import MachineConfig
from celosia.errors import ModelError

__all__ = ["compile_model", "emit_program", "quantise_model"]


def quantise_model(
    model: Encoder,
    config: MachineConfig,
    calibration: Iterable[NDArray] | None = None,
    weights: Recipe | None = None,
) -> QuantisedEncoder:
    """Calibrate and quantise a model, once for any number of tokens.

    Parameters
    ----------
    model : Encoder
        The graph of an encoder.
    config : MachineConfig
        The machine; its accumulators must hold every sum.
    calibration : iterable of ndarray, optional
        Sample inputs, token ids or images; by default the model's own, or synthetic ones.
    weights : Recipe, optional
        Formats of the weights; by default all are int8.

    Raises
    ------
    ModelError
        If the model does not suit the machine's numbers.
    """
    rounder = make_rounder(model, config, weights)
    samples = calibration_inputs(model) if calibration is None else calibration
    return quantise_encoder(model, find_ranges(model, samples), config, rounder)


def compile_model(
    model: Encoder,
    config: MachineConfig,
    *,
    tokens: int | None = None,
    calibration: Iterable[NDArray] | None = None,
    weights: Recipe | None = None,
) -> Program:
    """Compile a model for a machine.

    Parameters
    ----------
    model : Encoder
        The graph of an encoder.
    config : MachineConfig
        The machine.
    tokens : int, optional
        Tokens that every input will have; images have a fixed number, which is the default.
    calibration : iterable of ndarray, optional
        Sample inputs, token ids or images; by default the model's own, or synthetic ones.
    weights : Recipe, optional
        Formats of the weights; by default all are int8.

    Raises
    ------
    ModelError
        If the model cannot be mapped; the message names the layer and says why.
    """
    if model.family == "vit":
        if tokens not in (None, model.max_tokens):
            raise ModelError(
                f"{model.name}: every image has {model.max_tokens} tokens, not {tokens}"
            )
        tokens = model.max_tokens
    if tokens is None:
        raise ModelError(
            f"{model.name}: the number of tokens must be given, 1 to {model.max_tokens}"
        )
    return emit_program(quantise_model(model, config, calibration, weights), config, tokens)
