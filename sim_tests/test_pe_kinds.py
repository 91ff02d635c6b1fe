# amaranth: UnusedElaboratable=no
"""Every kind of processing element: exact for every code word and activation, as its twin."""

import math

import numpy as np
import pytest
from amaranth import Module, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from harness import simulate
from test_ecp5 import simulate_netlist

from celosia.cores.arith import delayed
from celosia.cores.folded_adder import FoldedAdder
from celosia.cores.pe_kinds import KINDS, element_kind, mode_in_use, sum_width
from celosia.errors import ConfigError
from celosia.golden.pe import KINDS as TWINS
from celosia.golden.pe import code_bits, decode, matmul_codes

WIDTH = 19


class AtRowEdge(wiring.Component):
    """One element, behind the logic that its row shares and before that of its column; ports alike
    for all kinds.
    """

    def __init__(self, kind: str) -> None:
        self.element = KINDS[kind]
        self.count = len(self.element.products)
        width = WIDTH if self.element.foot is None else WIDTH + 8
        super().__init__({
            "activation": In(signed(9)),
            "swap": In(1),
            "weight": In(self.element.weight_shape),
            "mode": In(range(max(self.element.modes, 2))),
            "load": In(1),
            **{f"addend_{n}": In(signed(WIDTH - 1)) for n in range(self.count)},
            **{f"sum_{n}": Out(signed(width)) for n in range(self.count)},
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        count = self.count
        m.submodules.pe = pe = self.element(*[WIDTH - 1] * count, *[WIDTH] * count)
        m.d.comb += [
            pe.activation.eq(self.element.prepare(self.activation)),
            pe.swap.eq(self.swap),
            pe.weight.eq(self.element.recode(self.weight, self.mode)),
            pe.weight_enable.eq(self.load),
        ]
        results = pe.sums
        if self.element.foot is not None:
            m.submodules.foot = foot = self.element.foot(*[WIDTH] * count, *[WIDTH + 8] * count)
            mode = mode_in_use(m, self.load, self.mode, self.swap)
            m.d.comb += foot.mode.eq(delayed(m, mode, pe.latency, "mode"))
            m.d.comb += [a.eq(b) for a, b in zip(foot.sums, pe.sums, strict=True)]
            results = foot.results
        for n, (addend, result) in enumerate(zip(pe.addends, results, strict=True)):
            m.d.comb += addend.eq(getattr(self, f"addend_{n}"))
            m.d.comb += getattr(self, f"sum_{n}").eq(result)
        return m


def environment(kind: str, mode: int, activations: int) -> dict[str, object]:
    element = KINDS[kind]
    foot = 0 if element.foot is None else element.foot.latency
    sums = " ".join(f"{n}:{WIDTH}" for n in range(len(element.products)))
    return {
        "KIND": kind,
        "MODE": mode,
        "LATENCY": element.latency + foot,
        "FOOT": foot,
        "SUMS": sums,
        "ACTIVATIONS": activations,
    }


CASES = [(kind, mode) for kind in KINDS for mode in range(KINDS[kind].modes)]


@pytest.mark.parametrize(("kind", "mode"), CASES)
def test_every_product_is_exact(kind, mode, tmp_path):
    simulate(AtRowEdge(kind), "tb_pe_kinds", tmp_path, **environment(kind, mode, 512))


@pytest.mark.parametrize(("kind", "mode"), CASES)
def test_netlist_is_exact(kind, mode, tmp_path):
    # The design is exact for every activation; does the netlist still do the same?
    variables = environment(kind, mode, max(32, 2048 >> code_bits(kind)))
    cells = simulate_netlist(AtRowEdge(kind), "tb_pe_kinds", tmp_path, **variables)
    assert cells["MULT18X18D"] == (kind in ("multiply", "packed"))
    assert cells["CCU2C"] > 0


def test_twins_and_elements_are_of_one_contract():
    assert set(KINDS) == set(TWINS)
    for kind, element in KINDS.items():
        assert element.modes == len(TWINS[kind])
        assert element.weight_shape.width == code_bits(kind)
        words = np.arange(1 << code_bits(kind))
        weights = [decode(kind, words, mode) for mode in range(element.modes)]
        assert max(w.shape[1] for w in weights) == len(element.products)
        for n, (low, high) in enumerate(element.products):
            values = np.concatenate([w[:, n] for w in weights if w.shape[1] > n])
            extremes = np.outer(values, (-128, 255))
            assert low <= extremes.min() and extremes.max() <= high


def test_code_words_mean_what_they_should():
    assert decode("int4", [0, 7, 8, 15])[:, 0].tolist() == [0, 7, -8, -1]
    assert decode("multiply", [0, 127, 128, 255])[:, 0].tolist() == [0, 127, -128, -1]
    assert decode("ternary", [0, 1, 2, 3])[:, 0].tolist() == [0, 1, 0, -1]
    assert decode("packed", 0x8F, 0).tolist() == [-113]
    assert decode("packed", 0x8F, 1).tolist() == [-1, -8]
    for word in range(16):  # the definition of a float: sign, two bits of exponent, one of fraction
        exponent, fraction = word >> 1 & 3, word & 1
        scale = 2.0 ** (exponent - 1) * (1 + fraction / 2) if exponent else fraction / 2
        assert decode("fp4", word)[0] == 2 * math.copysign(scale, -1 if word & 8 else 1)


def test_twin_is_the_exact_product():
    rng = np.random.default_rng(0)
    x, codes = rng.integers(-128, 256, (5, 3)), rng.integers(0, 256, (4, 3))
    found = matmul_codes("packed", x, codes, 1)
    assert found.shape == (5, 4, 2)
    for n, nibbles in enumerate((codes & 15, codes >> 4)):
        weights = np.where(nibbles > 7, nibbles - 16, nibbles)
        np.testing.assert_array_equal(found[..., n], x @ weights.T)
    with pytest.raises(ValueError, match=r"^codes must be between 0 and 15, not 0 to 16$"):
        decode("int4", [0, 16])
    with pytest.raises(ValueError, match=r"^x must be between -128 and 255, not 256 to 256$"):
        matmul_codes("int4", [[256]], [[1]])


@pytest.mark.parametrize(("product", "terms"), [((-12, 12), 1), ((-8, 7), 4), ((-1, 8), 1)])
def test_sums_fit_their_width(product, terms):
    limit = 1 << sum_width(product, terms) - 1
    low, high = product[0] * terms, product[1] * terms
    assert -limit <= low and high < limit
    assert low < -limit // 2 or high >= limit // 2


def test_an_unknown_kind_is_refused():
    with pytest.raises(ConfigError, match=r"^PE kind 'cordic' is not known; known: multiply, "):
        element_kind("cordic")


def test_a_carry_cell_cannot_do_everything():
    with pytest.raises(ValueError, match=r"^FoldedAdder second\(b, 0, 0\) must be 0$"):
        FoldedAdder(4, lambda a, b: a, lambda b, c, d: b)
