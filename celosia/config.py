"""Configuration of a machine: frozen, validated, with named presets and TOML files."""

import tomllib
from dataclasses import asdict, dataclass, fields, replace
from hashlib import sha256
from pathlib import Path

from celosia.errors import ConfigError
from celosia.flash_part import FLASH_PARTS, FlashPart
from celosia.sdram_part import PARTS, SDRAMSettings

__all__ = ["PRESETS", "MachineConfig", "load_config"]


def _log2(value: int) -> int:
    return value.bit_length() - 1


@dataclass(frozen=True, kw_only=True)
class MachineConfig:
    """Every parameter of one accelerator.

    Sizes that the hardware derives are properties, so that RTL, golden machine and compiler
    cannot disagree on them.

    Raises
    ------
    ConfigError
        If a parameter has the wrong kind, is out of range, or contradicts another one.
    """

    #: Name of the configuration, written into everything generated from it.
    name: str
    #: What executes instructions: an "array" with units around it, side by side, or "micro", a
    #: processor with four multipliers and a microprogram, one after the other. Results are equal.
    engine: str = "array"
    #: Rows of the array: the length of the dot product formed each cycle.
    rows: int
    #: Columns of the array: the results formed each cycle.
    columns: int
    #: Kind of processing element: "multiply" (int8 weights), or "packed" (4-bit weights as well,
    #: two products of them with each multiplier).
    pe: str = "multiply"
    #: M of the N:M sparsity that the array can exploit: at most half of each M weights are kept,
    #: and rows of twice as many elements go as fast; 1 if it takes dense weights only.
    sparsity: int = 1
    #: Depth of the scratchpad in words of `lanes` int16.
    scratchpad_words: int
    #: Single-read banks that the scratchpad is interleaved over.
    scratchpad_banks: int = 2
    #: Row exponents the machine can hold, one per row of every live tensor.
    exponent_slots: int = 256
    #: Depth of each of the two accumulator banks, in rows of `columns`.
    accumulator_rows: int
    #: Width of an accumulator in bits.
    accumulator_width: int = 32
    #: Most rows that one attention block streams (depth of the probability buffer).
    attention_rows: int = 32
    #: Entries of the parameter buffer: multiplier, shift and bias of one channel each.
    parameter_entries: int = 256
    #: Whether a MATMUL can be chained to the LOADs of its rows, each word going on as it comes, and
    #: can leave its sums to the next one, which goes on along the reduction.
    chaining: bool = False
    #: Elements that the vector unit handles each cycle.
    vector_lanes: int = 4
    #: Where weights and activations live: "axi4" manager port, "on_chip" block RAM, "sdram" at the
    #: pins, or "flash" at the pins for what is only read, on-chip block RAM for the rest.
    memory: str = "axi4"
    #: Bytes per memory beat.
    memory_width: int = 8
    #: Size of the memory on the chip; 0 where there is none.
    on_chip_bytes: int = 0
    #: With "sdram": the part, by its name in `celosia.sdram_part.PARTS`; the machine's clock in
    #: MHz; and the cycles that the pins add to the CAS latency (see `celosia.rtl.sdram`).
    sdram_part: str = ""
    sdram_mhz: int = 0
    sdram_round_trip: int = 0
    #: With "flash": the part, by its name in `celosia.flash_part.FLASH_PARTS`; and where in it the
    #: machine's memory begins, behind the bitstream, in bytes.
    flash_part: str = ""
    flash_offset: int = 0
    #: Read bursts that may be under way at once.
    outstanding_reads: int = 8
    #: Cycles a memory request may take before the machine stops with a fault.
    watchdog_cycles: int = 100_000

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) is not field.type:
                raise ConfigError(
                    f"{self._label}: {field.name} must be {_KINDS[field.type]}, not {value!r}"
                )
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(
                    f"{self._label}: {name} must be between {low} and {high}, not {value}"
                )
        for name in _POWERS_OF_TWO:
            value = getattr(self, name)
            if value & (value - 1):
                raise ConfigError(f"{self._label}: {name} must be a power of two, not {value}")
        self._check_array()
        self._check_relations()
        self._check_engine()

    def _check_array(self) -> None:
        if self.pe not in ("multiply", "packed"):
            reason = " is not known"
            if self.pe in ("int4", "fp4", "ternary"):
                reason = " cannot hold the int8 keys and values of attention"
            elif self.pe == "switchable":
                reason = " is for arrays alone: four sums a column are more than a machine drains"
            raise ConfigError(
                f'{self._label}: pe {self.pe!r}{reason}; a machine takes "multiply" or "packed"'
            )
        if self.sparsity not in (1, 4, 8) or self.sparsity > 2 * self.rows:
            raise ConfigError(
                f"{self._label}: sparsity must be 1, 4 or 8 and at most twice the rows "
                f"({2 * self.rows}), not {self.sparsity}"
            )

    def _check_engine(self) -> None:
        if self.engine not in ("array", "micro"):
            raise ConfigError(
                f'{self._label}: engine must be "array" or "micro", not {self.engine!r}'
            )
        if self.engine == "array":
            return
        for name, wanted in _MICRO.items():
            if (value := getattr(self, name)) != wanted:
                raise ConfigError(
                    f'{self._label}: {name} must be {wanted!r} with engine "micro", not {value!r}'
                )
        if self.memory not in ("on_chip", "flash"):
            raise ConfigError(
                f'{self._label}: memory must be "on_chip" or "flash" with engine "micro", not '
                f"{self.memory!r}"
            )
        if self.accumulator_width > 31:
            raise ConfigError(
                f'{self._label}: accumulator_width must be at most 31 with engine "micro", not '
                f"{self.accumulator_width}"
            )

    def _check_relations(self) -> None:
        if self.memory not in ("axi4", "on_chip", "sdram", "flash"):
            raise ConfigError(
                f'{self._label}: memory must be "axi4", "on_chip", "sdram" or "flash", '
                f"not {self.memory!r}"
            )
        if (self.memory in ("on_chip", "flash")) != (self.on_chip_bytes > 0):
            raise ConfigError(
                f"{self._label}: on_chip_bytes must be positive with on_chip and flash memory and "
                f"0 with any other, not {self.on_chip_bytes}; set memory or on_chip_bytes"
            )
        for kind, names in (("sdram", _SDRAM), ("flash", _FLASH)):
            for name in names if self.memory != kind else ():
                if value := getattr(self, name):
                    raise ConfigError(
                        f"{self._label}: {name} is for {kind} memory, not {self.memory}; set "
                        f"memory or leave out {name} ({value!r})"
                    )
        if self.memory == "sdram":
            self._check_sdram()
        if self.memory == "flash":
            self._check_flash()
        if self.on_chip_bytes % self.memory_width:
            raise ConfigError(
                f"{self._label}: on_chip_bytes must be a multiple of memory_width "
                f"({self.memory_width}), not {self.on_chip_bytes}"
            )
        if self.memory_width > self.word_bytes:
            raise ConfigError(
                f"{self._label}: memory_width must be at most the bytes of a scratchpad word "
                f"({self.word_bytes}), not {self.memory_width}"
            )
        if self.vector_lanes > self.lanes:
            raise ConfigError(
                f"{self._label}: vector_lanes must be at most the lanes of a scratchpad word "
                f"({self.lanes}), not {self.vector_lanes}"
            )
        if self.accumulator_rows < self.score_rows:
            raise ConfigError(
                f"{self._label}: accumulator_rows must hold the scores of attention_rows "
                f"({self.score_rows}), not {self.accumulator_rows}"
            )

    def _check_sdram(self) -> None:
        if self.sdram_part not in PARTS:
            raise ConfigError(
                f"{self._label}: sdram_part must be one of {', '.join(PARTS)}, "
                f"not {self.sdram_part!r}"
            )
        if self.memory_width > 16:
            raise ConfigError(
                f"{self._label}: memory_width must be at most 16 with sdram, the longest burst of "
                f"a part, not {self.memory_width}"
            )
        try:
            settings = self.sdram_settings
        except ConfigError as error:
            raise ConfigError(f"{self._label}: sdram_mhz {self.sdram_mhz}: {error}") from error
        # A request may find the part powering up, or all refreshes due that can be owed.
        if self.watchdog_cycles < 2 * settings.power_up:
            raise ConfigError(
                f"{self._label}: watchdog_cycles must be at least {2 * settings.power_up}, twice "
                f"what the SDRAM takes to power up, not {self.watchdog_cycles}"
            )

    def _check_flash(self) -> None:
        if self.flash_part not in FLASH_PARTS:
            raise ConfigError(
                f"{self._label}: flash_part must be one of {', '.join(FLASH_PARTS)}, "
                f"not {self.flash_part!r}"
            )
        part = self.flash
        # Bursts end at these multiples, so that each lies in one memory; sectors are erased whole.
        for name, unit, low, high in (
            ("on_chip_bytes", 4096, 4096, 1 << 24),
            ("flash_offset", 1 << 16, 0, part.size - (1 << 16)),
        ):
            value = getattr(self, name)
            if value % unit or not low <= value <= high:
                raise ConfigError(
                    f"{self._label}: {name} must be a multiple of {unit} between {low} and {high} "
                    f"with flash memory, not {value}"
                )
        if self.watchdog_cycles < 2 * part.start_cycles:
            raise ConfigError(
                f"{self._label}: watchdog_cycles must be at least {2 * part.start_cycles}, twice "
                f"what the flash takes to start, not {self.watchdog_cycles}"
            )

    @property
    def flash(self) -> FlashPart:
        """The flash; only with "flash" memory."""
        return FLASH_PARTS[self.flash_part]

    @property
    def flash_base(self) -> int:
        """First address of the flash, behind the memory on the chip; 0 if there is none.

        All that a program only reads lies from here on.
        """
        return self.on_chip_bytes if self.memory == "flash" else 0

    @property
    def sdram_settings(self) -> SDRAMSettings:
        """The SDRAM at the machine's clock; only with "sdram" memory."""
        return PARTS[self.sdram_part].at(self.sdram_mhz)

    @property
    def memory_bytes(self) -> int:
        """Size of the memory that belongs to the machine; 0 with "axi4"."""
        if self.memory == "flash":
            return self.on_chip_bytes + self.flash.size - self.flash_offset
        return self.sdram_settings.bytes if self.memory == "sdram" else self.on_chip_bytes

    @property
    def _label(self) -> str:
        return f"configuration {self.name!r}" if isinstance(self.name, str) else "configuration"

    @property
    def lanes(self) -> int:
        """Elements of one scratchpad word, L = max(rows, columns)."""
        return max(self.rows, self.columns)

    @property
    def psum_width(self) -> int:
        """Bits of a signed sum of `rows` products of int8, or of probabilities (0 to 255) and int8.

        The largest is `255 · 128 · rows`, below `2^15 · rows`.
        """
        return 16 + _log2(self.rows)

    @property
    def products(self) -> int:
        """Products that one element forms with a weight of 4 bits: channels of one column."""
        return 2 if self.pe == "packed" else 1

    @property
    def row_lanes(self) -> int:
        """Elements of a streamed row that reach the array at once: 2R if it can leave out half."""
        return 2 * self.rows if self.sparsity > 1 else self.rows

    @property
    def row_words(self) -> int:
        """Scratchpad words that hold `row_lanes` elements, read at once; 1 or 2."""
        return max(1, self.row_lanes // self.lanes)

    @property
    def index_planes(self) -> int:
        """Bits of the index by which an element picks one of M activations."""
        return _log2(self.sparsity)

    @property
    def scale_bytes(self) -> int:
        """Bytes of the scales of one group in memory, one for each of 2C channels, padded."""
        return max(2 * self.columns, self.rows, self.memory_width)

    @property
    def index_bytes(self) -> int:
        """Bytes of the indices of one sparse tile in memory, bit plane by bit plane, padded."""
        planes = self.index_planes * -(-self.columns // 8) * self.rows
        return -(-planes // self.memory_width) * self.memory_width

    @property
    def sum_width(self) -> int:
        """Bits of a sum of the array as the accumulators take it.

        Sums of 4-bit weights, the largest of them 12, are multiplied by their group's scale.
        """
        if self.pe == "multiply":
            return self.psum_width
        return max(self.psum_width, 13 + _log2(self.rows) + 8)

    @property
    def score_rows(self) -> int:
        """Accumulator rows that the scores of a block of keys take, at most."""
        return self.attention_rows * (self.lanes // self.columns)

    @property
    def score_halves(self) -> bool:
        """Whether a bank of accumulators holds two blocks of scores: one drains behind the next."""
        return 2 * self.score_rows <= self.accumulator_rows

    @property
    def guard_bits(self) -> int:
        """Fraction bits of accumulators that add up the output of attention, G.

        The probabilities of a row sum up to less than `1.5 · 2^15`, and values have 7 bits.
        """
        return self.accumulator_width - 24

    @property
    def word_bytes(self) -> int:
        """Bytes of one scratchpad word in memory as int16."""
        return 2 * self.lanes

    @property
    def tile_bytes(self) -> int:
        """Bytes of one stationary tile of int8 weights."""
        return self.rows * self.columns

    @property
    def multipliers(self) -> int:
        """Multipliers of the array."""
        return self.rows * self.columns

    @property
    def products_per_cycle(self) -> int:
        """Products with int8 weights that the machine forms in a cycle, at most."""
        return self.columns if self.engine == "micro" else self.multipliers

    def replace(self, **changes: object) -> "MachineConfig":
        """Return the configuration with some parameters changed, validated again.

        Raises
        ------
        ConfigError
            If a parameter is unknown or wrong.
        """
        _check_known(self._label, changes)
        return replace(self, **changes)  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, object]:
        """Return the parameters as plain values, for JSON."""
        return asdict(self)

    def digest(self) -> bytes:
        """Return 4 bytes that identify the machine a program was made for.

        All parameters but the name and the engine, which changes no result, take part, those of
        chaining, SDRAM and flash where there is one.
        """
        without = {"name", "engine"}
        without.update(() if self.chaining else ("chaining",))
        without.update(() if self.memory == "sdram" else _SDRAM)
        without.update(() if self.memory == "flash" else _FLASH)
        text = ";".join(f"{k}={v}" for k, v in sorted(self.to_dict().items()) if k not in without)
        return sha256(text.encode()).digest()[:4]


def _check_known(label: str, values: dict[str, object]) -> None:
    known = {field.name for field in fields(MachineConfig)}
    unknown = sorted(values.keys() - known)
    if unknown:
        raise ConfigError(
            f"{label}: unknown parameter {unknown[0]!r}; known: {', '.join(sorted(known))}"
        )


#: Parameters of SDRAM alone.
_SDRAM = ("sdram_part", "sdram_mhz", "sdram_round_trip")
#: Parameters of flash alone.
_FLASH = ("flash_part", "flash_offset")

#: What a microprogrammed machine stands for.
_MICRO = {
    "rows": 4,
    "columns": 4,
    "pe": "multiply",
    "sparsity": 1,
    "memory_width": 4,
    "chaining": False,
}

_KINDS = {int: "an integer", str: "a string", bool: "true or false"}

_RANGES = [
    ("rows", 2, 64),
    ("columns", 4, 64),  # 4: the accumulators' read-modify-write takes four cycles
    ("scratchpad_words", 64, 65536),
    ("scratchpad_banks", 1, 16),
    ("exponent_slots", 16, 65536),
    ("accumulator_rows", 8, 16384),
    ("accumulator_width", 24, 32),  # 24: the output of attention, without guard bits
    ("attention_rows", 4, 4096),
    ("parameter_entries", 16, 65536),
    ("vector_lanes", 1, 64),
    ("memory_width", 4, 64),
    ("on_chip_bytes", 0, 1 << 24),
    ("sdram_mhz", 0, 200),
    ("sdram_round_trip", -1, 3),
    ("flash_offset", 0, 1 << 24),
    ("outstanding_reads", 1, 32),
    ("watchdog_cycles", 100, (1 << 31) - 1),
]

_POWERS_OF_TWO = [
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
]

_TINY = MachineConfig(
    name="tiny",
    rows=4,
    columns=4,
    scratchpad_words=2048,
    accumulator_rows=64,
    attention_rows=32,
    memory="on_chip",
    memory_width=4,
    on_chip_bytes=1 << 17,
)

_ULX3S = MachineConfig(
    name="ulx3s",
    rows=16,
    columns=8,
    scratchpad_words=2048,
    accumulator_rows=256,
    attention_rows=64,
    parameter_entries=512,
    memory="on_chip",
    memory_width=4,
    on_chip_bytes=1 << 17,
)

_BENCH = MachineConfig(
    name="bench",
    rows=16,
    columns=16,
    scratchpad_words=32768,
    scratchpad_banks=4,
    exponent_slots=8192,
    accumulator_rows=512,
    attention_rows=128,
    parameter_entries=4096,
    vector_lanes=16,
    memory_width=16,
    outstanding_reads=32,
    chaining=True,
)

PRESETS = {
    config.name: config
    for config in [
        # For chips that no array fits with what is around it: an iCE40UP5K holds it, with its
        # weights in the flash for the bitstream.
        _TINY.replace(
            name="micro",
            engine="micro",
            scratchpad_banks=1,
            accumulator_width=30,
            vector_lanes=1,
            memory="flash",
            on_chip_bytes=1 << 16,
            flash_part="W25Q128",
            flash_offset=1 << 20,
            outstanding_reads=1,
        ),
        # The smallest that is of use: with it an ECP5 of 24,288 LUTs holds a transformer.
        _TINY.replace(
            name="mini",
            rows=2,
            scratchpad_words=512,
            scratchpad_banks=1,
            exponent_slots=128,
            accumulator_width=24,
            attention_rows=16,
            parameter_entries=128,
            vector_lanes=1,
            on_chip_bytes=1 << 16,
            outstanding_reads=1,
        ),
        _TINY,
        MachineConfig(
            name="small",
            rows=8,
            columns=8,
            scratchpad_words=2048,
            accumulator_rows=128,
            attention_rows=64,
            parameter_entries=512,
            memory_width=8,
        ),
        _ULX3S,
        # Its memory is that of the ULX3S; the pins are those of `celosia.platforms.sdram_pads`.
        _ULX3S.replace(
            name="ulx3s_sdram",
            memory="sdram",
            on_chip_bytes=0,
            sdram_part="16Mx16",
            sdram_mhz=75,
            sdram_round_trip=2,
        ),
        # Weights and program lie in the flash that the board has for its bitstream.
        _TINY.replace(
            name="tiny_flash",
            memory="flash",
            on_chip_bytes=1 << 16,
            flash_part="IS25LP128",
            flash_offset=1 << 22,
        ),
        _BENCH,
        # Weights of 4 and 8 bits, dense or 2:4, layer by layer.
        _BENCH.replace(name="mixed", pe="packed", sparsity=4),
    ]
}


def load_config(name: str | Path) -> MachineConfig:
    """Return the preset called `name`, or the configuration in the TOML file at that path.

    A TOML file holds the parameters as top-level keys; `base = "PRESET"` starts from a preset.

    Raises
    ------
    ConfigError
        If there is no such preset or file, or if a parameter is unknown or wrong.
    """
    if str(name) in PRESETS:
        return PRESETS[str(name)]
    path = Path(name)
    if path.suffix != ".toml" and not path.exists():
        raise ConfigError(
            f"configuration {str(name)!r} is neither a preset ({', '.join(PRESETS)}) nor a TOML "
            "file; name one of these"
        )
    try:
        values = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    return _from_values(path, values)


def _from_values(path: Path, values: dict[str, object]) -> MachineConfig:
    base = values.pop("base", None)
    if base is not None and (not isinstance(base, str) or base not in PRESETS):
        raise ConfigError(f"{path}: base must be one of {', '.join(PRESETS)}, not {base!r}")
    _check_known(str(path), values)
    values.setdefault("name", path.stem)
    if base is not None:
        return PRESETS[base].replace(**values)
    try:
        return MachineConfig(**values)  # type: ignore[arg-type]
    except TypeError as error:
        missing = str(error).rpartition(": ")[2]
        raise ConfigError(f"{path}: missing parameters {missing}; or set base") from error
