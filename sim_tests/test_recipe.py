"""Recipes: who wins, and what messages say."""

import pytest

from celosia.compiler.recipe import Abilities, describe, load_recipe, parse_recipe
from celosia.compiler.weight_format import WeightFormat
from celosia.errors import ModelError

ABLE = Abilities(frozenset({"int8", "int4", "fp4", "ternary"}), 8, 16)
PLAIN = Abilities(frozenset({"int8"}), 1, 8)
LAYERS = {"block0.q": 64, "block0.down": 256, "block1.q": 64, "block1.down": 256, "head": 64}
W8 = WeightFormat()

TEXT = """
[defaults]
code = "int4"
group = 64

[[layers]]
match = "block*"
code = "fp4"
group = 32
sparsity = "2:4"

[[layers]]
match = "*.down"

[[layers]]
match = "block1.q"
code = "int8"
"""


def formats(text, tmp_path, abilities=ABLE):
    path = tmp_path / "mix.toml"
    path.write_text(text)
    return load_recipe(path).assign(LAYERS, abilities)


def test_last_match_wins_and_inherits_from_the_defaults_alone(tmp_path):
    assert formats(TEXT, tmp_path) == {
        "block0.q": WeightFormat("fp4", 32, (2, 4)),
        "block0.down": WeightFormat("int4", 64),
        "block1.q": W8,
        "block1.down": WeightFormat("int4", 64),
        "head": WeightFormat("int4", 64),
    }


def test_empty_recipe(tmp_path):
    assert set(formats("", tmp_path, PLAIN).values()) == {W8}


def test_auto_chooses_what_nothing_matches(tmp_path):
    text = """
[auto]
mean_bits = 5
formats = [{ code = "int8" }, { code = "int4", group = 32 }]
[[layers]]
match = "head"
code = "int8"
"""
    found = formats(text, tmp_path)
    assert found.pop("head") == W8 and set(found.values()) == {None}
    auto = parse_recipe({"auto": {"accuracy": 0.98, "formats": [{"sparsity": "4:8"}]}}, "x").auto
    assert auto.formats == (WeightFormat("int8", 0, (4, 8)),)
    assert (auto.mean_bits, auto.accuracy) == (None, 0.98)


def test_describe():
    assert describe(W8) == "int8"
    assert describe(WeightFormat("int4", 32, (2, 4))) == "int4 g32 2:4"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"layer": []}, "x: unknown key 'layer'; the keys are defaults, layers, auto"),
        ({"defaults": {"bits": 4}}, "x: defaults: unknown key 'bits'; the keys are code, group"),
        ({"defaults": 4}, r"x: defaults must be a table \[defaults\], not 4"),
        ({"layers": {}}, r"x: layers must be entries \[\[layers\]\]"),
        ({"layers": [{"code": "int8"}]}, r"x: layers\[1\]: match must be a glob .* not None"),
        ({"layers": [{"match": "*", "widht": 1}]}, r"x: layers\[1\]: unknown key 'widht'"),
        ({"defaults": {"code": "int5"}}, "x: defaults: code must be one of int8, .* not 'int5'"),
        ({"defaults": {"group": True}}, "x: defaults: group must be a number .* not True"),
        ({"defaults": {"group": -1}}, "group must be a number of inputs"),
        ({"defaults": {"sparsity": "3:4"}}, "N at most half of it, such as \"2:4\", not '3:4'"),
        ({"defaults": {"sparsity": "2:6"}}, "M 4 or 8 .* not '2:6'"),
        ({"defaults": {"sparsity": 2}}, "M 4 or 8 .* not 2"),
        ({"auto": {"formats": [{}]}}, "x: auto: must have either mean_bits or accuracy"),
        ({"auto": {"mean_bits": 5, "accuracy": 0.9, "formats": [{}]}}, "give one of them"),
        ({"auto": {"mean_bits": 0, "formats": [{}]}}, "mean_bits must be above 0, up to 16, not 0"),
        ({"auto": {"accuracy": 98, "formats": [{}]}}, "accuracy must be above 0, up to 1, not 98"),
        ({"auto": {"mean_bits": 5}}, "x: auto: formats must list what layers may have"),
        ({"auto": {"mean_bits": 5, "formats": [{"x": 1}]}}, r"formats\[1\]: unknown key 'x'"),
    ],
)
def test_what_no_recipe_can_say(table, message):
    with pytest.raises(ModelError, match=message):
        parse_recipe(table, "x")


@pytest.mark.parametrize(
    ("rule", "abilities", "message"),
    [
        ({"code": "int4"}, PLAIN, "head: code 'int4' needs an array whose pe is \"packed\""),
        ({"sparsity": "2:4"}, PLAIN, "head: sparsity 2:4 is beyond .* takes dense weights"),
        (
            {"sparsity": "4:8"},
            Abilities(ABLE.codes, 4, 16),
            "head: sparsity 4:8 is beyond this machine, which takes at most N:4; raise sparsity",
        ),
        ({"code": "int4", "group": 24}, ABLE, "the 16 inputs of a tile, .* not 24; use 16$"),
        ({"code": "int4", "group": 48}, ABLE, "times a power of two, not 48; use 32$"),
        ({"code": "fp4", "group": 16, "sparsity": "2:4"}, ABLE, "32 inputs of a sparse tile"),
        ({"group": 32}, ABLE, "head: group must be 0 with int8 weights, not 32"),
    ],
)
def test_what_a_machine_cannot_do(rule, abilities, message):
    recipe = parse_recipe({"layers": [{"match": "head", **rule}]}, "x")
    with pytest.raises(ModelError, match=message):
        recipe.assign(LAYERS, abilities)
    recipe = parse_recipe({"auto": {"mean_bits": 5, "formats": [rule]}}, "x")
    with pytest.raises(ModelError, match=message.replace("head: ", "")):
        recipe.assign(LAYERS, abilities)


def test_a_glob_must_match():
    recipe = parse_recipe({"layers": [{"match": "block*"}, {"match": "block7.*"}]}, "x")
    expected = (
        r"x: layers\[2\]: match 'block7\.\*' matches no layer; the model has block0\.q, .*head"
    )
    with pytest.raises(ModelError, match=expected):
        recipe.assign(LAYERS, ABLE)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ModelError, match=r"none\.toml: cannot be read"):
        load_recipe(tmp_path / "none.toml")
    path = tmp_path / "bad.toml"
    path.write_text("[defaults")
    with pytest.raises(ModelError, match=r"bad\.toml: is not TOML"):
        load_recipe(path)
