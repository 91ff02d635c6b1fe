"""Groups of queries and wide rows in the golden machine."""

import numpy as np
import pytest
from test_golden_machine import (
    CONFIGS,
    DATA,
    HALT,
    NONE,
    SQUARE,
    F,
    agree,
    attention,
    machines,
    product,
    put,
)

from celosia.compiler.dependencies_effects import effects
from celosia.errors import ProgramError
from celosia.golden.machine import GoldenMachine
from celosia.golden.matmul import accumulate_products
from celosia.isa import Instruction

#: Where the groups of Q and of y lie: each after the last, or inside the rows, as heads do.
PLACES = {
    "after": {"x_stride": 2, "x_group": 11, "y_stride": 3, "y_group": 19},
    "inside": {"x_stride": 8, "x_group": 2, "y_stride": 16, "y_group": 4},
}
#: Machines whose accumulators are wide enough for `wide`.
WIDE = {name: config for name, config in CONFIGS.items() if config.accumulator_width == 32}


@pytest.fixture(params=CONFIGS, ids=str)
def config(request):
    return CONFIGS[request.param]


def grouped(config, groups, period, t=13, flags=NONE, **changes):
    return attention(config, groups * period, t, 2, 2, flags, period=period, **changes)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("groups", "period"), [(1, 3), (2, 1), (2, 3), (3, 2), (4, 1)])
def test_groups(config, groups, period, place):
    rng = np.random.default_rng([groups, period])
    ins = grouped(config, groups, period, **PLACES[place])
    result = agree(*machines(config, rng), ins)
    parts = config.lanes // config.columns + config.lanes // config.rows
    assert result.mac_rows == groups * period * -(-13 // config.lanes) * 2 * parts


@pytest.mark.parametrize("flags", [F.CAUSAL, F.WINDOW, F.CAUSAL | F.WINDOW | F.KEEP_EXPONENT])
@pytest.mark.parametrize("first", [-2, 0, 5])
def test_masks_of_groups(config, flags, first):
    rng = np.random.default_rng(first + 10)
    ins = grouped(
        config, 3, 2, 17, flags, diagonal=first + 6, window=first, y_shift=3, **PLACES["after"]
    )
    agree(*machines(config, rng), ins)


@pytest.mark.parametrize("y_shift", [0, 1, 8, 15])
def test_more_fraction_bits(config, y_shift):
    rng = np.random.default_rng(y_shift)
    agree(*machines(config, rng), attention(config, 3, 9, 1, 2, y_shift=y_shift))


def test_chains_of_groups(config):
    runs = [
        grouped(config, 2, 3, t, flags, w_base=50 + 4 * t, diagonal=4, **PLACES["inside"])
        for t, flags in ((5, F.HOLD | F.CAUSAL), (9, F.CONTINUE | F.HOLD), (3, F.CONTINUE))
    ]
    agree(*machines(config, np.random.default_rng(3)), *runs)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("flags", [NONE, F.CAUSAL | F.KEEP_EXPONENT])
def test_groups_are_instructions_of_their_own(config, flags, place):
    groups, period = 3, 2
    words = PLACES[place]
    together = [grouped(config, groups, period, 13, flags, diagonal=3, **words)]
    apart = []
    for g in range(groups):
        # The first one finds the exponents anew, the others only raise them.
        keep = F.KEEP_EXPONENT if g else NONE
        changes = {
            "x_base": g * words["x_group"],
            "x_stride": words["x_stride"],
            "y_base": 430 + g * words["y_group"],
            "y_stride": words["y_stride"],
        }
        apart.append(attention(config, period, 13, 2, 2, flags | keep, diagonal=3, **changes))
    found = []
    for program in (together, apart):
        golden, _, memory = machines(config, np.random.default_rng(1))
        put(golden, None, memory, program)
        rows = golden.run().mac_rows
        found.append((golden.state.scratchpad.words, golden.state.scratchpad.exponents, rows))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (found[0][0][430] != 0).any()


def test_groups_over_their_queries(config):
    place = PLACES["inside"]
    same = {"y_base": 0, "y_stride": 8, "y_group": 2, "y_slot": 10}
    agree(*machines(config, np.random.default_rng(9)), grouped(config, 3, 2, **(place | same)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"period": 4}, "period must divide m, 6, not 4"),
        ({"period": 7}, "period must divide m, 6, not 7"),
        ({"x_base": 496}, "scratchpad word 512 does not exist; .* 512"),
        ({"y_base": 486}, "scratchpad word 512 does not exist"),
        ({"x_slot": 254}, "exponent slot 256 does not exist"),
        ({"y_slot": 254}, "exponent slot 256 does not exist"),
        ({"y_base": 61}, "must not overlap w"),
        ({"y_group": 150}, "scratchpad word"),
        ({"y_base": 140, "y_group": 60}, "must not overlap v"),
        ({"y_slot": 38}, "exponents of .* overlap those of w"),
        ({"y_slot": 98}, "exponents of .* overlap those of v"),
        ({"y_group": 0}, "results of two queries must not overlap"),
        ({"y_group": 1}, "results of two queries must not overlap"),
        ({"y_shift": 16}, "y_shift must be 0 to 15, not 16"),
    ],
    ids=str,
)
def test_undefined_groups_are_refused(changes, message):
    place = PLACES["after"] | {"x_base": 0, "y_base": 430}
    ins = attention(SQUARE, 6, 13, 2, 2, **({"period": 3} | place | changes))
    golden, _, memory = machines(SQUARE, np.random.default_rng(1))
    put(golden, None, memory, [ins])
    with pytest.raises(ProgramError, match=f"^instruction at 0x0, ATTEND: .*{message}"):
        golden.run()


@pytest.mark.parametrize(
    "changes", [{"x_base": 495}, {"y_base": 485}, {"x_slot": 253}, {"y_slot": 253}], ids=str
)
def test_groups_up_to_the_end(changes):
    ins = grouped(SQUARE, 2, 3, **(PLACES["after"] | changes))
    # The last row of Q ends at x_base + 16, that of y at y_base + 26.
    agree(*machines(SQUARE, np.random.default_rng(1)), ins)


def test_effects_of_groups():
    ins = grouped(SQUARE, 2, 3, **PLACES["after"])
    found = effects(ins, SQUARE)
    assert found.reads["scratchpad"][0].tolist() == [0, 1, 2, 3, 4, 5, 11, 12, 13, 14, 15, 16]
    assert found.writes["scratchpad"][0].tolist() == [
        *(430, 431, 433, 434, 436, 437),
        *(449, 450, 452, 453, 455, 456),
    ]
    assert found.reads["slots"][0].tolist() == [10, 11, 12]
    assert found.writes["slots"][0].tolist() == [200, 201, 202]
    held = grouped(SQUARE, 2, 3, flags=F.HOLD)
    assert not effects(held, SQUARE).writes


@pytest.mark.parametrize("m", [1, 3])
@pytest.mark.parametrize("n", [1, 13])
@pytest.mark.parametrize(
    "flags", [NONE, F.WEIGHTS_IN_MEMORY, F.ROW_PARAMETERS | F.RESIDUAL | F.NARROW], ids=str
)
@pytest.mark.parametrize("name", WIDE)
def test_wide(name, m, n, flags):
    config = WIDE[name]
    rng = np.random.default_rng(m * n)
    result = agree(*machines(config, rng), product(config, m, n, 3, flags | F.WIDE))
    assert result.mac_rows == 2 * m * -(-n // config.columns) * 3


@pytest.mark.parametrize("period", [0, 2])
@pytest.mark.parametrize("name", WIDE)
def test_wide_queries(name, period):
    config = WIDE[name]
    flags = F.WIDE | F.CAUSAL
    ins = attention(config, 4, 13, 2, 2, flags, period=period, diagonal=7, **PLACES["after"])
    # Products with 8 more bits than those of int8.
    ins = Instruction(ins.opcode, ins.operands | {"shift": 32}, ins.flags)
    result = agree(*machines(config, np.random.default_rng(period)), ins)
    lanes, blocks = config.lanes, -(-13 // config.lanes)
    scores, outputs = 2 * lanes // config.columns, 2 * lanes // config.rows
    assert result.mac_rows == 4 * blocks * (2 * scores + outputs)


def test_wide_products_are_exact():
    rng = np.random.default_rng(0)
    x = rng.integers(-(1 << 15), 1 << 15, (3, 64))
    w = rng.integers(-128, 128, (5, 64))
    x[0], w[0] = -(1 << 15), -128
    x[1], w[1] = (1 << 15) - 1, -128
    exact = [[sum(int(a) * int(b) for a, b in zip(r, c, strict=True)) for c in w] for r in x]
    assert accumulate_products(x, w, 16, 32, bits=15).tolist() == exact
    assert exact[0][0] == 64 << 22


@pytest.mark.parametrize("sign", [-1, 1])
def test_wide_accumulators_saturate_tile_by_tile(sign):
    # 32 bits hold 512 of the largest products; the sums pass the limit and come back.
    x = np.full((2, 1200), -(1 << 15))
    w = np.full((2, 1200), -128 * sign)
    w[:, 800:] = 127 * sign
    w[1, 10:] = 0
    # A low byte of 255 adds to what the high byte gives before anything is clipped.
    x[1] = -(1 << 15) + 255
    limit = {1: (1 << 31) - 1, -1: -(1 << 31)}[sign]
    end = min(max(limit - 127 * sign * 400 * (1 << 15), -(1 << 31)), (1 << 31) - 1)
    other = limit + 127 * sign * 400 * (-(1 << 15) + 255)
    few = [128 * sign * 10 * (1 << 15), -128 * sign * 10 * (-(1 << 15) + 255)]
    expected = [[end, few[0]], [other, few[1]]]
    assert accumulate_products(x, w, 16, 32, bits=15).tolist() == expected


def test_wide_product_with_saturating_accumulators():
    golden, plain, memory = machines(SQUARE, np.random.default_rng(1))
    k_tiles = 200  # 800 products: the first 600 pass the limit, the others come back
    tiles = memory[DATA : DATA + 16 * k_tiles].reshape(k_tiles, -1)
    tiles[:150], tiles[150:] = 0x80, 0x7F
    plain.memory[:] = memory.tobytes()
    for words in (golden.state.scratchpad.words, plain.scratchpad):
        for address in range(k_tiles):
            words[address][:] = [-(1 << 15)] * SQUARE.lanes
    for machine in (golden.state, plain):
        machine.parameters[3] = (1 << 14, 31, 0)
    agree(golden, plain, memory, product(SQUARE, 1, 1, k_tiles, F.WIDE | F.WEIGHTS_IN_MEMORY))
    left = (1 << 31) - 1 - 127 * 200 * (1 << 15)
    assert golden.state.scratchpad.words[300, 0] == (left + (1 << 16)) >> 17


@pytest.mark.parametrize("low", [0, 1, 128, 255])
@pytest.mark.parametrize("high", [-128, -1, 0, 127])
def test_every_byte_of_wide_rows_counts(high, low):
    value = 256 * high + low
    golden, plain, memory = machines(SQUARE, np.random.default_rng(2))
    for words in (golden.state.scratchpad.words, plain.scratchpad):
        for address in range(7):
            words[address][:] = [value] * SQUARE.lanes
    for machine in (golden.state, plain):
        machine.parameters[3] = (1 << 14, 24, 0)
    ins = product(SQUARE, 1, 1, 1, F.WIDE | F.WEIGHTS_IN_MEMORY)
    agree(golden, plain, memory, ins)
    total = value * int(memory[0x2000:0x2004].view(np.int8).sum())
    assert golden.state.scratchpad.words[300, 0] == (total + (1 << 9)) >> 10


def test_exponents_of_wide_rows_are_not_used():
    # Slots that do not exist, or that the result takes, do not matter.
    for changes in ({"x_slot": 65535}, {"y_slot": 11}):
        golden, _, memory = machines(SQUARE, np.random.default_rng(4))
        put(golden, None, memory, [product(SQUARE, 2, 3, 2, F.WIDE, **changes)])
        golden.run()
        words = golden.state.scratchpad.words[300:302]
        golden, _, memory = machines(SQUARE, np.random.default_rng(4))
        put(golden, None, memory, [product(SQUARE, 2, 3, 2, F.WIDE)])
        golden.run()
        np.testing.assert_array_equal(words, golden.state.scratchpad.words[300:302])
    found = effects(attention(SQUARE, 2, 3, 2, 1, F.WIDE), SQUARE)
    assert [places[0] for places in found.reads["slots"]] == [40, 100]
    found = effects(product(SQUARE, 2, 3, 2, F.WIDE), SQUARE)
    assert [places.tolist() for places in found.reads["slots"]] == [[40, 41, 42]]
    assert found.reads["scratchpad"][0].tolist() == [0, 1, 7, 8]


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        (CONFIGS["narrow"], {}, "wide needs accumulators of 32 bits, not 24"),
        (SQUARE, {"y_base": 8}, "must not overlap x"),
        (SQUARE, {"y_slot": 40}, "exponents of .* overlap those of w"),
        (SQUARE, {"x_base": 509}, "scratchpad word 517 does not exist"),
    ],
    ids=str,
)
def test_undefined_wide_products_are_refused(config, changes, message):
    memory = bytearray(config.on_chip_bytes)
    memory[:64] = product(config, 2, 3, 2, F.WIDE, **changes).encode()
    memory[64:128] = HALT.encode()
    with pytest.raises(ProgramError, match=f"MATMUL: .*{message}"):
        GoldenMachine(config, memory).run()
