from dataclasses import FrozenInstanceError, fields

import pytest

from celosia.config import PRESETS, MachineConfig, load_config
from celosia.errors import ConfigError

TINY = PRESETS["tiny"]


@pytest.mark.parametrize("name", PRESETS)
def test_presets(name):
    config = load_config(name)
    assert config.name == name
    assert config.replace() == config
    assert MachineConfig(**config.to_dict()) == config


def test_derived_sizes():
    config = PRESETS["ulx3s"]
    assert (config.rows, config.columns, config.lanes) == (16, 8, 16)
    assert (config.psum_width, config.word_bytes, config.tile_bytes) == (20, 32, 128)
    assert config.multipliers == 128


def test_partial_sums_of_the_largest_array_fit_the_narrowest_accumulator():
    largest = TINY.replace(rows=64, accumulator_width=24, accumulator_rows=1024)
    assert largest.psum_width == (64 * 128 * 128).bit_length() + 1 == 22


def test_frozen():
    with pytest.raises(FrozenInstanceError):
        TINY.rows = 8


@pytest.mark.parametrize("field", [f.name for f in fields(MachineConfig)])
def test_kinds(field):
    if field in ("name", "engine", "memory", "pe", "sdram_part", "flash_part"):
        with pytest.raises(ConfigError, match=f"{field} must be a string, not 3$"):
            TINY.replace(**{field: 3})
    elif field == "chaining":
        with pytest.raises(ConfigError, match=r"chaining must be true or false, not 1$"):
            TINY.replace(chaining=1)
    else:
        for value in (True, "8", 8.0, None):
            with pytest.raises(ConfigError, match=f"{field} must be an integer, not {value!r}$"):
                TINY.replace(**{field: value})


RANGES = {
    "rows": (2, 64),
    "columns": (4, 64),
    "scratchpad_words": (64, 65536),
    "scratchpad_banks": (1, 16),
    "exponent_slots": (16, 65536),
    "accumulator_rows": (8, 16384),
    "accumulator_width": (24, 32),
    "attention_rows": (4, 4096),
    "parameter_entries": (16, 65536),
    "vector_lanes": (1, 64),
    "memory_width": (4, 64),
    "on_chip_bytes": (0, 1 << 24),
    "sdram_mhz": (0, 200),
    "flash_offset": (0, 1 << 24),
    "sdram_round_trip": (-1, 3),
    "outstanding_reads": (1, 32),
    "watchdog_cycles": (100, (1 << 31) - 1),
}


@pytest.mark.parametrize("field", RANGES)
def test_ranges(field):
    low, high = RANGES[field]
    for value in (low - 1, high + 1, -high - 1):
        message = f"^configuration 'tiny': {field} must be between {low} and {high}, not {value}$"
        with pytest.raises(ConfigError, match=message):
            TINY.replace(**{field: value})
    # The limits themselves are in range, on a machine where nothing else speaks against them.
    wide = TINY.replace(
        rows=64, accumulator_rows=16384, attention_rows=4, memory="axi4", on_chip_bytes=0
    )
    for value in (low, high):
        try:
            wide.replace(**{field: value})
        except ConfigError as error:
            assert "between" not in str(error)


@pytest.mark.parametrize(
    "field",
    [
        "rows",
        "columns",
        "scratchpad_words",
        "scratchpad_banks",
        "exponent_slots",
        "accumulator_rows",
        "attention_rows",
        "parameter_entries",
        "vector_lanes",
        "memory_width",
    ],
)
def test_powers_of_two(field):
    value = RANGES[field][0] * 4 + 1
    if not RANGES[field][0] <= value <= RANGES[field][1]:
        value = 3
    with pytest.raises(ConfigError, match=f"{field} must be a power of two, not {value}$"):
        TINY.replace(**{field: value})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"memory": "ddr"},
            """memory must be "axi4", "on_chip", "sdram" or "flash", not 'ddr'$""",
        ),
        ({"memory": "axi4"}, r"on_chip_bytes must be positive with on_chip .* not 131072; set"),
        ({"on_chip_bytes": 0}, r"on_chip_bytes must be positive with on_chip and flash .* not 0"),
        (
            {"on_chip_bytes": 130},
            r"on_chip_bytes must be a multiple of memory_width \(4\), not 130",
        ),
        ({"memory_width": 16}, r"memory_width must be at most the bytes .* \(8\), not 16"),
        ({"vector_lanes": 8}, r"vector_lanes must be at most the lanes .* \(4\), not 8"),
        (
            {"rows": 16},
            r"accumulator_rows must hold the scores of attention_rows \(128\), not 64$",
        ),
        ({"lanes": 8}, r"unknown parameter 'lanes'; known: .*accumulator_rows, accumulator_width"),
    ],
)
def test_relations(changes, message):
    with pytest.raises(ConfigError, match=f"^configuration 'tiny': {message}"):
        TINY.replace(**changes)


SDRAM = PRESETS["ulx3s_sdram"]


def test_sdram_sizes():
    assert SDRAM.memory_bytes == 32 << 20
    assert SDRAM.replace(sdram_part="32Mx16").memory_bytes == 64 << 20
    assert SDRAM.sdram_settings.cas_latency == 2
    assert SDRAM.replace(sdram_mhz=133).sdram_settings.cas_latency == 3
    assert TINY.memory_bytes == TINY.on_chip_bytes and PRESETS["small"].memory_bytes == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sdram_part": "8Mx8"}, "sdram_part must be one of 16Mx16, 32Mx16, not '8Mx8'$"),
        ({"sdram_part": ""}, "sdram_part must be one of 16Mx16, 32Mx16, not ''$"),
        (
            {"sdram_mhz": 166},
            "sdram_mhz 166: 16Mx16: clock must be at most 143 MHz with a CAS .* of 3, not 166$",
        ),
        ({"sdram_mhz": 0}, "sdram_mhz 0: 16Mx16: clock must be at most 100 MHz .* not 0$"),
        ({"sdram_mhz": 1}, "sdram_mhz 1: 16Mx16: 1 MHz is too slow to refresh it; use more$"),
        ({"memory_width": 32}, "memory_width must be at most 16 with sdram, .*, not 32$"),
        (
            {"watchdog_cycles": 29_999},
            "watchdog_cycles must be at least 30000, twice what the SDRAM takes .*, not 29999$",
        ),
        ({"on_chip_bytes": 4096}, "on_chip_bytes must be positive .* 0 with any other, not 4096;"),
        ({"memory": "axi4"}, "sdram_part is for sdram memory, not axi4; set memory or leave out "),
        (
            {"memory": "axi4", "sdram_part": "", "sdram_mhz": 0},
            r"sdram_round_trip is for sdram memory, not axi4; .* sdram_round_trip \(2\)$",
        ),
    ],
)
def test_sdram_relations(changes, message):
    with pytest.raises(ConfigError, match=f"^configuration 'ulx3s_sdram': {message}"):
        SDRAM.replace(**changes)


def test_a_nameless_configuration():
    with pytest.raises(ConfigError, match=r"^configuration: name must be a string, not None$"):
        TINY.replace(name=None)


def test_digest():
    assert len(TINY.digest()) == 4
    assert TINY.digest() == TINY.replace(name="other").digest()
    changes = [
        {"scratchpad_banks": 4},
        {"scratchpad_words": 1024},
        {"watchdog_cycles": 1000},
        {"accumulator_width": 24},
        {"memory": "axi4", "on_chip_bytes": 0},
    ]
    digests = {TINY.replace(**change).digest() for change in changes}
    digests |= {config.digest() for config in PRESETS.values()}
    others = [{"sdram_mhz": 80}, {"sdram_round_trip": 1}, {"sdram_part": "32Mx16"}]
    digests |= {SDRAM.replace(**change).digest() for change in others}
    assert len(digests) == len(changes) + len(PRESETS) + len(others)
    # Programs and bitstreams of machines without SDRAM are those of before there was any.
    assert TINY.digest().hex() == "6ac9fc83"


@pytest.fixture
def toml(tmp_path):
    def write(text, name="mine.toml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_toml_from_a_preset(toml):
    config = load_config(toml('base = "small"\nscratchpad_words = 512\n'))
    assert config == PRESETS["small"].replace(name="mine", scratchpad_words=512)
    assert load_config(str(toml('base = "small"\nname = "x"'))).name == "x"


def test_toml_alone(toml):
    text = "rows = 8\ncolumns = 8\nscratchpad_words = 512\naccumulator_rows = 64\n"
    config = load_config(toml(text))
    assert config == MachineConfig(
        name="mine", rows=8, columns=8, scratchpad_words=512, accumulator_rows=64
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rows = ", "mine.toml: not valid TOML: "),
        ('base = "huge"', "mine.toml: base must be one of micro, .*, mixed, not 'huge'$"),
        ("base = 3", "mine.toml: base must be one of .*, not 3$"),
        ('base = ["tiny"]', r"mine.toml: base must be one of .*, not \['tiny'\]$"),
        ('base = "tiny"\nrow = 8', "mine.toml: unknown parameter 'row'; known: .*, rows, "),
        ("[machine]\nrows = 8", "mine.toml: unknown parameter 'machine'"),
        (
            "rows = 8\ncolumns = 8",
            "missing parameters 'scratchpad_words' and 'accumulator_rows'; or set base",
        ),
        ('base = "tiny"\nrows = 12', "configuration 'mine': rows must be a power of two, not 12"),
        ('base = "tiny"\nrows = true', "configuration 'mine': rows must be an integer, not True"),
    ],
)
def test_wrong_toml(toml, text, message):
    with pytest.raises(ConfigError, match=message):
        load_config(toml(text))


def test_not_text(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"mine\.toml: not valid TOML"):
        load_config(path)


def test_no_such_configuration(tmp_path):
    message = "^configuration 'tiney' is neither a preset .micro, .*, mixed. nor a TOML"
    with pytest.raises(ConfigError, match=message):
        load_config("tiney")
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_config(tmp_path)
