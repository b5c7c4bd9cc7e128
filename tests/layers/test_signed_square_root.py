import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from layer_references import value_and_gradient

from layers import SignedSquareRoot


def test_config_and_shape():
    layer = SignedSquareRoot(1e-6, normalize=True)
    assert SignedSquareRoot.from_config(layer.get_config()).get_config() == layer.get_config()
    assert layer.compute_output_shape((None, 3, 4)) == (None, 3, 4)
    with pytest.raises(ValueError, match=r"Received: 0$"):
        SignedSquareRoot(0)


@given(arrays.arrays("float32", (3, 5), elements=st.floats(-1e6, 1e6, width=32)))
def test_value(x):
    expected = np.sign(x) * np.sqrt(np.abs(x))
    np.testing.assert_allclose(SignedSquareRoot()(x), expected, rtol=1e-6, atol=1.01e-4)
    normalized = np.asarray(SignedSquareRoot(normalize=True)(x))
    norm = np.sqrt(np.abs(x.astype("float64")).sum(1, keepdims=True))
    expected = np.divide(expected, norm, where=norm > 1e-14, out=np.zeros_like(expected))
    np.testing.assert_allclose(normalized, expected, rtol=1e-5, atol=2e-4)


@pytest.mark.parametrize("normalize", [False, True])
def test_gradient_by_finite_differences(normalize):
    rng = np.random.default_rng(0)
    x, upstream, direction = rng.normal(size=(3, 2, 4, 5))
    layer = SignedSquareRoot(normalize=normalize)

    def reference(x):
        z = np.sign(x) * np.sqrt(np.abs(x))
        return z / np.linalg.norm(z, axis=(1, 2), keepdims=True) if normalize else z

    _, gradient = value_and_gradient(layer, x.astype("float32"), upstream.astype("float32"))
    step = 1e-7
    ahead, behind = reference(x + step * direction), reference(x - step * direction)
    expected = np.sum(upstream * (ahead - behind)) / (2 * step)
    np.testing.assert_allclose(np.sum(gradient * direction), expected, rtol=1e-4)


@pytest.mark.parametrize("epsilon", [1e-8, 1e-4])
def test_the_gradient_at_zero_is_bounded(epsilon):
    x = np.array([[0.0, 1e-30, -1e-30, 1.0]], "float32")
    _, gradient = value_and_gradient(SignedSquareRoot(epsilon), x, np.ones_like(x))
    np.testing.assert_allclose(gradient[0, :3], 0.5 / np.sqrt(epsilon), rtol=1e-5)
    _, gradient = value_and_gradient(SignedSquareRoot(epsilon, normalize=True), x, np.ones_like(x))
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e6, 1e12])
def test_the_normalized_form_does_not_depend_on_the_scale(scale):
    rng = np.random.default_rng(1)
    x, upstream = rng.normal(size=(2, 2, 6, 6)).astype("float32")
    layer = SignedSquareRoot(normalize=True)
    value, gradient = value_and_gradient(layer, x, upstream)
    scaled, scaled_gradient = value_and_gradient(layer, x * np.float32(scale), upstream)
    np.testing.assert_allclose(scaled, value, rtol=1e-5)
    np.testing.assert_allclose(scaled_gradient * scale, gradient, rtol=1e-3, atol=1e-5)


def test_a_zero_sample_gives_zero_and_nan_stays_in_its_sample():
    x = np.array([[0, 0, 0], [1, -2, 3], [np.nan, 1, 1]], "float32")
    value, gradient = value_and_gradient(SignedSquareRoot(normalize=True), x, np.ones_like(x))
    np.testing.assert_array_equal(value[0], 0)
    np.testing.assert_array_equal(gradient[0], 0)
    np.testing.assert_allclose(np.linalg.norm(value[1]), 1, rtol=1e-6)
    assert np.isfinite(gradient[1]).all() and np.isnan(value[2]).all()


@pytest.mark.parametrize("normalize", [False, True])
def test_half_precision(normalize):
    x = np.array([[-4.0, 0.0, 9.0, 3e4]], "float16")
    layer = SignedSquareRoot(normalize=normalize, dtype="float16")
    value, gradient = value_and_gradient(layer, x, np.ones_like(x))
    expected = SignedSquareRoot(normalize=normalize)(x.astype("float32"))
    np.testing.assert_allclose(value, expected, rtol=1e-3)
    assert value.dtype == "float16" and np.isfinite(gradient).all()
