# amaranth: UnusedElaboratable=no
"""Products of rows against their twin, and the twin against Python's integers."""

import json

import numpy as np
import pytest
from harness import simulate

from celosia.config import PRESETS
from celosia.cores.row_functions import RowFunctions
from celosia.golden.multiply_rows import multiply_rows


@pytest.mark.parametrize(
    ("lanes", "vector_lanes"), [(8, 2), (4, 4), (16, 16), (4, 1), (16, 1), (16, 4)]
)
def test_matches_golden(lanes, vector_lanes, tmp_path):
    config = PRESETS["tiny"].replace(
        name=f"l{lanes}v{vector_lanes}", rows=lanes, vector_lanes=vector_lanes, attention_rows=4
    )
    design = RowFunctions(config)
    simulate(design, "tb_multiply_rows", tmp_path, CONFIG=json.dumps(config.to_dict()))


@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("narrow", [False, True])
def test_twin_is_as_documented(complex_, narrow):
    """Element by element, in Python's integers."""
    rng = np.random.default_rng(3)
    x, w = rng.integers(-32768, 32768, (2, 40, 6)) >> rng.integers(0, 15, (2, 40, 1))
    limit = 128 if narrow else 32768
    for shift in (0, 1, 7, 15, 31):
        y = multiply_rows(x, w, shift=shift, complex_=complex_, narrow=narrow)
        for a, b, got in zip(x.tolist(), w.tolist(), y.tolist(), strict=True):
            for k in range(0, 6, 2):
                products = [complex(*a[k : k + 2]) * complex(*b[k : k + 2])]
                exact = [a[k] * b[k], a[k + 1] * b[k + 1]]
                if complex_:
                    exact = [int(products[0].real), int(products[0].imag)]  # below 2^53
                expected = [(2 * t + (1 << shift)) >> shift + 1 for t in exact]
                assert got[k : k + 2] == [max(-limit, min(limit - 1, t)) for t in expected]
