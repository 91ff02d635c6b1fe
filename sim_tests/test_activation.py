# amaranth: UnusedElaboratable=no
"""The table activation against its twin, and the twin against the functions themselves."""

import json
import math

import numpy as np
import pytest
from amaranth import unsigned
from harness import simulate

from celosia.config import PRESETS
from celosia.cores.activation import TableActivation
from celosia.golden.activation import FUNCTIONS, apply_table, error_bound, make_table

ARGUMENTS = np.arange(-32768, 32768)


@pytest.mark.parametrize("columns", [4, 8])
def test_matches_golden(columns, tmp_path):
    config = PRESETS["tiny"].replace(name=f"c{columns}", columns=columns)
    dut = TableActivation(config, unsigned(9))
    assert dut.latency == 7
    environment = {"CONFIG": json.dumps(config.to_dict()), "LATENCY": dut.latency}
    simulate(dut, "tb_activation", tmp_path, **environment)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("input_scale", "output_scale"),
    [(1 / 4096, 1 / 4096), (1 / 2048, 1 / 1024), (3e-4, 1e-4), (1e-3, 1.0)],
)
def test_error_is_within_the_bound(function, input_scale, output_scale):
    value, slope = make_table(function, input_scale, output_scale)
    ends = np.append(value, value[-1] + slope[-1])
    inside = np.repeat((np.abs(ends[:-1]) < 32767) & (np.abs(ends[1:]) < 32767), 256)
    assert inside.mean() > 0.3
    exact = np.array([FUNCTIONS[function][0](x * input_scale) for x in ARGUMENTS.tolist()])
    error = np.abs(apply_table(ARGUMENTS, value, slope) - exact / output_scale)[inside]
    bound = error_bound(function, input_scale, output_scale)
    assert error.max() <= bound
    # The bound says something: the error of a chord is at least a third of what it allows.
    assert error.max() >= (bound - 1) / 3


def test_results_that_do_not_fit_saturate():
    value, slope = make_table("identity", 1.0, 0.25)
    y = apply_table(ARGUMENTS, value, slope)
    np.testing.assert_array_equal(y[ARGUMENTS <= -8192], -32768)
    np.testing.assert_array_equal(y[ARGUMENTS >= 8192], 32767)
    np.testing.assert_array_equal(y[32768 - 7936 : 32768 + 7936], 4 * np.arange(-7936, 7936))
    value, slope = np.full(256, 32767), np.full(256, 32767)
    assert apply_table([-32768, -1], value, slope).tolist() == [32767, 32767]


def test_functions_have_their_known_values():
    known = {
        "gelu": (1.0, 0.8413447460685429),
        "gelu_tanh": (1.0, 0.8411919906082768),
        "quick_gelu": (1.0, 0.8457957659328212),
        "silu": (1.0, 0.7310585786300049),
        "relu": (-1.0, 0.0),
        "tanh": (0.5, 0.46211715726000973),
        "sigmoid": (2.0, 0.8807970779778823),
        "identity": (-3.0, -3.0),
    }
    assert known.keys() == FUNCTIONS.keys()
    for name, (x, y) in known.items():
        assert math.isclose(FUNCTIONS[name][0](x), y, rel_tol=1e-12)
        assert math.isfinite(FUNCTIONS[name][0](-1e6)) and math.isfinite(FUNCTIONS[name][0](1e6))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_curvature_is_a_bound(function):
    call, bound = FUNCTIONS[function]
    step = 1e-3
    # Not across the bend of ReLU.
    starts = [x for x in np.arange(-12, 12, step) if function != "relu" or abs(x) > step]
    bend = [(call(x - step) - 2 * call(x) + call(x + step)) / step**2 for x in starts]
    assert np.abs(bend).max() <= bound + 1e-6


def test_rejects_wrong_arguments():
    with pytest.raises(ValueError, match=r"^function must be one of gelu, .*, not 'swish'$"):
        make_table("swish", 1.0, 1.0)
    with pytest.raises(ValueError, match=r"^output_scale must be positive and finite, not 0\.0$"):
        make_table("gelu", 1.0, 0.0)
    with pytest.raises(ValueError, match=r"^value and slope must have 256 entries, not \(2,\)"):
        apply_table([0], [0, 0], [0, 0])
