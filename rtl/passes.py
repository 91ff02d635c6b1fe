"""Records that the walker hands to the other parts of the matrix unit.

A *pass* streams `m` rows through the array against one stationary tile. The walker describes it
twice, once for the tile loader and once for the row streamer; a *drain* says what becomes of the
accumulators when the last pass of a group has been summed.
"""

from amaranth import ShapeLike, signed
from amaranth.lib import data, enum

from celosia.config import MachineConfig

__all__ = [
    "AccumulateMode",
    "Drain",
    "DrainKind",
    "KeyBlock",
    "Rescale",
    "RowPass",
    "Step",
    "TilePass",
    "address_bits",
    "column_bits",
    "index_bits",
    "limit_bits",
    "of_chained",
    "of_packed",
    "of_sparse",
    "part_bits",
]


def index_bits(count: int) -> int:
    """Width of an index into `count` things; 0 when there is only one."""
    return (count - 1).bit_length()


def part_bits(parts: int) -> int:
    """Width of the index of a word's part; with a single part, a bit that means nothing."""
    return max(1, index_bits(parts))


def address_bits(config: MachineConfig) -> int:
    """Width of a scratchpad address."""
    return index_bits(config.scratchpad_words)


def column_bits(config: MachineConfig) -> int:
    """Width of a count of 0 to C columns."""
    return config.columns.bit_length()


def limit_bits(config: MachineConfig) -> int:
    """Width of a lane, with a sign, that hides or shows a whole block to any query."""
    return max(config.lanes, config.attention_rows).bit_length() + 1


def of_chained(config: MachineConfig, **fields: ShapeLike) -> dict[str, ShapeLike]:
    """Return fields that only machines with chaining have."""
    return fields if config.chaining else {}


def of_packed(config: MachineConfig, **fields: ShapeLike) -> dict[str, ShapeLike]:
    """Return fields that only machines with weights of 4 bits have."""
    return fields if config.products > 1 else {}


def of_sparse(config: MachineConfig, **fields: ShapeLike) -> dict[str, ShapeLike]:
    """Return fields that only machines with sparse tiles have."""
    return fields if config.sparsity > 1 else {}


class AccumulateMode(enum.Enum, shape=2):
    """What happens to the sums already in the accumulators."""

    FIRST = 0
    ADD = 1
    RESCALE = 2


class Rescale(enum.Enum, shape=2):
    """What scale 4-bit sums have from now on: as before, 1, or that of the next group."""

    KEEP = 0
    ONE = 1
    NEXT = 2


class DrainKind(enum.Enum, shape=2):
    """Where drained accumulators go; END drains none and only ends an instruction."""

    ROWS = 0
    SCORES = 1
    OUTPUT = 2
    END = 3


class TilePass(data.StructLayout):
    """One stationary tile: where its C columns of R int8 come from.

    Column c is row c of the stationary operand; columns from `columns` on are left as they are.
    `code` is the number format of weights in memory, `scales` says that those of a group come
    first, `sparse` that indices come last.
    """

    def __init__(self, config: MachineConfig) -> None:
        super().__init__({
            **of_packed(config, code=2, scales=1),
            **of_sparse(config, sparse=1),
            "from_memory": 1,
            "base": address_bits(config),
            "stride": address_bits(config),
            "part": part_bits(config.lanes // config.rows),
            "slot": index_bits(config.exponent_slots),
            "columns": column_bits(config),
        })


class RowPass(data.StructLayout):
    """One run of `m` streamed rows, and what their sums do to the accumulators.

    `opens` marks the first pass of a group, which needs its bank drained, or if it `joins` all but
    one drain of it; `closes` the last one, which starts a drain. `releases` ends the use of a block
    of probabilities; `finishes` says that with this pass' tile its instruction has read all its
    operands. Rows of the scratchpad lie in groups of which `group_last` is the index of the last
    row; the rows of the same index share an exponent. `wide` rows keep their 16 bits; `sparse` ones
    have 2R elements, and `part` counts R of them. A `pair` has two channels a column, whose sums
    are scaled. Words of `chained` rows are there when the load unit says so.
    """

    def __init__(self, config: MachineConfig) -> None:
        super().__init__({
            "from_probabilities": 1,
            "wide": 1,
            **of_packed(config, pair=1, rescale=Rescale),
            **of_sparse(config, sparse=1),
            **of_chained(config, chained=1),
            "parity": 1,
            "releases": 1,
            "finishes": 1,
            "base": address_bits(config),
            "stride": address_bits(config),
            "group": address_bits(config),
            "group_last": index_bits(config.accumulator_rows),
            "part": part_bits(config.lanes // config.rows),
            "slot": index_bits(config.exponent_slots),
            "m": index_bits(config.accumulator_rows) + 1,
            "bank": 1,
            "accumulator": index_bits(config.accumulator_rows),
            "mode": AccumulateMode,
            "opens": 1,
            "joins": 1,
            "closes": 1,
        })


class Drain(data.StructLayout):
    """One drain: `m` rows of one accumulator bank through the requantiser.

    SCORES takes the L / C parts of each row one after the other, `m` accumulator rows apart; ROWS
    and OUTPUT have one part. `lane_slot` is the exponent slot of the stationary row of lane 0;
    `row_slot` that of the first streamed row, of use with `row_exponents`. `parameter` is the entry
    of lane 0, or of the first row with `row_parameters`. `shift` is that of the products of SCORES,
    and what OUTPUT takes off its own. Rows lie in groups of which `group_last` is the index of the
    last row. Row i of a group has the i-th exponents, as a streamed row and as a result, and sees
    lanes up to `last_lane + i` if `causal`, lanes from `first_lane + i` on if `windowed`.
    Of a pair of channels each `half` has a drain of its own; with `more` the other one follows.
    """

    def __init__(self, config: MachineConfig) -> None:
        super().__init__({
            **of_packed(config, half=1, more=1),
            "kind": DrainKind,
            "m": index_bits(config.accumulator_rows) + 1,
            "bank": 1,
            "accumulator": index_bits(config.accumulator_rows),
            "group_last": index_bits(config.accumulator_rows),
            "row_slot": index_bits(config.exponent_slots),
            "row_exponents": 1,
            "lane_slot": index_bits(config.exponent_slots),
            "lane_exponents": 1,
            "columns": range(config.lanes + 1),
            "causal": 1,
            "last_lane": signed(limit_bits(config)),
            "windowed": 1,
            "first_lane": signed(limit_bits(config)),
            "parameter": index_bits(config.parameter_entries),
            "row_parameters": 1,
            "multiplier": 15,
            "shift": 6,
            "base": address_bits(config),
            "stride": address_bits(config),
            "group": address_bits(config),
            "part": part_bits(config.lanes // config.columns),
            "slot": index_bits(config.exponent_slots),
            "resets_exponent": 1,
            "residual": 1,
            "residual_base": address_bits(config),
            "residual_stride": address_bits(config),
            "residual_shift": 5,
            "activate": 1,
            "narrow": 1,
            "parity": 1,
            "first": 1,
            "last": 1,
            "ends": 1,
        })


class KeyBlock(data.StructLayout):
    """What the output of a key block needs to know: `tiles` tiles of Vᵀ and its keys' word `base`.

    `first` and `last` are those of the whole attention; `held` ends an instruction whose attention
    goes on.
    """

    def __init__(self, config: MachineConfig) -> None:
        super().__init__({
            "m": index_bits(config.accumulator_rows) + 1,
            "tiles": index_bits(config.accumulator_rows) + 1,
            "base": address_bits(config),
            "stride": address_bits(config),
            "slot": index_bits(config.exponent_slots),
            "group_last": index_bits(config.accumulator_rows),
            "y_base": address_bits(config),
            "y_stride": address_bits(config),
            "y_group": address_bits(config),
            "y_slot": index_bits(config.exponent_slots),
            "y_shift": 4,
            "resets_exponent": 1,
            "first": 1,
            "last": 1,
            "held": 1,
        })


class Step(data.StructLayout):
    """One step of an instruction: a pass, and the drain after it if `drains` is set.

    With `drain_only` there is no pass.
    """

    def __init__(self, config: MachineConfig) -> None:
        super().__init__({
            **of_packed(config, drain_only=1),
            "tile": TilePass(config),
            "rows": RowPass(config),
            "drains": 1,
            "drain": Drain(config),
        })
