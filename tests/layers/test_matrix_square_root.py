import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax_cases import examples
from layer_references import (
    HAS_FLOAT64,
    compiled,
    newton_schulz,
    relative_error,
    value_and_gradient,
)

from layers import MatrixSquareRoot, SecondOrderPooling


def semidefinite(rng, size, eigenvalues, batch=2):
    basis = np.linalg.qr(rng.normal(size=(batch, size, size)))[0]
    return (basis * eigenvalues) @ np.swapaxes(basis, 1, 2)


def test_shape_and_config():
    layer = MatrixSquareRoot("newton_schulz", 3, 1e-4)
    assert layer.compute_output_shape((None, 4, 4)) == (None, 4, 4)
    assert MatrixSquareRoot.from_config(layer.get_config()).get_config() == layer.get_config()


@pytest.mark.parametrize("options", [{"method": "svd"}, {"iterations": 0}, {"epsilon": -1}])
def test_an_error_ends_with_the_value_received(options):
    (value,) = options.values()
    with pytest.raises(ValueError, match=f"Received: {value!r}$"):
        MatrixSquareRoot(**options)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4)])
def test_matrices_that_are_not_square_are_refused(shape):
    with pytest.raises(ValueError, match="square matrices"):
        MatrixSquareRoot()(np.ones(shape, "float32"))


@examples(40)
@given(
    size=st.integers(1, 16),
    decay=st.floats(0, 3),
    exponent=st.integers(-8, 8),
    seed=st.integers(0, 99),
)
def test_the_root_squared_is_the_matrix(size, decay, exponent, seed):
    rng = np.random.default_rng(seed)
    a = semidefinite(rng, size, np.geomspace(1, 10.0**-decay, size)) * 10.0**exponent
    root = np.asarray(MatrixSquareRoot(epsilon=0.0)(a.astype("float32")), "float64")
    assert relative_error(root @ root, a) < 1e-5


@pytest.mark.parametrize("kind", ["exact", "newton_schulz"])
def test_second_order_pooling_gives_the_same_root(kind):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 20, 8)).astype("float32")
    upstream = rng.normal(size=(2, 8, 8)).astype("float32")

    def in_two_steps(x):
        return MatrixSquareRoot(kind)(SecondOrderPooling()(x))

    value, gradient = value_and_gradient(in_two_steps, x, upstream)
    expected, expected_gradient = value_and_gradient(SecondOrderPooling(root=kind), x, upstream)
    assert relative_error(value, expected) < 1e-5
    assert relative_error(gradient, expected_gradient) < 1e-4


def test_newton_schulz_against_float64():
    a = semidefinite(np.random.default_rng(1), 12, np.geomspace(1, 1e-3, 12))
    value = MatrixSquareRoot("newton_schulz", 4)(a.astype("float32"))
    assert relative_error(value, newton_schulz(a, 4)) < 5e-6


@pytest.mark.skipif(not HAS_FLOAT64, reason="this backend computes in float32")
@pytest.mark.parametrize("method", ["exact", "newton_schulz"])
def test_gradient_by_finite_differences(method):
    rng = np.random.default_rng(2)
    a = semidefinite(rng, 6, np.array([1, 1, 0.5, 0.1, 1e-2, 1e-2]))
    direction, upstream = rng.normal(size=(2, 2, 6, 6))
    direction += np.swapaxes(direction, 1, 2)
    layer = MatrixSquareRoot(method, epsilon=1e-3, dtype="float64")
    _, gradient = value_and_gradient(layer, a, upstream)
    ahead, behind = (np.asarray(layer(a + sign * 1e-6 * direction)) for sign in (1, -1))
    expected = np.sum(upstream * (ahead - behind)) / 2e-6
    np.testing.assert_allclose(np.sum(gradient * direction), expected, rtol=1e-6)


@pytest.mark.parametrize("method", ["exact", "newton_schulz"])
def test_zero_and_nan_matrices(method):
    a = np.stack([np.eye(3), np.zeros((3, 3)), np.full((3, 3), np.nan)]).astype("float32")
    layer = MatrixSquareRoot(method, iterations=20, epsilon=0.0)
    value, gradient = value_and_gradient(layer, a, np.ones((3, 3, 3), "float32"))
    np.testing.assert_allclose(value[0], np.eye(3), atol=1e-6)
    np.testing.assert_array_equal(value[1], 0)
    assert np.isfinite(gradient[:2]).all()
    assert np.isnan(value[2]).all()


@pytest.mark.filterwarnings("ignore:.*eigendecomposition")
@pytest.mark.parametrize("method", ["exact", "newton_schulz"])
def test_xla_and_half_precision(method):
    a = semidefinite(np.random.default_rng(3), 5, np.linspace(0.1, 1, 5)).astype("float32")
    layer = MatrixSquareRoot(method)
    assert relative_error(compiled(layer)(a), np.asarray(layer(a))) < 1e-5
    half = MatrixSquareRoot(method, dtype="float16")(a.astype("float16"))
    assert relative_error(np.asarray(half, "float32"), np.asarray(layer(a))) < 2e-3
