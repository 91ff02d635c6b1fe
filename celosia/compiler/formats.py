"""From a recipe to the formats of a model's matrices, and to what rounds them."""

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from celosia.compiler.decoder import Decoder
from celosia.compiler.hessians import Moments, find_moments
from celosia.compiler.layers import Model, named_linears, replace_weights
from celosia.compiler.mix import choose_mix, mix_within, model_error, sensitivity
from celosia.compiler.recipe import Abilities, Recipe, load_recipe, parse_recipe
from celosia.compiler.rounding_samples import rounding_samples
from celosia.compiler.weight_format import RoundedWeights, WeightFormat
from celosia.compiler.weights import NEAREST, WeightRounder
from celosia.config import MachineConfig
from celosia.errors import ModelError

__all__ = ["abilities", "make_rounder", "read_weights"]

#: Inputs that a mix is measured on.
SAMPLES = 8
#: A format in words, such as "int4 g32 2:4" or "int8 b50%".
SHORT = re.compile(
    r"(?P<code>[a-z]+[0-9]*)( g(?P<group>[0-9]+))?( (?P<sparsity>[0-9]+:[0-9]+))?"
    r"( b(?P<blocks>[0-9]+)%)?"
)


def abilities(config: MachineConfig) -> Abilities:
    """Return what a machine can do with weights."""
    codes = {"int8"} if config.products == 1 else {"int8", "int4", "fp4", "ternary"}
    return Abilities(frozenset(codes), config.sparsity, config.rows)


def read_weights(text: str) -> Recipe:
    """Return the recipe in a TOML file, or that of one format in words, such as "int4 g32 2:4".

    Raises
    ------
    ModelError
        If it is neither.
    """
    if text.endswith(".toml") or Path(text).exists():
        return load_recipe(text)
    found = SHORT.fullmatch(text)
    if found is None:
        raise ModelError(
            f"weights must be a recipe's .toml file or a format such as 'int8', 'int4 g32', "
            f"'int4 g32 2:4' or 'int8 b50%', not {text!r}"
        )
    given: dict[str, object] = {
        key: value for key, value in found.groupdict().items() if value is not None
    }
    if "group" in given:
        given["group"] = int(found["group"])
    if "blocks" in given:
        given["blocks"] = int(found["blocks"]) / 100
    return parse_recipe({"defaults": given}, "weights")


def make_rounder(model: Model, config: MachineConfig, recipe: Recipe | None) -> WeightRounder:
    """Give each matrix of a model its format, and gather what rounding it needs.

    The weights of V in an encoder stream, and stay int8.

    Raises
    ------
    ModelError
        If the recipe asks for what the machine cannot do; the message names the layer.
    """
    if recipe is None:
        return NEAREST
    every = named_linears(model)
    streamed = {name for name in every if not isinstance(model, Decoder) and name.endswith(".v")}
    linears = {name: part for name, part in every.items() if name not in streamed}
    _check_streamed(recipe, linears, streamed)
    assigned = recipe.assign(
        {name: part.inputs for name, part in linears.items()}, abilities(config)
    )
    plain = WeightFormat()
    needed = [name for name, format in assigned.items() if format != plain]
    if not needed:
        return NEAREST
    # Matrices this small gain nothing from threads, which wait for each other on a busy machine.
    with threadpool_limits(1, user_api="blas"):
        samples = rounding_samples(model)
        moments = find_moments(model, samples, needed)
        formats = {name: format for name, format in assigned.items() if format is not None}
        open_ones = [name for name, format in assigned.items() if format is None]
        if open_ones:
            formats |= _mixed(model, config, recipe, open_ones, moments, samples[:SAMPLES])
    return WeightRounder(formats, moments, config)


def _check_streamed(recipe: Recipe, names: Iterable[str], streamed: set[str]) -> None:
    """Refuse an entry that is for streamed matrices alone."""
    for rule in recipe.rules:
        meant = sorted(name for name in streamed if fnmatchcase(name, rule.match))
        if meant and not any(fnmatchcase(name, rule.match) for name in names):
            raise ModelError(
                f"{recipe.name}: {meant[0]}: the weights of V stream in an encoder and stay int8; "
                f"leave the entry for {rule.match!r} out"
            )


def _mixed(
    model: Model,
    config: MachineConfig,
    recipe: Recipe,
    names: list[str],
    moments: Mapping[str, Moments],
    samples: list[np.ndarray],
) -> Mapping[str, WeightFormat]:
    """Choose formats within the budget of a recipe."""
    auto = recipe.auto
    assert auto is not None
    measure = model_error(model, samples)
    allowed = dict.fromkeys(names, auto.formats)
    linears = named_linears(model)

    def rounded(name: str, format: WeightFormat) -> RoundedWeights:
        return WeightRounder({name: format}, moments, config).round(name, linears[name])

    most = max(config.sparsity, 4)
    options = sensitivity(model, allowed, moments, rounded, measure=measure, most=most)
    if auto.mean_bits is not None:
        weights = sum(linears[name].weight.size for name in names)
        return choose_mix(options, most_bytes=auto.mean_bits * weights / 8).formats

    def whole(formats: Mapping[str, WeightFormat]) -> float:
        weights = {
            name: rounded(name, format).real(format.group) for name, format in formats.items()
        }
        return measure(replace_weights(model, weights))

    assert auto.accuracy is not None
    mix, _ = mix_within(options, 1 - auto.accuracy, whole)
    return mix.formats
