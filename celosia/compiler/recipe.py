"""Recipes: which format the weights of each layer take, as a TOML file says it.

    [defaults]
    code = "int8"

    [[layers]]
    match = "block*"
    code = "int4"
    group = 32

    [[layers]]
    match = "*.down"
    sparsity = "2:4"

The last entry that matches a layer wins, as in .gitignore, so exceptions stand below the rule that
they are from. It says the whole format: a key that it leaves out comes from [defaults], never from
an entry above, or an exception would inherit the very thing it is one from. With [auto], the
layers that no entry matches get what suits a budget, see `mix`.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from celosia.compiler.weight_format import CODES, WeightFormat
from celosia.errors import ModelError

__all__ = ["Abilities", "Auto", "Recipe", "Rule", "describe", "load_recipe", "parse_recipe"]

FORMAT_KEYS = ("code", "group", "sparsity", "blocks", "outliers")
#: Most tiles of a group.
MOST_TILES = 1 << 15


@dataclass(frozen=True)
class Abilities:
    """What a machine can do with weights.

    Attributes
    ----------
    codes : frozenset of str
        Number formats, keys of `CODES`.
    sparsity : int
        Largest M of N:M sparsity; 1 if weights must be dense.
    rows : int
        Inputs of one tile of the array, R; a sparse tile has twice as many.
    """

    codes: frozenset[str]
    sparsity: int
    rows: int


@dataclass(frozen=True)
class Rule:
    """One entry: the layers that a glob matches get a format."""

    match: str
    format: WeightFormat


@dataclass(frozen=True)
class Auto:
    """A budget, and the formats to choose from.

    Attributes
    ----------
    formats : tuple of WeightFormat
        What a layer may get.
    mean_bits : float or None
        Most bits of memory for a weight, on average over the layers that are chosen for.
    accuracy : float or None
        Least accuracy, between 0 and 1, that must be reached in as few bytes as possible.
    """

    formats: tuple[WeightFormat, ...]
    mean_bits: float | None = None
    accuracy: float | None = None


@dataclass(frozen=True)
class Recipe:
    """What a file says.

    Attributes
    ----------
    name : str
        What messages call it, such as the file's name.
    default : WeightFormat
        Of layers that nothing else is said about.
    rules : tuple of Rule
        Entries, in order.
    auto : Auto or None
        How to choose for layers that no entry matches.
    """

    name: str
    default: WeightFormat = WeightFormat()  # noqa: RUF009 - it is frozen
    rules: tuple[Rule, ...] = ()
    auto: Auto | None = None

    def assign(
        self, inputs: Mapping[str, int], abilities: Abilities
    ) -> dict[str, WeightFormat | None]:
        """Give every layer its format, None where `auto` has to choose.

        Parameters
        ----------
        inputs : mapping of str to int
            Inputs of every layer, by its name.
        abilities : Abilities
            What the machine can do.

        Raises
        ------
        ModelError
            If an entry matches nothing, or a layer gets a format that the machine cannot do.
        """
        for index, rule in enumerate(self.rules, start=1):
            if not any(fnmatchcase(name, rule.match) for name in inputs):
                raise ModelError(
                    f"{self.name}: layers[{index}]: match {rule.match!r} matches no layer; the "
                    f"model has {_some(inputs)}"
                )
        found: dict[str, WeightFormat | None] = {}
        for name in inputs:
            fitting = [rule.format for rule in self.rules if fnmatchcase(name, rule.match)]
            chosen = fitting[-1] if fitting else None if self.auto else self.default
            if chosen is not None:
                check_format(f"{self.name}: {name}", chosen, abilities)
            found[name] = chosen
        for format in self.auto.formats if self.auto else ():
            check_format(f"{self.name}: auto.formats", format, abilities)
        return found


def _some(names: Iterable[str]) -> str:
    every = list(names)
    return ", ".join(every[:4]) + (f" … {every[-1]}" if len(every) > 4 else "")


def describe(format: WeightFormat) -> str:
    """Return a format in a few characters, such as "int4 g32 2:4"."""
    keep, run = format.sparsity
    group = f" g{format.group}" if format.group else ""
    blocks = f" b{100 * format.blocks:.3g}%" if format.blocks else ""
    outliers = f" o{format.outliers:.3g}" if format.outliers else ""
    return format.code + group + (f" {keep}:{run}" if run > 1 else "") + blocks + outliers


def check_format(where: str, format: WeightFormat, abilities: Abilities) -> None:
    """Refuse a format that a machine cannot do.

    Raises
    ------
    ModelError
        With `where`, the rule, what was given and what to change.
    """
    keep, run = format.sparsity
    if format.code not in abilities.codes:
        raise ModelError(
            f'{where}: code {format.code!r} needs an array whose pe is "packed"; this machine has '
            f"{_listed(abilities.codes)}"
        )
    if run > abilities.sparsity:
        most = f"at most N:{abilities.sparsity}" if abilities.sparsity > 1 else "dense weights"
        raise ModelError(
            f"{where}: sparsity {keep}:{run} is beyond this machine, which takes {most}; raise "
            "sparsity in its configuration, or leave it out here"
        )
    if format.blocks and abilities.sparsity == 1:
        raise ModelError(
            f"{where}: this machine cannot leave out blocks of weights; raise sparsity in its "
            "configuration, or leave blocks out here"
        )
    if not format.group:
        if format.blocks and format.code != "int8":
            raise ModelError(
                f"{where}: blocks of 4-bit weights have the inputs of a group; give it a group"
            )
        return
    if format.code == "int8":
        raise ModelError(
            f"{where}: group must be 0 with int8 weights, not {format.group}; the machine scales "
            "groups of 4-bit weights only"
        )
    lanes = abilities.rows * (2 if run > 1 else 1)
    tiles, rest = divmod(format.group, lanes)
    if rest or tiles & (tiles - 1) or tiles > MOST_TILES:
        kind = "sparse tile" if run > 1 else "tile"
        raise ModelError(
            f"{where}: group must be the {lanes} inputs of a {kind}, times a power of two, not "
            f"{format.group}; use {_nearest(format.group, lanes)}"
        )


def _nearest(group: int, lanes: int) -> int:
    """Return the largest group that can be had and is not larger than what was asked for."""
    tiles = max(min(group // lanes, MOST_TILES), 1)
    return lanes << (tiles.bit_length() - 1)


def _listed(names: Iterable[str]) -> str:
    return " and ".join(repr(name) for name in CODES if name in set(names))


def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe from a TOML file.

    Raises
    ------
    ModelError
        If it cannot be read, or says something that no recipe can.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ModelError(f"{path}: is not TOML: {error}") from error
    return parse_recipe(content, path.name)


def parse_recipe(content: Mapping[str, Any], name: str) -> Recipe:
    """Take a recipe from the tables of a TOML file, `name` being what messages call it.

    Raises
    ------
    ModelError
        If a key is not known or a value is not of its kind.
    """
    _known(name, content, ("defaults", "layers", "auto"))
    default = _format(f"{name}: defaults", _table(name, content, "defaults"), WeightFormat())
    entries = content.get("layers", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ModelError(f"{name}: layers must be entries [[layers]], not {entries!r}")
    rules = []
    for index, entry in enumerate(entries, start=1):
        where = f"{name}: layers[{index}]"
        match = entry.get("match")
        if not isinstance(match, str) or not match:
            raise ModelError(f"{where}: match must be a glob such as 'block*.down', not {match!r}")
        rest = {key: value for key, value in entry.items() if key != "match"}
        rules.append(Rule(match, _format(where, rest, default, ("match",))))
    auto = _auto(name, _table(name, content, "auto"), default) if "auto" in content else None
    return Recipe(name, default, tuple(rules), auto)


def _auto(name: str, table: Mapping[str, Any], default: WeightFormat) -> Auto:
    where = f"{name}: auto"
    _known(where, table, ("mean_bits", "accuracy", "formats"))
    bits, accuracy = (table.get(key) for key in ("mean_bits", "accuracy"))
    if (bits is None) == (accuracy is None):
        raise ModelError(f"{where}: must have either mean_bits or accuracy; give one of them")
    for key, value, most in (("mean_bits", bits, 16), ("accuracy", accuracy, 1)):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (number and 0 < value <= most):
            raise ModelError(f"{where}: {key} must be above 0, up to {most}, not {value!r}")
    listed = table.get("formats")
    if not isinstance(listed, list) or not listed or not all(isinstance(x, dict) for x in listed):
        raise ModelError(
            f'{where}: formats must list what layers may have, such as [{{code = "int8"}}, '
            f'{{code = "int4", group = 32}}], not {listed!r}'
        )
    formats = tuple(
        _format(f"{where}: formats[{i}]", entry, default) for i, entry in enumerate(listed, start=1)
    )
    return Auto(formats, None if bits is None else float(bits), accuracy)


def _table(where: str, content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    table = content.get(key, {})
    if not isinstance(table, dict):
        raise ModelError(f"{where}: {key} must be a table [{key}], not {table!r}")
    return table


def _known(where: str, table: Mapping[str, Any], keys: Iterable[str]) -> None:
    unknown = [key for key in table if key not in keys]
    if unknown:
        raise ModelError(f"{where}: unknown key {unknown[0]!r}; the keys are {', '.join(keys)}")


def _format(
    where: str, table: Mapping[str, Any], default: WeightFormat, more: tuple[str, ...] = ()
) -> WeightFormat:
    _known(where, table, (*more, *FORMAT_KEYS))
    code = table.get("code", default.code)
    if not isinstance(code, str) or code not in CODES:
        raise ModelError(f"{where}: code must be one of {', '.join(CODES)}, not {code!r}")
    # Groups are of 4-bit weights alone, so those of the default do not reach int8.
    group = table.get("group", 0 if code == "int8" else default.group)
    if type(group) is not int or group < 0:
        raise ModelError(f"{where}: group must be a number of inputs, or 0 for all, not {group!r}")
    sparsity = table.get("sparsity")
    blocks = table.get("blocks", default.blocks)
    if not isinstance(blocks, int | float) or isinstance(blocks, bool) or not 0 <= blocks < 1:
        raise ModelError(
            f"{where}: blocks must be the share that is 0, from 0 to below 1, not {blocks!r}"
        )
    outliers = table.get("outliers", default.outliers)
    number = isinstance(outliers, int | float) and not isinstance(outliers, bool)
    if not number or (outliers != 0 and outliers < 1):
        raise ModelError(
            f"{where}: outliers must be how many times the median input's peak they reach, 1 or "
            f"more, or 0 for none, not {outliers!r}"
        )
    pattern = default.sparsity if sparsity is None else _sparsity(where, sparsity)
    return WeightFormat(code, group, pattern, float(blocks), float(outliers))


def _sparsity(where: str, text: Any) -> tuple[int, int]:
    """Return N and M; N is at most half of M, or else tiles could not hold what is kept."""
    if text == "dense":
        return 1, 1
    parts = text.split(":") if isinstance(text, str) else []
    if len(parts) == 2 and all(part.isdecimal() for part in parts):
        keep, run = map(int, parts)
        if run in (4, 8) and 1 <= keep <= run // 2:
            return keep, run
    raise ModelError(
        f'{where}: sparsity must be "dense" or "N:M" with M 4 or 8 and N at most half of it, such '
        f'as "2:4", not {text!r}'
    )
