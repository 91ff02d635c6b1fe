"""MATMULs in pieces along the reduction, and chained to the LOADs of their rows."""

from itertools import pairwise

import numpy as np
import pytest
from test_compiler_dependencies import tokens
from test_golden_machine import (
    CONFIGS,
    DATA,
    SQUARE,
    F,
    agree,
    attention,
    instruction,
    product,
    put,
)
from test_golden_machine import machines as random_machines

from celosia.config import PRESETS
from celosia.errors import ConfigError, ProgramError
from celosia.golden.machine import GoldenMachine
from celosia.isa import Space

NONE = F(0)
CHAINED = {
    name: config.replace(chaining=True, accumulator_rows=64) for name, config in CONFIGS.items()
}
ONE = CHAINED["square"]


@pytest.fixture(params=CHAINED, ids=str)
def config(request):
    return CHAINED[request.param]


def machines(config, seed):
    return random_machines(config, np.random.default_rng(seed))


def pieces(config, m, n, cuts, flags=NONE, **changes):
    """A product along whole words of its rows, cut in pieces; weights follow each other."""
    parts = config.lanes // config.rows
    address = DATA
    for first, end in pairwise(cuts):
        kind = flags | F.WEIGHTS_IN_MEMORY | (F.CONTINUE if first else NONE)
        kind |= F.HOLD if end < cuts[-1] else NONE
        tiles = (end - first) * parts
        place = {"x_base": first, "w_address": address} | changes
        yield product(config, m, n, tiles, kind, **place)
        address += -(-n // config.columns) * tiles * config.tile_bytes


def load(config, rows, first, words, **changes):
    """The chained LOAD of some words of the rows that `product` streams."""
    operands = {"base": first, "stride": 7, "slot": 10, "rows": rows, "words": words}
    operands |= {"address": DATA + 0x400, "pitch": rows * config.lanes + 64, "space": Space.ROWS8}
    return instruction("load", F.CHAIN, **(operands | changes))


@pytest.mark.parametrize("n", [1, 11])
@pytest.mark.parametrize("cuts", [(0, 2), (0, 1, 3), (0, 1, 2, 5)], ids=str)
def test_pieces(config, cuts, n):
    for flags in (NONE, F.RESIDUAL | F.NARROW, F.KEEP_EXPONENT | F.ACTIVATE):
        agree(*machines(config, n), *pieces(config, 5, n, cuts, flags))


def test_pieces_are_one_product():
    """With one tile of channels the weights of all pieces lie as those of the whole."""
    n, words = ONE.columns, 4
    results = []
    for cuts in ((0, words), (0, 1, words), (0, 1, 2, 3, words)):
        golden, plain, memory = machines(ONE, 3)
        golden.state.scratchpad.exponents[:] = 4  # those of all words of a row
        plain.exponents = [4] * ONE.exponent_slots
        agree(golden, plain, memory, *pieces(ONE, 3, n, cuts))
        results.append(golden.state.scratchpad.words.copy())
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


def test_sums_saturate_across_pieces():
    config = CHAINED["narrow"]
    golden, plain, memory = machines(config, 1)
    golden.state.scratchpad.words[:] = 127
    golden.state.scratchpad.exponents[:] = 0
    plain.scratchpad = golden.state.scratchpad.words.tolist()
    plain.exponents = [0] * config.exponent_slots
    memory[DATA:] = 127
    plain.memory[DATA:] = bytes(memory[DATA:])
    # 16 products of 127² a tile pass 2^23 in the 33rd; then weights of -127 take off again.
    tiles = 17
    low = DATA + tiles * config.tile_bytes * 2
    memory[low:] = 129
    plain.memory[low:] = bytes(memory[low:])
    shift = {"x_stride": 1, "y_base": 300, "y_stride": 1}
    flags = F.WEIGHTS_IN_MEMORY | F.HOLD
    program = [
        product(config, 1, 4, tiles, flags | kind, w_address=address, **shift)
        for kind, address in ((NONE, DATA), (F.CONTINUE, DATA), (F.CONTINUE, low))
    ]
    last = product(config, 1, 4, 1, F.WEIGHTS_IN_MEMORY | F.CONTINUE, w_address=low, **shift)
    agree(golden, plain, memory, *program, last)
    assert plain.sums[0, 0] == (1 << 23) - 1 - (tiles + 1) * 16 * 127**2


@pytest.mark.parametrize("cuts", [(0, 1), (0, 3), (0, 1, 4)], ids=str)
def test_chained(config, cuts):
    m = 9
    program = []
    for (first, end), piece in zip(
        pairwise(cuts), pieces(config, m, 6, cuts, F.CHAIN), strict=True
    ):
        program += [load(config, m, first, end - first), piece]
    agree(*machines(config, 2), *program)


M = 8


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (list(pieces(ONE, M, 4, (0, 1, 2)))[:1], "HALT: a MATMUL with hold must be followed"),
        (list(pieces(ONE, M, 4, (0, 1, 2)))[1:], "continue must follow one with hold"),
        (
            [*list(pieces(ONE, M, 4, (0, 1, 2)))[:1], product(ONE, M, 4, 1)],
            "a MATMUL with hold must be followed",
        ),
        (
            [*list(pieces(ONE, M, 4, (0, 1, 2)))[:1], attention(ONE, 1, 1, 1, 1)],
            "ATTEND: a MATMUL with hold must be followed",
        ),
        (
            [attention(ONE, 1, 1, 1, 1, F.HOLD), *list(pieces(ONE, M, 4, (0, 1, 2)))[1:]],
            "a MATMUL with continue must follow one with hold",
        ),
        (
            [*list(pieces(ONE, M, 4, (0, 1, 2)))[:1], *list(pieces(ONE, M, 5, (0, 1, 2)))[1:]],
            "n must be 4, as in the MATMUL that it continues, not 5",
        ),
        (list(pieces(ONE, 33, 9, (0, 1, 2))), "m times the tiles of n must be at most 64, not 99"),
        (
            list(pieces(ONE.replace(pe="packed"), M, 4, (0, 1, 2), code=1)),
            "hold and continue are for weights of 8 bits",
        ),
        ([load(ONE, M, 0, 1)], "HALT: a chained MATMUL must stream"),
        (list(pieces(ONE, M, 4, (0, 1), F.CHAIN)), "must stream what chained LOADs have written"),
        (
            [load(ONE, M, 1, 1), *pieces(ONE, M, 4, (0, 1), F.CHAIN)],
            "must stream what chained LOADs have written, in order",
        ),
        (
            [load(ONE, M - 1, 0, 1), *pieces(ONE, M - 1, 4, (0, 1), F.CHAIN)],
            "m must be 8 to 64, not 7",
        ),
        (
            [load(ONE, M, 0, 1), product(ONE, M, 4, 1, F.CHAIN)],
            "chain is for dense weights in memory",
        ),
        (
            [load(ONE, M, 0, 2), *pieces(ONE, M, 4, (0, 2), F.CHAIN, skip=0xFFFFFFFE)],
            "chain is for dense weights in memory",
        ),
        ([load(ONE, M, 0, 1, space=Space.ROWS16)], "chain is for rows8"),
    ],
)
def test_what_is_refused(program, message):
    config = ONE.replace(pe="packed", sparsity=4)
    memory = np.zeros(config.on_chip_bytes, np.uint8)
    golden = GoldenMachine(config, memory)
    put(golden, None, memory, program)
    with pytest.raises(ProgramError, match=message):
        golden.run()
    put(golden, None, memory, [load(config, M, 0, 1), *pieces(config, M, 4, (0, 1), F.CHAIN)])
    golden.run()  # the next run starts afresh


@pytest.mark.parametrize("flag", ["CHAIN", "HOLD", "CONTINUE"])
def test_other_machines_refuse(flag):
    memory = np.zeros(SQUARE.on_chip_bytes, np.uint8)
    golden = GoldenMachine(SQUARE, memory)
    put(golden, None, memory, [product(SQUARE, M, 4, 1, F.WEIGHTS_IN_MEMORY | F[flag])])
    with pytest.raises(ProgramError, match=f"{flag.lower()} needs a machine with chaining"):
        golden.run()


def test_a_microprogrammed_machine_cannot_chain():
    with pytest.raises(ConfigError, match='chaining must be False with engine "micro", not True'):
        PRESETS["micro"].replace(chaining=True)


def test_only_chained_machines_have_another_digest():
    assert SQUARE.digest != SQUARE.replace(chaining=True).digest


def test_tokens():
    """Rows that are taken word by word need none; whoever reads them after that does."""
    load_0, load_1 = load(ONE, M, 0, 1), load(ONE, M, 1, 1, slot=60)
    held, last = pieces(ONE, M, 4, (0, 1, 2), F.CHAIN)
    last = product(ONE, M, 4, 1, last.flags, x_base=1, x_slot=60)
    assert tokens(load_0, held, load_1, last) == ["", "", "", ""]
    again = product(ONE, M, 4, 1, F.WEIGHTS_IN_MEMORY, y_base=1000, y_slot=200)
    assert tokens(load_0, held, load_1, last, again) == [">matrix", "", "", "", "<load"]
    # The exponents are still read when the same slots are written.
    same = load(ONE, M, 1, 1)
    assert tokens(load_0, held, same, last) == ["", ">load", "<matrix", ""]
    # Parameters are not chained.
    parameters = instruction("load", space=Space.PARAMETERS, rows=1, words=16)
    assert tokens(load_0, held, parameters, load_1, last) == ["", "", ">matrix", "", "<load"]
