# amaranth: UnusedElaboratable=no
"""The systolic array against its twin: as emitted, and as the netlist that synthesis makes."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from harness import simulate

from celosia.config import PRESETS, MachineConfig
from celosia.cores.pe_kinds import KINDS
from celosia.cores.systolic import SystolicArray
from celosia.golden.systolic import matmul_nt


def sized(rows: int, columns: int) -> MachineConfig:
    name = f"{rows}x{columns}"
    return PRESETS["tiny"].replace(name=name, rows=rows, columns=columns, attention_rows=4)


def environment(dut: SystolicArray, kind: str = "multiply") -> dict[str, object]:
    config, sums = dut.config, dut.o.data
    products = len(KINDS[kind].products)
    return {
        "ROWS": config.rows,
        "COLUMNS": config.columns,
        "LATENCY": dut.latency,
        "KIND": kind,
        "PRODUCTS": products,
        "WIDTH": len(sums.as_value()) // (config.columns * products),
        "SPARSITY": config.sparsity,
    }


@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (8, 4), (4, 16), (2, 8)])
def test_matches_golden(rows, columns, tmp_path):
    config = sized(rows, columns)
    dut = SystolicArray(config)
    assert dut.latency == rows + columns + 2
    simulate(dut, "tb_systolic", tmp_path, **environment(dut))


@pytest.mark.parametrize(("rows", "columns"), [(3, 5), (8, 8)])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_matches_golden(kind, rows, columns, tmp_path):
    # Also what no machine is made of.
    config: Any = SimpleNamespace(rows=rows, columns=columns, row_lanes=rows, sparsity=1)
    dut = SystolicArray(config, kind)
    simulate(dut, "tb_systolic", tmp_path, **environment(dut, kind))


@pytest.mark.parametrize(
    ("kind", "rows", "columns", "m"),
    [("multiply", 4, 4, 4), ("packed", 8, 16, 4), ("multiply", 8, 8, 8), ("packed", 4, 32, 8)],
)
def test_sparse_tiles_match_golden(kind, rows, columns, m, tmp_path):
    dut = SystolicArray(sized(rows, columns).replace(sparsity=m), kind)
    simulate(dut, "tb_systolic", tmp_path, **environment(dut, kind))


def test_twin_is_the_exact_product():
    config = sized(8, 4)
    rng = np.random.default_rng(0)
    x, w = rng.integers(-128, 256, (5, 8)), rng.integers(-128, 128, (4, 8))
    expected = [[sum(int(a) * int(b) for a, b in zip(p, q, strict=True)) for q in w] for p in x]
    np.testing.assert_array_equal(matmul_nt(config, x, w), expected)
    assert matmul_nt(config, x[:0], w).shape == (0, 4)


@pytest.mark.parametrize("rows", [2, 4, 8, 16, 32, 64])
def test_sums_fit_the_width(rows):
    config = sized(rows, 4)
    low, high = -255 * 128 * rows, 255 * 127 * rows
    limit = 1 << (config.psum_width - 1)
    assert -limit <= low and high < limit <= 2 * high


def test_twin_rejects_wrong_operands():
    config = sized(8, 4)
    x, w = np.zeros((3, 8), int), np.zeros((4, 8), int)
    with pytest.raises(ValueError, match=r"^w must have the shape \(4, 8\), not \(3, 8\)$"):
        matmul_nt(config, x, x)
    with pytest.raises(ValueError, match=r"^x must have the shape \(3, 8\), not \(3, 4\)$"):
        matmul_nt(config, x[:, :4], w)
    with pytest.raises(ValueError, match=r"^x must be between -128 and 255, not 0 to 256$"):
        matmul_nt(config, x + np.eye(3, 8, dtype=int) * 256, w)
    with pytest.raises(ValueError, match=r"^w must be between -128 and 127, not 0 to 128$"):
        matmul_nt(config, x, w + np.eye(4, 8, dtype=int) * 128)
