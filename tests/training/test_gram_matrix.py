"""Inner products of samples, added up block by block."""

import numpy as np
import pytest

from training.gram_matrix import BLOCK, column_blocks, gram_matrix


@pytest.mark.parametrize("dimensions", [1, BLOCK, 2 * BLOCK + 3])
def test_blocks_cover_every_dimension_once(dimensions):
    columns = np.arange(dimensions)
    blocks = [columns[block] for block in column_blocks(dimensions)]
    np.testing.assert_array_equal(np.concatenate(blocks), columns)
    assert max(map(len, blocks)) <= BLOCK


def test_it_is_exact_to_float64_rounding():
    samples = np.random.default_rng(0).normal(1, 1, (5, 2 * BLOCK + 3)).astype(np.float32)
    exact = samples.astype(np.float64)
    products = gram_matrix(exact[:, columns] for columns in column_blocks(samples.shape[1]))
    assert products.dtype == np.float64
    np.testing.assert_allclose(products, exact @ exact.T, rtol=1e-13)
