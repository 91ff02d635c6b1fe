# amaranth: UnusedElaboratable=no
"""The pipelined reciprocal, exhaustively, and its twin."""

import numpy as np
import pytest
from harness import simulate

from celosia.cores.divide import PipelinedReciprocal
from celosia.golden.divide import reciprocal


@pytest.mark.parametrize(
    ("width", "bits_per_stage", "latency"), [(15, 1, 14), (15, 2, 7), (6, 3, 2), (2, 1, 1)]
)
def test_every_divisor(width, bits_per_stage, latency, tmp_path):
    dut = PipelinedReciprocal(width, bits_per_stage=bits_per_stage)
    assert dut.latency == latency
    simulate(dut, "tb_divide", tmp_path, WIDTH=width, LATENCY=latency)


def test_twin_on_every_normalised_denominator():
    denominators = np.arange(1 << 14, 1 << 15)
    rcp, shift = reciprocal(denominators)
    assert rcp.tolist() == [((1 << 29) - 1) // int(value) for value in denominators]
    assert rcp.min() >= 1 << 14 and rcp.max() < 1 << 15
    assert set(shift) == {29}


@pytest.mark.parametrize("length", range(1, 24))
def test_twin_is_near_the_inverse(length):
    denominators = np.unique(np.linspace(1 << length - 1, (1 << length) - 1, 1000).astype(int))
    rcp, shift = reciprocal(denominators)
    assert set(shift) == {14 + length}
    error = rcp * 2.0**-shift * denominators - 1
    # The divisor's floor makes it larger by up to 2^-14, the quotient's smaller by 2^-14.
    assert np.abs(error).max() <= 2**-13


def test_twin_rejects_zero():
    with pytest.raises(ValueError, match=r"^denominators must be positive, not 0$"):
        reciprocal(np.array([3, 0]))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((1, 1), ValueError, "width must be at least 2, not 1"),
        ((15, 0), ValueError, "bits_per_stage must be at least 1, not 0"),
        ((True, 1), TypeError, "width must be an integer, not True"),
        ((15, 1.5), TypeError, r"bits_per_stage must be an integer, not 1\.5"),
    ],
)
def test_rejects_parameters(arguments, error, message):
    width, bits_per_stage = arguments
    with pytest.raises(error, match=f"^PipelinedReciprocal {message}$"):
        PipelinedReciprocal(width, bits_per_stage=bits_per_stage)
