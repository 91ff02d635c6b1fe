import numpy as np
import pytest
from plain_machine import PlainMachine

from celosia.arguments import resolve
from celosia.config import PRESETS
from celosia.errors import ProgramError
from celosia.golden.machine import GoldenMachine, Result
from celosia.golden.matmul import accumulate_products
from celosia.golden.softmax import attention_float
from celosia.isa import Cause, Flag, Instruction, Opcode, Space

SQUARE = PRESETS["tiny"].replace(on_chip_bytes=1 << 15, scratchpad_words=512)
CONFIGS = {
    "square": SQUARE,
    "tall": SQUARE.replace(rows=8, columns=4),  # R > C: two parts of a word
    "wide": SQUARE.replace(rows=2, columns=8),  # R < C: four tiles of keys in a block
    "narrow": SQUARE.replace(rows=16, columns=4, accumulator_width=24, attention_rows=16),
}
#: Where programs put their data; the program itself is at 0.
DATA = 0x2000

F = Flag
NONE = Flag(0)


def instruction(opcode, flags=NONE, **operands):
    return Instruction(Opcode[opcode.upper()], operands, flags)


HALT = instruction("halt")


@pytest.fixture(params=CONFIGS, ids=str)
def config(request):
    return CONFIGS[request.param]


def machines(config, rng, *, spread=True):
    """Both machines in the same random state, and the golden one's memory."""
    memory = rng.integers(0, 256, config.on_chip_bytes, np.uint8)
    words = rng.integers(-(1 << 15), 1 << 15, (config.scratchpad_words, config.lanes))
    if spread:
        words >>= rng.integers(0, 14, (config.scratchpad_words, 1))
    words[rng.random(words.shape) < 0.02] = -(1 << 15)
    exponents = rng.integers(0, 9, config.exponent_slots)
    parameters = np.stack(
        [
            rng.integers(0, 1 << 15, config.parameter_entries),
            rng.integers(12, 30, config.parameter_entries),
            rng.integers(-(1 << 15), 1 << 15, config.parameter_entries)
            >> rng.integers(0, 12, config.parameter_entries),
        ],
        axis=1,
    )
    # Some entries saturate everything, some pass the product as it is.
    parameters[rng.random(len(parameters)) < 0.1, 1] = 0
    parameters[rng.random(len(parameters)) < 0.1, 1] = 63
    table = rng.integers(-(1 << 15), 1 << 15, (256, 2))

    golden = GoldenMachine(config, memory)
    golden.state.scratchpad.words[:] = words
    golden.state.scratchpad.exponents[:] = exponents
    golden.state.parameters[:] = parameters
    golden.state.table[:] = table
    plain = PlainMachine(config, bytearray(memory.tobytes()))
    plain.scratchpad = words.tolist()
    plain.exponents = exponents.tolist()
    plain.parameters = [tuple(entry) for entry in parameters.tolist()]
    plain.table = [tuple(entry) for entry in table.tolist()]
    return golden, plain, memory


def put(golden, plain, memory, program, at=0):
    data = b"".join(ins.encode() for ins in [*program, HALT])
    memory[at : at + len(data)] = np.frombuffer(data, np.uint8)
    if plain is not None:
        plain.memory[at : at + len(data)] = data


def agree(golden, plain, memory, *program, arguments=()):
    """Run both, compare all state and counters; return what the golden machine reports."""
    put(golden, plain, memory, program)
    result = golden.run(arguments=arguments)
    plain.run(arguments=arguments)
    assert result == Result(plain.instructions, plain.mac_rows, plain.saturations)
    pad = golden.state.scratchpad
    np.testing.assert_array_equal(pad.words, plain.scratchpad)
    np.testing.assert_array_equal(pad.exponents, plain.exponents)
    np.testing.assert_array_equal(golden.state.parameters, plain.parameters)
    np.testing.assert_array_equal(golden.state.table, plain.table)
    assert memory.tobytes() == bytes(plain.memory)
    return result


def product(config, m, n, k_tiles, flags=NONE, **changes):
    """A MATMUL with its operands apart: x at 0, w at 100, y at 300, r at 400."""
    return instruction(
        "matmul",
        flags,
        **{
            "m": m,
            "n": n,
            "k_tiles": k_tiles,
            "x_base": 0,
            "x_stride": 7,
            "x_slot": 10,
            "w_base": 100,
            "w_stride": 5,
            "w_slot": 40,
            "y_base": 300,
            "y_stride": 8,
            "y_slot": 90,
            "p_base": 3,
            "r_base": 400,
            "r_stride": 9,
            "r_shift": 1,
            "w_address": DATA,
        }
        | changes,
    )


@pytest.mark.parametrize("m", [1, 3, 5])
@pytest.mark.parametrize("n", [1, 4, 13, 16])
def test_matmul(config, m, n):
    rng = np.random.default_rng(m * 100 + n)
    agree(*machines(config, rng), product(config, m, n, k_tiles=2))


@pytest.mark.parametrize(
    "flags",
    [
        F.WEIGHTS_IN_MEMORY,
        F.ROW_PARAMETERS,
        F.RESIDUAL,
        F.ACTIVATE,
        F.NARROW,
        F.KEEP_EXPONENT,
        F.NARROW | F.ACTIVATE | F.RESIDUAL,
        F.WEIGHTS_IN_MEMORY | F.ROW_PARAMETERS | F.RESIDUAL | F.ACTIVATE | F.KEEP_EXPONENT,
    ],
    ids=str,
)
def test_matmul_flags(config, flags):
    rng = np.random.default_rng(int(flags))
    result = agree(*machines(config, rng), product(config, 5, 11, 3, flags))
    assert result.mac_rows == 5 * -(-11 // config.columns) * 3
    assert 0 < result.saturations < 5 * 11


@pytest.mark.parametrize("r_shift", [0, 15, 16, 31])
def test_residual_in_place(config, r_shift):
    rng = np.random.default_rng(r_shift)
    place = {"r_base": 300, "r_stride": 8, "r_shift": r_shift}
    agree(*machines(config, rng), product(config, 3, 13, 1, F.RESIDUAL, **place))


@pytest.mark.parametrize("exponent", range(9))
def test_matmul_exponents(config, exponent):
    golden, plain, memory = machines(config, np.random.default_rng(exponent))
    golden.state.scratchpad.exponents[:] = exponent
    plain.exponents = [exponent] * config.exponent_slots
    # Parameters with shifts around the sum of both exponents.
    golden.state.parameters[:, 1] = np.arange(config.parameter_entries) % 20
    golden.state.parameters[:, 0] >>= 8
    plain.parameters = [tuple(entry) for entry in golden.state.parameters.tolist()]
    agree(golden, plain, memory, product(config, 3, 16, 2))


def test_lanes_beyond_the_last_tile_are_kept():
    config = CONFIGS["tall"]
    golden, plain, memory = machines(config, np.random.default_rng(5))
    before = golden.state.scratchpad.words[300].copy()
    agree(golden, plain, memory, product(config, 1, 3, 1))
    after = golden.state.scratchpad.words[300]
    assert after[3] == 0
    np.testing.assert_array_equal(after[4:], before[4:])


def test_exponent_of_a_row():
    config = SQUARE
    for value, exponent in [(127, 0), (128, 1), (-128, 0), (-129, 1), (32767, 8), (-32768, 8)]:
        memory = bytearray(config.on_chip_bytes)
        golden = GoldenMachine(config, memory)
        golden.state.scratchpad.exponents[:] = 5
        memory[0x100:0x102] = value.to_bytes(2, "little", signed=True)
        load = instruction("load", rows=2, words=2, address=0x100, pitch=16, stride=2, slot=3)
        memory[: 2 * 64] = load.encode() + HALT.encode()
        golden.run()
        assert golden.state.scratchpad.exponents[2:6].tolist() == [5, exponent, 0, 5]


@pytest.mark.parametrize("sign", [-1, 1])
def test_accumulators_saturate_tile_by_tile(sign):
    # 24 bits hold 512 of the largest products; the sums pass the limit and come back.
    x = np.full((2, 1200), -128)
    w = np.full((3, 1200), -128 * sign)
    w[:, 800:] = 127 * sign
    w[2, 10:] = 0
    limit = {1: (1 << 23) - 1, -1: -(1 << 23)}[sign]
    end = limit - 128 * 127 * 400 * sign
    end = max(min(end, (1 << 23) - 1), -(1 << 23))
    # -128 * 128 is a signed power of two, so tiles of 16 reach the lower limit exactly.
    expected = [end, end, 128 * 128 * 10 * sign]
    assert accumulate_products(x, w, 16, 24).tolist() == [expected, expected]
    exact = [sum(int(a) * int(b) for a, b in zip(x[0], row, strict=True)) for row in w]
    assert accumulate_products(x, w, 16, 32).tolist() == [exact, exact]


def test_matmul_with_saturating_accumulators():
    config = CONFIGS["narrow"].replace(parameter_entries=16)
    golden, plain, memory = machines(config, np.random.default_rng(1))
    k_tiles = 48  # 768 products
    golden.state.scratchpad.words[:192] = -(1 << 15)
    golden.state.scratchpad.exponents[:] = 8
    memory[DATA : DATA + 768 * 4] = 0x80
    memory[DATA + 600 * 4 : DATA + 768 * 4] = 0x7F
    golden.state.parameters[:] = 1 << 14, 26, 0
    plain.scratchpad = golden.state.scratchpad.words.tolist()
    plain.exponents = [8] * config.exponent_slots
    plain.memory[:] = memory.tobytes()
    plain.parameters = [(1 << 14, 26, 0)] * 16
    flags = F.WEIGHTS_IN_MEMORY
    changes = {"x_stride": 48, "p_base": 0}
    agree(golden, plain, memory, product(config, 3, 3, k_tiles, flags, **changes))
    # 2^23 - 1 less what the last 168 products take away, times 2^14 / 2^(26 - 8).
    left = (1 << 23) - 1 - 128 * 127 * 168
    assert golden.state.scratchpad.words[300, 0] == min((left * (1 << 14) + (1 << 17)) >> 18, 32767)


def test_load_and_store(config):
    rng = np.random.default_rng(3)
    size = config.lanes
    program = [
        instruction(
            "load",
            rows=3,
            words=2,
            space=Space.ROWS16,
            address=DATA,
            pitch=4 * size,
            base=20,
            stride=3,
            slot=7,
        ),
        instruction(
            "load",
            rows=5,
            words=1,
            space=Space.ROWS8,
            address=DATA + 1024,
            pitch=size,
            base=60,
            stride=1,
            slot=17,
        ),
        instruction("load", rows=1, words=5, space=Space.PARAMETERS, address=DATA + 2048, base=9),
        instruction("load", rows=1, words=256, space=Space.TABLE, address=DATA + 4096),
        instruction(
            "store",
            rows=3,
            words=2,
            space=Space.ROWS16,
            address=DATA + 8192,
            pitch=8 * size,
            base=19,
            stride=3,
        ),
        instruction(
            "store",
            rows=3,
            words=3,
            space=Space.ROWS8,
            address=DATA + 12288,
            pitch=4 * size,
            base=58,
            stride=2,
        ),
    ]
    result = agree(*machines(config, rng), *program)
    assert result == Result(instructions=7, mac_rows=0, saturations=0)


@pytest.mark.parametrize("space", [Space.ROWS16, Space.ROWS8])
def test_parts_of_rows_are_stored(config, space):
    """Every range of short rows; what lies around it stays as it was."""
    rng = np.random.default_rng(5)
    golden, plain, memory = machines(config.replace(memory_width=2 * config.lanes), rng)
    for words in (1, 3):
        width = words * config.lanes
        firsts = rng.integers(0, width, 6)
        for first in [0, width - 1, *firsts.tolist()]:
            for count in {1, width - first, int(rng.integers(1, width - first + 1))}:
                place = {"rows": 3, "words": words, "base": 100, "stride": 5, "space": space}
                place |= {"address": DATA, "pitch": 16 * config.lanes}
                ins = instruction("store", first=first, count=count, **place)
                before = memory.copy()
                agree(golden, plain, memory, ins)
                size = 2 if space == Space.ROWS16 else 1
                element = np.flatnonzero((memory != before)[DATA:]) % (16 * config.lanes) // size
                assert np.all((first <= element) & (element < first + count))


def test_a_row_of_bytes_may_end_within_a_beat():
    config = SQUARE.replace(memory_width=8)
    ins = instruction("store", rows=2, words=3, space=Space.ROWS8, address=DATA, pitch=16, stride=3)
    golden, plain, memory = machines(config, np.random.default_rng(6))
    memory[DATA + 12] = 99
    plain.memory[DATA + 12] = 99
    agree(golden, plain, memory, ins)
    assert memory[DATA + 12] == 99


def test_arguments_are_added(config):
    """They may be set with a run, and keep their values from one to the next."""
    rng = np.random.default_rng(7)
    golden, plain, memory = machines(config, rng)
    size = 2 * config.lanes
    operands = {"rows": 2, "words": 1, "address": DATA, "pitch": size, "base": 40, "stride": 1}
    adds = (("address", 1), ("base", 0), ("slot", 0), ("rows", 2))
    load = Instruction(Opcode.LOAD, operands, adds=adds)
    later = Instruction(Opcode.STORE, operands, adds=(("address", 31), ("base", 0), ("base", 0)))
    mask = Instruction(
        Opcode.ATTEND,
        attention(config, 5, 2 * config.lanes, 1, 1, diagonal=0).operands,
        F.CAUSAL,
        adds=(("m", 3), ("t", 2), ("diagonal", 4)),
    )
    arguments = [7, 5 * size, 3, 0xFFFF_FFFE, 0xFFFF_FFFD, *[0] * 26, 0x1000]
    agree(golden, plain, memory, load, later, mask, arguments=arguments)
    agree(golden, plain, memory, load, later, mask)
    agree(golden, plain, memory, load, later, mask, arguments=[20, 0])
    assert golden.state.arguments.tolist() == [20, 0, *arguments[2:]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([0] * 33, "there are 32 argument registers, not 33"),
        ([0, -1], r"argument 1 must be 0 to 4294967295, not -1; .* modulo 2\^32"),
        ([1 << 32], "argument 0 must be 0 to 4294967295, not 4294967296"),
    ],
)
def test_wrong_arguments(arguments, message):
    golden = GoldenMachine(SQUARE, bytearray(SQUARE.on_chip_bytes))
    with pytest.raises(ProgramError, match=f"^{message}"):
        golden.run(arguments=arguments)
    with pytest.raises(ProgramError, match=f"^{message}"):
        resolve([HALT], arguments)


def test_a_program_is_resolved():
    add = Instruction(Opcode.LOAD, {"rows": 3}, adds=(("rows", 1), ("base", 2)))
    assert resolve([add, HALT], [9, 4]) == [Instruction(Opcode.LOAD, {"rows": 7}), HALT]
    assert resolve([add, HALT]) == [Instruction(Opcode.LOAD, {"rows": 3}), HALT]


def attention(config, m, t, d_tiles, v_tiles, flags=NONE, **changes):
    """An ATTEND with its operands apart: Q at 0, K at 50, Vᵀ at 200, y at 430."""
    return instruction(
        "attend",
        flags,
        **{
            "m": m,
            "t": t,
            "d_tiles": d_tiles,
            "v_tiles": v_tiles,
            "x_base": 0,
            "x_stride": 4,
            "x_slot": 10,
            "w_base": 50,
            "w_stride": 4,
            "w_slot": 40,
            "v_base": 200,
            "v_stride": 9,
            "v_slot": 100,
            "y_base": 430,
            "y_stride": 5,
            "y_slot": 200,
            "multiplier": 20000,
            "shift": 24,
        }
        | changes,
    )


@pytest.mark.parametrize("m", [1, 3, 5])
@pytest.mark.parametrize("t", [1, 7, 16, 21])
def test_attend(config, m, t):
    rng = np.random.default_rng(100 * m + t)
    ins = attention(config, m, t, d_tiles=2, v_tiles=2)
    result = agree(*machines(config, rng), ins)
    lanes = config.lanes
    blocks = -(-t // lanes)
    scores, outputs = 2 * lanes // config.columns, 2 * lanes // config.rows
    assert result.mac_rows == m * blocks * (scores + outputs)
    assert result.saturations == 0


@pytest.mark.parametrize("shift", [0, 12, 20, 28, 63])
def test_attend_scales(config, shift):
    rng = np.random.default_rng(shift)
    ins = attention(config, 3, 29, 1, 3, F.KEEP_EXPONENT, shift=shift, multiplier=32767)
    agree(*machines(config, rng), ins)


@pytest.mark.parametrize("exponent", range(9))
def test_attend_exponents(config, exponent):
    golden, plain, memory = machines(config, np.random.default_rng(exponent), spread=False)
    golden.state.scratchpad.exponents[:] = exponent
    plain.exponents = [exponent] * config.exponent_slots
    agree(golden, plain, memory, attention(config, 3, 13, 1, 2, shift=20 + 2 * exponent))


@pytest.mark.parametrize("diagonal", [-40, -5, -1, 0, 2, 30])
@pytest.mark.parametrize("window", [None, -30, -2, 0, 3, 30])
def test_attend_with_masks(config, diagonal, window):
    rng = np.random.default_rng([diagonal + 100, (window or 0) + 100])
    flags = F.CAUSAL if window is None else F.CAUSAL | F.WINDOW
    ins = attention(config, 5, 21, 1, 2, flags, diagonal=diagonal, window=window or 0)
    golden, plain, memory = machines(config, rng)
    agree(golden, plain, memory, ins)
    # Query i sees keys i + window to i + diagonal; no key, no output.
    y = golden.state.scratchpad.read(430, 5, 5, 2 * config.columns)
    low = np.arange(5) + (-40 if window is None else window)
    blind = (np.arange(5) + diagonal < 0) | (low > 20) | (low > np.arange(5) + diagonal)
    assert not y[blind].any()
    assert (y[~blind] != 0).any(axis=1).all()


def chain(config, *runs, **operands):
    """ATTENDs over runs of (keys, flags, changes), one continuing the other."""
    for index, (t, flags, changes) in enumerate(runs):
        flags |= (F.CONTINUE if index else NONE) | (F.HOLD if index < len(runs) - 1 else NONE)
        yield attention(config, 3, t, 2, 2, flags, **(operands | changes))


@pytest.mark.parametrize("seed", range(6))
def test_chain(config, seed):
    rng = np.random.default_rng(seed)
    runs = [
        (
            int(rng.integers(1, 30)),
            (F.CAUSAL if rng.random() < 0.5 else NONE) | (F.WINDOW if rng.random() < 0.5 else NONE),
            {
                "w_base": int(rng.integers(50, 60)),
                "v_base": int(rng.integers(200, 220)),
                "diagonal": int(rng.integers(-4, 30)),
                "window": int(rng.integers(-4, 30)),
            },
        )
        for _ in range(rng.integers(2, 5))
    ]
    agree(*machines(config, rng), *chain(config, *runs))


def test_chain_of_blocks_is_one_run(config):
    results = []
    lanes = config.lanes
    for runs in (
        [(3 * lanes, NONE, {})],
        [(lanes, NONE, {"w_base": 50 + 4 * i, "w_slot": 40 + i, "v_base": 200 + i // lanes})
         for i in range(0, 3 * lanes, lanes)],
    ):  # fmt: skip
        golden, plain, memory = machines(config, np.random.default_rng(7))
        agree(golden, plain, memory, *chain(config, *runs))
        results.append(golden.state.scratchpad.words)
    np.testing.assert_array_equal(*results)


def test_other_units_may_work_during_a_chain():
    first, last = chain(SQUARE, (5, NONE, {}), (5, NONE, {}))
    store = instruction("store", address=DATA, pitch=64, rows=2, words=3, base=100)
    agree(*machines(SQUARE, np.random.default_rng(1)), first, store, last)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ([attention(SQUARE, 1, 1, 1, 1, F.CONTINUE)], "continue must follow one with hold"),
        ([attention(SQUARE, 1, 1, 1, 1, F.HOLD)], "hold must be followed by one with continue"),
        (
            [attention(SQUARE, 1, 1, 1, 1, F.HOLD), attention(SQUARE, 1, 1, 1, 1)],
            "hold must be followed",
        ),
        (
            [attention(SQUARE, 1, 1, 1, 1, F.HOLD), product(SQUARE, 1, 1, 1)],
            "MATMUL: .*hold must be followed",
        ),
        (
            [attention(SQUARE, 2, 1, 1, 1, F.HOLD), attention(SQUARE, 1, 1, 1, 1, F.CONTINUE)],
            "m must be 2, as in the ATTEND that it continues, not 1",
        ),
        (
            [attention(SQUARE, 1, 1, 1, 1, F.HOLD), attention(SQUARE, 1, 1, 1, 2, F.CONTINUE)],
            "v_tiles must be 1, as in .* not 2",
        ),
        (
            [
                attention(SQUARE, 1, 1, 1, 1, F.HOLD),
                attention(SQUARE, 1, 1, 1, 1, F.CONTINUE, v_slot=250),
            ],
            "exponents of v must be those of the ATTEND that it continues",
        ),
    ],
    ids=str,
)
def test_broken_chains_are_refused(program, message):
    memory = np.zeros(SQUARE.on_chip_bytes, np.uint8)
    golden = GoldenMachine(SQUARE, memory)
    golden.state.scratchpad.exponents[250] = 3
    put(golden, None, memory, program)
    with pytest.raises(ProgramError, match=message):
        golden.run()
    # The next run starts afresh.
    put(golden, None, memory, [attention(SQUARE, 1, 1, 1, 1)])
    assert golden.run().cause is Cause.NONE


def test_attend_over_its_queries(config):
    rng = np.random.default_rng(9)
    place = {"y_base": 0, "y_stride": 4, "y_slot": 10}
    agree(*machines(config, rng), attention(config, 3, 13, 1, 1, **place))


def test_long_flat_attention_bumps_the_exponent():
    # Equal logits: the denominator passes Lmax after 129 keys or so, with 24 bits.
    config = CONFIGS["narrow"]
    golden, plain, memory = machines(config, np.random.default_rng(2))
    golden.state.scratchpad.words[:50] = 0
    plain.scratchpad[:50] = [[0] * config.lanes] * 50
    ins = attention(config, 1, 140, 1, 1, w_base=50, w_stride=1, w_slot=20, v_slot=200, y_slot=0)
    agree(golden, plain, memory, ins)


@pytest.mark.parametrize("spread", [0.2, 1, 4])
@pytest.mark.parametrize("t", [5, 50, 300])
def test_attend_against_float(spread, t):
    """Worst error, of the largest output, given the operands as the array takes them."""
    config = SQUARE.replace(
        rows=8, columns=8, attention_rows=64, scratchpad_words=2048, exponent_slots=1024
    )
    rng = np.random.default_rng(t)
    m, width = 9, 8
    scale = 1 / 2048  # of the int16 tensors
    memory = bytearray(config.on_chip_bytes)
    golden = GoldenMachine(config, memory)
    pad = golden.state.scratchpad
    v_stride = -(-t // config.lanes)
    places = {"x": (0, 1, 0), "w": (100, 1, 100), "v": (1000, v_stride, 800), "y": (1900, 1, 900)}
    operands = []
    for name, shape in (("x", (m, width)), ("w", (t, width)), ("v", (t, width))):
        values = rng.normal(size=shape) * (spread if name == "x" else 1) / scale
        rows = np.clip(np.round(values), -32768, 32767).astype(np.int16)
        rows = rows.T if name == "v" else rows
        base, stride, slot = places[name]
        pad.write(base, stride, rows, slot)
        e = pad.exponents[slot : slot + len(rows), np.newaxis]
        quantised = np.clip(np.floor(rows / 2.0**e + 0.5), -128, 127) * 2.0**e * scale
        operands.append(quantised.T if name == "v" else quantised)

    # Logits in base 2 with 6 fraction bits: acc · scale² / sqrt(d) · log2(e) · 64.
    real = scale**2 / np.sqrt(width) * np.log2(np.e) * 64
    shift = 14 - int(np.floor(np.log2(real)))
    changes = {"multiplier": round(real * 2**shift), "shift": shift}
    for name, place in places.items():
        changes |= zip((f"{name}_base", f"{name}_stride", f"{name}_slot"), place, strict=True)
    put(golden, None, golden.state.window.bytes, [attention(config, m, t, 1, 1, **changes)])
    assert golden.run().cause is Cause.NONE

    expected = attention_float(*operands)
    error = np.abs(pad.read(1900, 1, m, width) * scale - expected).max() / np.abs(expected).max()
    assert 0 < error <= 0.015


@pytest.mark.parametrize("n", [1, 13, 16])
@pytest.mark.parametrize("in_place", [False, True])
def test_norm(config, n, in_place):
    words = 16 // config.lanes + 1
    place = {"x_base": 0, "x_stride": 6} if in_place else {"x_base": 100, "x_stride": 5}
    ins = instruction(
        "norm",
        m=3,
        n=n,
        words=words,
        gamma=200,
        beta=210,
        y_base=0,
        y_stride=6,
        y_slot=50,
        shift=12,
        epsilon=100,
        **place,
    )
    agree(*machines(config, np.random.default_rng(n)), ins)


def test_state_persists_between_runs_and_programs_may_lie_anywhere():
    memory = bytearray(SQUARE.on_chip_bytes)
    golden = GoldenMachine(SQUARE, memory)
    memory[DATA : DATA + 8] = bytes(range(8))
    load = instruction("load", rows=1, words=1, address=DATA, base=5)
    store = instruction("store", rows=1, words=1, address=DATA + 8, base=5)
    memory[0:128] = load.encode() + HALT.encode()
    memory[256:384] = store.encode() + HALT.encode()
    assert golden.run(0) == golden.run(program=256) == Result(2, 0, 0)
    assert memory[DATA + 8 : DATA + 16] == bytes(range(8))


def test_blank_memory_is_illegal():
    golden = GoldenMachine(SQUARE, bytearray(SQUARE.on_chip_bytes))
    assert golden.run(128) == Result(0, 0, 0, Cause.ILLEGAL_INSTRUCTION, 128)


@pytest.mark.parametrize("opcode", [0, 9, 255])
def test_illegal_opcode(opcode):
    memory = bytearray(SQUARE.on_chip_bytes)
    load = instruction("load", rows=1, words=1, address=DATA)
    memory[:64] = load.encode()
    memory[64] = opcode
    golden = GoldenMachine(SQUARE, memory)
    assert golden.run() == Result(1, 0, 0, Cause.ILLEGAL_INSTRUCTION, 64)


def test_running_off_the_end():
    memory = bytearray(256)
    memory[:64] = memory[64:128] = instruction("load", rows=1, words=1, address=240).encode()
    memory[128:192] = memory[192:256] = memory[:64]
    golden = GoldenMachine(SQUARE, memory)
    assert golden.run() == Result(4, 0, 0, Cause.OUTSIDE_WINDOW, 256)


SIZE = SQUARE.on_chip_bytes


@pytest.mark.parametrize(
    "inside",
    [
        instruction("load", rows=1, words=1, address=SIZE - 8),
        instruction("load", rows=1, words=1, space=Space.ROWS8, address=SIZE - 4),
        instruction("load", rows=3, words=1, address=SIZE - 40, pitch=16, stride=1),
        instruction("load", rows=1, words=2, space=Space.PARAMETERS, address=SIZE - 16),
        instruction("load", rows=1, words=256, space=Space.TABLE, address=SIZE - 1024),
        instruction("store", rows=1, words=2, address=SIZE - 16),
        instruction("store", rows=2, words=1, space=Space.ROWS8, address=SIZE - 12, pitch=8),
        # Only what is written need be inside.
        instruction("store", rows=1, words=3, address=SIZE - 16, first=3, count=4),
        instruction("store", rows=2, words=1, pitch=8, address=SIZE - 12, first=1, count=1),
        product(SQUARE, 1, 5, 2, F.WEIGHTS_IN_MEMORY, w_address=SIZE - 64),
    ],
    ids=str,
)
def test_window(inside):
    memory = np.zeros(SIZE, np.uint8)
    golden = GoldenMachine(SQUARE, memory)
    put(golden, None, memory, [inside])
    assert golden.run().cause is Cause.NONE

    place = "w_address" if inside.opcode is Opcode.MATMUL else "address"
    for address in (inside[place] + SQUARE.memory_width, 0xFFFF_FFFC):
        outside = Instruction(inside.opcode, inside.operands | {place: address}, inside.flags)
        golden.state.scratchpad.words[:] = 0x5A
        put(golden, None, memory, [HALT, outside])
        before = memory.copy()
        words = golden.state.scratchpad.words.copy()
        assert golden.run(64) == Result(0, 0, 0, Cause.OUTSIDE_WINDOW, 64)
        np.testing.assert_array_equal(memory, before)
        np.testing.assert_array_equal(golden.state.scratchpad.words, words)


@pytest.mark.parametrize(
    ("ins", "message"),
    [
        (product(SQUARE, 65, 1, 1), "MATMUL: m must be 1 to 64, not 65"),
        (product(SQUARE, 1, 0, 1), "n must be 1 to 65535, not 0"),
        (product(SQUARE, 1, 1, 0), "k_tiles must be 1 to 65535, not 0"),
        (product(SQUARE, 1, 4, 1, p_base=253), "parameter entry 256 does not exist; .* 256"),
        (
            product(SQUARE, 5, 1, 1, F.ROW_PARAMETERS, p_base=252),
            "parameter entry 256 does not exist",
        ),
        (product(SQUARE, 1, 1, 1, F.RESIDUAL, r_shift=32), "r_shift must be 0 to 31, not 32"),
        (product(SQUARE, 2, 1, 1, x_base=505), "scratchpad word 512 does not exist; .* 512"),
        (product(SQUARE, 2, 1, 1, x_slot=255), "exponent slot 256 does not exist; .* 256"),
        (product(SQUARE, 2, 1, 1, y_base=7), "must not overlap x"),
        (product(SQUARE, 1, 2, 1, y_base=105), "must not overlap w"),
        (product(SQUARE, 2, 1, 1, y_slot=11), "exponents of .* overlap those of x"),
        (product(SQUARE, 2, 1, 1, y_slot=40), "exponents of .* overlap those of w"),
        (product(SQUARE, 2, 1, 1, F.RESIDUAL, r_base=308), "must not overlap r"),
        (product(SQUARE, 1, 1, 1, F.WEIGHTS_IN_MEMORY, w_address=2), "address .* of 4, not 2"),
        (attention(SQUARE, 33, 1, 1, 1), "ATTEND: m must be 1 to 32, not 33"),
        (attention(SQUARE, 32, 1, 1, 3), "v_tiles must be 1 to 2, not 3"),
        (attention(SQUARE, 1, 0, 1, 1), "t must be 1 to 65535, not 0"),
        (attention(SQUARE, 1, 1, 0, 1), "d_tiles must be 1"),
        (attention(SQUARE, 1, 1, 1, 1, multiplier=32768), "multiplier must be 0 to 32767"),
        (attention(SQUARE, 1, 1, 1, 1, shift=64), "shift must be 0 to 63, not 64"),
        (attention(SQUARE, 1, 2, 1, 1, y_base=54), "must not overlap w"),
        (attention(SQUARE, 1, 2, 1, 1, y_base=209), "must not overlap v"),
        (attention(SQUARE, 1, 2, 1, 1, y_slot=103), "exponents of .* overlap those of v"),
        (instruction("load", space=4, rows=1, words=1), "LOAD: space must be 0 to 3, not 4"),
        (instruction("load", rows=0, words=1), "rows must be 1 to 65535, not 0"),
        (instruction("load", rows=1, words=0), "words must be 1 to 65535, not 0"),
        (instruction("load", space=2, rows=2, words=1), "rows must be 1 to 1, not 2"),
        (instruction("load", space=2, rows=1, words=2, base=255), "parameter entry 256"),
        (instruction("load", space=3, rows=1, words=255), "words must be 256 to 256, not 255"),
        (instruction("load", rows=2, words=1, pitch=6), "pitch must be a multiple of 4, not 6"),
        (instruction("store", space=2, rows=1, words=1), "STORE: space must be 0 to 1, not 2"),
        (instruction("store", rows=1, words=2, count=9), "count must be 0 to 8, not 9"),
        (instruction("store", rows=1, words=2, count=3, first=6), "first must be 0 to 5, not 6"),
        (instruction("store", rows=1, words=2, first=1), "first must be 0 to 0, not 1"),
        (instruction("norm", m=0), "NORM: m must be 1"),
        (instruction("norm", m=1, words=2, n=9), "n must be 1 to 8, not 9"),
        (instruction("norm", m=1, words=1025, n=4097), "n must be 1 to 4096, not 4097"),
        (instruction("norm", m=1, words=1, n=4), "epsilon must be 1 to 4294967295, not 0"),
        (
            instruction("norm", m=2, words=2, n=8, epsilon=1, x_stride=3, y_stride=2),
            "must not overlap x",
        ),
        (
            instruction("norm", m=2, words=1, n=4, epsilon=1, x_base=9, y_stride=1, beta=1),
            "must not overlap gamma",
        ),
    ],
    ids=str,
)
def test_undefined_operands_are_refused(ins, message):
    memory = bytearray(SQUARE.on_chip_bytes)
    golden = GoldenMachine(SQUARE, memory)
    memory[64:128] = ins.encode()
    memory[128:192] = HALT.encode()
    with pytest.raises(ProgramError, match=f"^instruction at 0x40, .*{message}"):
        golden.run(64)


def test_operands_may_touch():
    x = {"x_base": 8, "x_stride": 1, "x_slot": 8}
    w = {"w_base": 14, "w_stride": 1, "w_slot": 14}
    rng = np.random.default_rng(4)
    for place in (11, 18):  # between x and w, and after w
        y = {"y_base": place, "y_stride": 1, "y_slot": place}
        ins = product(SQUARE, 3, 4, 1, **(x | w | y))
        agree(*machines(SQUARE, rng), ins)
    last = {"x_base": 511, "x_slot": 255, "p_base": 252}
    agree(*machines(SQUARE, rng), product(SQUARE, 1, 4, 1, **last))


def test_misplaced_program():
    golden = GoldenMachine(SQUARE, bytearray(SQUARE.on_chip_bytes))
    with pytest.raises(ProgramError, match="address must be a multiple of 4, not 2"):
        golden.run(2)


@pytest.mark.parametrize("memory", [np.zeros(64), np.zeros((8, 8), np.uint8)])
def test_memory_of_another_kind(memory):
    with pytest.raises(TypeError, match="bytearray or a one-dimensional array of uint8"):
        GoldenMachine(SQUARE, memory)
