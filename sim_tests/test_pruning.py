"""What is dropped from a matrix, against trying everything."""

from itertools import combinations

import numpy as np
import pytest
from test_rounding import layer

from celosia.compiler import pruning
from celosia.compiler.pruning import best_patterns, damped, partners, prune_blocks
from celosia.compiler.rounding import output_error


def adapted(weight, hessian, kept):
    """Return the best weights that are 0 where `kept` is not, channel by channel."""
    found = np.zeros_like(weight)
    for row, right, inside in zip(found, weight, kept, strict=True):
        if inside.any():
            part = hessian[np.ix_(inside, inside)]
            row[inside] = np.linalg.solve(part, hessian[inside] @ right)
    return found


def test_partners():
    np.testing.assert_array_equal(partners(5, 0), range(5))
    # Blocks of 4 channels, the last of them short.
    np.testing.assert_array_equal(partners(11, 2), [0, 1, 0, 1, 2, 3, 2, 3, 4, 5, 4])


@pytest.mark.parametrize(("run", "keep"), [(4, 2), (4, 1), (8, 2), (3, 2)])
@pytest.mark.parametrize("pair", [0, 2])
def test_best_patterns_tries_all(run, keep, pair):
    weight, hessian = layer(outputs=6, inputs=run, seed=run)
    hessian = damped(hessian)
    sets = partners(6, pair)
    found = best_patterns(weight.T, np.linalg.inv(hessian), keep, sets).T
    for one in np.unique(sets):
        rows = weight[sets == one]

        def cost(chosen, rows=rows):
            kept = np.zeros(rows.shape, bool)
            kept[:, list(chosen)] = True
            error = rows - adapted(rows, hessian, kept)
            return ((error @ hessian) * error).sum()

        best = min(combinations(range(run), keep), key=cost)
        for kept in found[sets == one]:
            assert tuple(np.flatnonzero(kept)) == best


def test_nothing_to_drop():
    weight, hessian = layer(inputs=8)
    assert best_patterns(weight.T, hessian, 8, partners(24, 0)).all()


@pytest.mark.parametrize("shape", [(8, 16), (16, 8), (7, 13)])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("guided", [False, True])
def test_blocks(shape, share, guided):
    weight, hessian = layer(outputs=40, inputs=64)
    found, kept = prune_blocks(weight, hessian if guided else None, shape, share)
    rows, columns = shape
    blocks = [
        kept[i : i + rows, j : j + columns]
        for i in range(0, 40, rows)
        for j in range(0, 64, columns)
    ]
    assert all(block.all() or not block.any() for block in blocks)
    assert sum(not block.any() for block in blocks) == int(share * len(blocks))
    assert not found[~kept].any()
    if guided:
        best = adapted(weight, damped(hessian), kept)
        np.testing.assert_allclose(found, best, atol=1e-8)
    else:
        np.testing.assert_allclose(found[kept], weight[kept])


def test_blocks_that_matter_stay():
    weight, hessian = layer(outputs=32, inputs=64)
    found, _ = prune_blocks(weight, hessian, (8, 8), 0.4)
    plain, kept = prune_blocks(weight, None, (8, 8), 0.4)
    ours = output_error(weight, found, hessian)
    assert ours < 0.3 * output_error(weight, plain, hessian)
    assert ours < 0.8 * output_error(weight, adapted(weight, damped(hessian), kept), hessian)


def test_one_block_is_the_best_one():
    weight, hessian = layer(outputs=24, inputs=64)
    full = damped(hessian)
    _, kept = prune_blocks(weight, hessian, (8, 16), 1 / 12)

    def cost(i, j):
        without = np.ones(weight.shape, bool)
        without[8 * i : 8 * i + 8, 16 * j : 16 * j + 16] = False
        error = weight - adapted(weight, full, without)
        return ((error @ full) * error).sum()

    i, j = min(((i, j) for i in range(3) for j in range(4)), key=lambda at: cost(*at))
    assert (~kept).sum() == 128 and not kept[8 * i : 8 * i + 8, 16 * j : 16 * j + 16].any()


def test_rounds_make_it_better(monkeypatch):
    weight, hessian = layer(outputs=32, inputs=64)
    default = output_error(weight, prune_blocks(weight, hessian, (4, 4), 0.5)[0], hessian)
    monkeypatch.setattr(pruning, "ROUNDS", 1)
    once = output_error(weight, prune_blocks(weight, hessian, (4, 4), 0.5)[0], hessian)
    assert default < 0.9 * once


def test_without_moments_magnitude_counts():
    weight, _ = layer(outputs=16, inputs=32)
    weight[:8, 8:16] *= 0.01
    weight[8:, 24:] *= 0.02
    kept = prune_blocks(weight, None, (8, 8), 0.25)[1]
    assert not kept[:8, 8:16].any() and not kept[8:, 24:].any() and (~kept).sum() == 128


def test_share_is_a_share():
    with pytest.raises(ValueError, match=r"0 to 1, not 1\.5"):
        prune_blocks(*layer(), (8, 8), 1.5)
