"""NORM with `rms`, MULTIPLY and ARGMAX of the golden machine, and their twins on their own."""

from fractions import Fraction
from math import floor, isqrt

import numpy as np
import pytest
from norms import norm_rows
from test_golden_machine import CONFIGS, SQUARE, agree, instruction, machines

from celosia.errors import ProgramError
from celosia.golden.argmax import argmax
from celosia.golden.layernorm import layernorm, normalise, row_scale
from celosia.golden.machine import GoldenMachine
from celosia.golden.multiply_rows import multiply_rows
from celosia.isa import Flag

F = Flag
NONE = Flag(0)
LOW, HIGH = -32768, 32767


@pytest.fixture(params=CONFIGS, ids=str)
def config(request):
    return CONFIGS[request.param]


def all_kinds(n: int) -> np.ndarray:
    rows = norm_rows(np.random.default_rng(n), 200, n)
    return np.vstack([rows, np.full((1, n), LOW), np.zeros((1, n), np.int64)])


@pytest.mark.parametrize("n", [1, 2, 5, 32, 576, 4096])
@pytest.mark.parametrize("epsilon", [1, 1000, (1 << 32) - 1])
def test_rms_is_near_exact(n, epsilon):
    x = all_kinds(n)
    v = n * (x * x).sum(axis=1, keepdims=True) + epsilon
    z = n * x / np.sqrt(v.astype(np.float64))
    zq = normalise(x, epsilon=epsilon, rms=True)
    assert (np.abs(zq - 4096 * z) <= 1 + 4096 * np.abs(z) * 2.0**-16).all()
    # What the hardware's widths hold.
    assert zq.min() >= -1 << 19 and zq.max() < 1 << 19
    scale = row_scale(x, epsilon=epsilon, rms=True)
    assert not scale.mean.any() and not scale.offset.any()
    assert scale.gain.min() >= 1 << 16 and scale.gain.max() < 1 << 17
    assert scale.shift.min() >= 0 and scale.shift.max() <= 25


@pytest.mark.parametrize("n", [5, 64, 576, 2048])
@pytest.mark.parametrize("deviation", [0.4, 3, 100, 9000])
def test_rms_is_within_one_of_the_float_layer(n, deviation):
    rng = np.random.default_rng(n)
    x = np.clip(np.rint(rng.normal(0.5, deviation, (50, n))), LOW, HIGH).astype(np.int64)
    x[:, 0] += 1  # no row of zeros
    gamma = rng.integers(-(1 << 12), (1 << 12) + 1, n)
    exact = x / np.sqrt((x * x).mean(axis=1, keepdims=True) + 1 / n**2) * gamma / 4
    y = layernorm(x, gamma, np.zeros(n, int), shift=14, epsilon=1, rms=True)
    assert np.abs(y - exact).max() <= 1


@pytest.mark.parametrize("n", [1, 3, 27, 4096])
def test_rms_is_as_documented(n):
    """Element by element, in Python's integers."""
    x = norm_rows(np.random.default_rng(n), 20, n)
    for row, zq in zip(x.tolist(), normalise(x, epsilon=7, rms=True).tolist(), strict=True):
        v = n * sum(value * value for value in row) + 7
        half = (v.bit_length() + 1) // 2
        quotient = (n << 38 - n.bit_length()) // isqrt((v << 40) >> 2 * half)
        dropped = quotient.bit_length() - 17
        gain = min((quotient + (1 << dropped - 1)) >> dropped, (1 << 17) - 1)
        shift = max(half - n.bit_length() - dropped + 10, 0)
        for value, got in zip(row[:50], zq[:50], strict=True):
            assert got == floor(Fraction(16 * value * gain, 1 << shift) + Fraction(1, 2))


def test_rms_by_hand():
    # sqrt(mean of squares) of 3, 4, 0, 0 is 2.5; 1.2 and 1.6 with gains of 100.
    y = layernorm([[3000, 4000, 0, 0]], [100] * 4, [0, 1, 2, -3], shift=12, epsilon=1, rms=True)
    assert y.tolist() == [[120, 161, 2, -3]]
    # A row of one value is not 0, as it would be with its mean subtracted.
    row = {"gamma": [1, -1], "beta": [0, 0], "shift": 0, "epsilon": 1}
    assert layernorm([[LOW, LOW]], rms=True, **row).tolist() == [[-4096, 4096]]
    assert layernorm([[LOW, LOW]], **row).tolist() == [[0, 0]]
    assert layernorm([[0, 0]], rms=True, **row).tolist() == [[0, 0]]


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("n", [1, 13, 16])
def test_rms(config, n, in_place):
    words = 16 // config.lanes + 1
    place = {"x_base": 0, "x_stride": 6} if in_place else {"x_base": 100, "x_stride": 5}
    operands = {"m": 3, "n": n, "words": words, "gamma": 200, "beta": 210, "epsilon": 100} | place
    y = {"y_base": 0, "y_stride": 6, "y_slot": 50}
    ins = instruction("norm", F.RMS, shift=12, **operands, **y)
    agree(*machines(config, np.random.default_rng(n)), ins)


def test_multiply_by_hand():
    x = [100, -100, HIGH, LOW, LOW, 3]
    assert multiply_rows(x, [3, 3, HIGH, HIGH, LOW, 1], shift=1).tolist() == [
        150,
        -150,
        HIGH,
        LOW,
        HIGH,
        2,  # 1.5 is rounded up
    ]
    assert multiply_rows([-3], [1], shift=1).tolist() == [-1]  # -1.5 too
    assert multiply_rows([LOW, LOW, HIGH], [LOW, HIGH, 1], shift=15).tolist() == [HIGH, -HIGH, 1]
    assert multiply_rows([LOW, LOW], [LOW, HIGH], shift=31).tolist() == [1, 0]  # -0.49998
    assert multiply_rows([127, 128, -129], [1, 1, 1], shift=0, narrow=True).tolist() == [
        127,
        127,
        -128,
    ]


def test_complex_by_hand():
    def product(x, w, shift=0):
        return multiply_rows(x, w, shift=shift, complex_=True).tolist()

    assert product([1, 2, 3, -4], [5, 7, 0, 1]) == [5 - 14, 7 + 10, 4, 3]
    # Two products are summed before they are rounded, and the sum has 33 bits.
    assert product([1, 1], [1, 1], shift=2) == [0, 1]
    assert product([LOW, LOW], [LOW, LOW], shift=17) == [0, 1 << 14]
    assert product([LOW, LOW], [LOW, LOW], shift=16) == [0, HIGH]
    assert product([HIGH, LOW], [LOW, LOW], shift=17) == [-16384, 0]
    # A turn by a quarter keeps the size.
    assert product([LOW, 5], [0, HIGH], shift=15) == [-5, -HIGH]


@pytest.mark.parametrize("degrees", [0, 30, 90, 200])
def test_complex_turns_like_floats(degrees):
    rng = np.random.default_rng(degrees)
    x = rng.integers(-20000, 20001, (6, 32))
    turn = np.exp(1j * np.radians(degrees) * np.arange(1, 17))
    w = np.clip(np.rint(turn.view(np.float64) * (1 << 15)), LOW, HIGH).astype(np.int64)
    exact = (x.astype(np.float64).view(np.complex128) * turn).view(np.float64)
    y = multiply_rows(x, np.broadcast_to(w, x.shape), shift=15, complex_=True)
    assert np.abs(y - exact).max() < 2


MULTIPLY = {"x_base": 0, "x_stride": 9, "w_base": 100, "y_base": 200, "y_stride": 7, "y_slot": 50}


@pytest.mark.parametrize(
    "flags", [NONE, F.COMPLEX, F.NARROW, F.KEEP_EXPONENT, F(4096 + 48)], ids=str
)
@pytest.mark.parametrize(("period", "w_stride"), [(0, 6), (1, 1), (2, 0), (4, 0), (9, 6)])
def test_multiply(config, flags, period, w_stride):
    rng = np.random.default_rng(period)
    size = {"m": 5, "words": 5, "period": period, "w_stride": w_stride}
    for shift in (0, 11, 31):
        agree(
            *machines(config, rng), instruction("multiply", flags, **size, **MULTIPLY, shift=shift)
        )


def test_multiply_in_place(config):
    place = {"x_base": 200, "x_stride": 7}
    ins = instruction("multiply", m=5, words=6, shift=15, **(MULTIPLY | place))
    agree(*machines(config, np.random.default_rng(1)), ins)
    # A square, of rows that are all the same.
    place = {"w_base": 0, "x_stride": 0}
    ins = instruction("multiply", m=5, words=7, shift=15, **(MULTIPLY | place))
    agree(*machines(config, np.random.default_rng(2)), ins)


def test_argmax_by_hand():
    rows = [[3, 9, 9, -1], [LOW] * 4, [LOW, LOW, LOW, LOW + 1], [HIGH] * 4]
    value, index = argmax(rows, first=10)
    assert value.tolist() == [9, LOW, LOW + 1, HIGH]
    assert index.tolist() == [11, 10, 13, 10]
    assert argmax([[0, 1]], first=(1 << 32) - 1)[1].tolist() == [0]
    # What is held wins where it is as large.
    value, index = argmax(rows, first=10, held=([9, LOW, LOW, 0], [1, 2, 3, (1 << 32) - 1]))
    assert value.tolist() == [9, LOW, LOW + 1, HIGH]
    assert index.tolist() == [1, 2, 13, 10]


@pytest.mark.parametrize("width", [1, 3, 7, 50])
def test_argmax_in_parts_is_argmax(width):
    rng = np.random.default_rng(width)
    x = rng.integers(-4, 5, (30, 50))
    held = None
    for start in range(0, 50, width):
        held = argmax(x[:, start : start + width], first=start, held=held)
    assert held is not None
    np.testing.assert_array_equal(held[0], x.max(axis=1))
    np.testing.assert_array_equal(held[1], np.argmax(x, axis=1))


@pytest.mark.parametrize("first", [0, 40_000, 123_456_789])
@pytest.mark.parametrize("n", [1, 7, 16])
def test_argmax(config, n, first):
    words = 16 // config.lanes + 1
    rng = np.random.default_rng(n)
    golden, plain, memory = machines(config, rng)
    x = rng.integers(-3, 3, golden.state.scratchpad.words[:100].shape)
    golden.state.scratchpad.words[:100] = x
    plain.scratchpad[:100] = x.tolist()
    places = {"m": 6, "n": n, "words": words, "y_base": 200, "y_stride": 2, "y_slot": 50}
    agree(
        golden,
        plain,
        memory,
        instruction("argmax", x_base=0, x_stride=words, first=first, **places),
        instruction("argmax", F.CONTINUE, x_base=7, x_stride=words, first=first + n, **places),
        instruction("argmax", F.CONTINUE, x_base=300, x_stride=3, first=first + 2 * n, **places),
    )


BY_WORD = {"m": 2, "words": 2, "shift": 4, "w_base": 100, "w_stride": 2, "y_base": 200}


@pytest.mark.parametrize(
    ("ins", "message"),
    [
        (instruction("multiply", words=1), "MULTIPLY: m must be 1 to 65535, not 0"),
        (instruction("multiply", m=1), "words must be 1 to 65535, not 0"),
        (instruction("multiply", **(BY_WORD | {"shift": 32})), "shift must be 0 to 31, not 32"),
        (instruction("multiply", **BY_WORD, x_base=511), "scratchpad word 512 does not exist"),
        (instruction("multiply", **BY_WORD, y_slot=255), "exponent slot 256 does not exist"),
        (instruction("multiply", **BY_WORD, x_base=201), "result must not overlap x"),
        (instruction("multiply", **(BY_WORD | {"w_base": 197})), "result must not overlap w"),
        (
            instruction("multiply", **(BY_WORD | {"w_base": 200}), x_base=200),
            "result must not overlap w",
        ),
        (
            instruction("multiply", **BY_WORD, x_base=200, x_stride=1, y_stride=1),
            "rows of a result must not overlap",
        ),
        (
            instruction("norm", F.RMS, m=2, n=8, words=2, x_stride=1, y_stride=1, epsilon=1),
            "rows of a result must not overlap",
        ),
        (instruction("argmax", words=1, n=1), "ARGMAX: m must be 1 to 65535, not 0"),
        (instruction("argmax", m=1, n=1), "words must be 1 to 65535, not 0"),
        (instruction("argmax", m=1, words=2), "n must be 1 to 8, not 0"),
        (instruction("argmax", m=1, words=2, n=9), "n must be 1 to 8, not 9"),
        (instruction("argmax", m=1, words=2, n=8, y_base=1), "result must not overlap x"),
        (instruction("argmax", m=1, words=1, n=4), "result must not overlap x"),
        (
            instruction("argmax", F.CONTINUE, m=2, words=1, n=4, y_base=9),
            "rows of a result must not overlap",
        ),
    ],
    ids=str,
)
def test_undefined_operands_are_refused(ins, message):
    memory = bytearray(SQUARE.on_chip_bytes)
    memory[:64] = ins.encode()
    with pytest.raises(ProgramError, match=f"^instruction at 0x0, .*{message}"):
        GoldenMachine(SQUARE, memory).run()


def test_twins_reject_wrong_operands():
    for call, message in [
        (
            lambda: multiply_rows([32768], [0], shift=0),
            "^x must be between -32768 and 32767, not 32768",
        ),
        (
            lambda: multiply_rows([0], [-32769], shift=0),
            "^w must be between -32768 and 32767, not -3276",
        ),
        (lambda: multiply_rows([0], [0], shift=32), "^shift must be between 0 and 31, not 32$"),
        (
            lambda: multiply_rows([0], [0], shift=0, complex_=True),
            "^rows of complex numbers must have an even width, not 1$",
        ),
        (lambda: argmax([[]]), "^rows must have at least 1 element, not 0$"),
        (lambda: argmax([[1]], first=1 << 32), "^first must be between 0 and 4294967295, not"),
        (lambda: argmax([[32768]]), "^x must be between"),
        (lambda: argmax([[1]], held=([1], [-1])), "^held index must be between 0 and"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
