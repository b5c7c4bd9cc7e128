import numpy as np
import pytest
from layer_references import value_and_gradient

from layers import TriangularVectorization


def symmetric(rng, size, batch=2):
    a = rng.normal(size=(batch, size, size)).astype("float32")
    return a + np.swapaxes(a, 1, 2)


def test_the_order_never_changes():
    """The weights of saved classifiers depend on it. Never change this test."""
    a = np.arange(16, dtype="float32").reshape(1, 4, 4)
    r = 2**0.5
    expected = [[0, 1 * r, 2 * r, 3 * r, 5, 6 * r, 7 * r, 10, 11 * r, 15]]
    np.testing.assert_allclose(TriangularVectorization()(a), expected, rtol=1e-6)


def test_shape_config_and_errors():
    layer = TriangularVectorization()
    assert layer.compute_output_shape((None, 7, 7)) == (None, 28)
    assert TriangularVectorization.from_config(layer.get_config()).get_config()
    with pytest.raises(ValueError, match=r"Received: shape=\(2, 3, 4\)"):
        layer(np.ones((2, 3, 4), "float32"))


def test_it_keeps_inner_products():
    one, other = (symmetric(np.random.default_rng(seed), 9) for seed in (0, 1))
    layer = TriangularVectorization()
    vectors = np.asarray(layer(one)) * np.asarray(layer(other))
    np.testing.assert_allclose(vectors.sum(1), (one * other).sum((1, 2)), rtol=1e-4)


def test_gradient():
    rng = np.random.default_rng(2)
    upstream = rng.normal(size=(2, 10)).astype("float32")
    _, gradient = value_and_gradient(TriangularVectorization(), symmetric(rng, 4), upstream)
    expected = np.zeros((2, 4, 4), "float32")
    rows, columns = np.triu_indices(4)
    expected[:, rows, columns] = upstream * np.where(rows == columns, 1, 2**0.5)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)
