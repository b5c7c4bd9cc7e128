import keras
import numpy as np
import pytest
from layer_references import compiled, second_moment, value_and_gradient

from layers import CompactBilinearPooling

METHODS = ["tensor_sketch", "random_maclaurin"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("output_dim", [16, 15])
def test_shape_and_config(output_dim, method):
    layer = CompactBilinearPooling(output_dim, method, seed=3)
    assert np.shape(layer(np.ones((2, 3, 4, 5), "float32"))) == (2, output_dim)
    assert layer.compute_output_shape((2, 3, 4, 5)) == (2, output_dim)
    copy = CompactBilinearPooling.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()


def test_an_error_ends_with_the_value_received():
    with pytest.raises(ValueError, match=r"Received: 'fft'$"):
        CompactBilinearPooling(8, "fft")
    with pytest.raises(ValueError, match=r"Received: 0$"):
        CompactBilinearPooling(0)


@pytest.mark.parametrize("method", METHODS)
def test_a_drawn_seed_is_saved_with_the_layer(method):
    x = np.random.default_rng(0).normal(size=(2, 6, 5)).astype("float32")
    layer = CompactBilinearPooling(32, method)
    copy = CompactBilinearPooling.from_config(layer.get_config())
    np.testing.assert_array_equal(layer(x), copy(x))
    other = CompactBilinearPooling(32, method, seed=layer.seed + 1)
    assert not np.allclose(layer(x), other(x))


def test_the_projections_of_a_seed_never_change():
    """The weights of saved classifiers depend on them. Never change these numbers."""
    x = np.arange(1, 5, dtype="float32").reshape(1, 1, 4)
    sketch = CompactBilinearPooling(4, "tensor_sketch", seed=0)(x)
    maclaurin = CompactBilinearPooling(4, "random_maclaurin", seed=0)(x)
    np.testing.assert_allclose(sketch, [[-2.0, -28.0, -28.0, -2.0]], atol=1e-4)
    np.testing.assert_allclose(maclaurin, [[-0.0, 0.0, 8.0, 6.0]], atol=1e-4)


def test_tensor_sketch_is_a_count_sketch_of_the_second_moment():
    """Pham and Pagh add entry (i, j) of A to bin h1(i) + h2(j), with the sign s1(i) s2(j)."""
    x = np.random.default_rng(1).normal(size=(1, 6, 5)).astype("float32")
    random = np.random.RandomState(7)
    bins, signs = [], []
    for _ in range(2):
        bins.append(random.randint(11, size=5))
        signs.append(random.choice([-1.0, 1.0], size=5))
    expected = np.zeros(11)
    for i in range(5):
        for j in range(5):
            value = signs[0][i] * signs[1][j] * second_moment(x)[0, i, j]
            expected[(bins[0][i] + bins[1][j]) % 11] += value
    np.testing.assert_allclose(CompactBilinearPooling(11, seed=7)(x)[0], expected, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_inner_products_estimate_those_of_bilinear_pooling(method):
    x = np.random.default_rng(2).normal(0.5, 1, (2, 5, 8)).astype("float32")
    a, b = second_moment(x)
    vectors = (CompactBilinearPooling(256, method, seed=s)(x) for s in range(100))
    estimates = [np.dot(*np.asarray(pair)) for pair in vectors]
    error = np.std(estimates) / len(estimates) ** 0.5
    assert abs(np.mean(estimates) - np.sum(a * b)) < 4 * error


@pytest.mark.parametrize("method", METHODS)
def test_formats_gradient_and_xla(method):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(2, 3, 4, 6)).astype("float32")
    upstream = rng.normal(size=(2, 16)).astype("float32")
    layer = CompactBilinearPooling(16, method, seed=0)
    channels_first = CompactBilinearPooling(16, method, seed=0, data_format="channels_first")
    value, gradient = value_and_gradient(layer, x, upstream)
    moved = np.moveaxis(x, 3, 1).copy()
    np.testing.assert_allclose(channels_first(moved), value, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(compiled(layer)(x), value, rtol=1e-4, atol=1e-5)
    # The pooling is homogeneous of degree 2. By Euler, <x, gradient> = 2 <value, upstream>.
    np.testing.assert_allclose(np.sum(x * gradient), 2 * np.sum(value * upstream), rtol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_half_precision_and_unknown_sizes(method):
    inputs = keras.Input((None, None, 6), dtype="float16")
    layer = CompactBilinearPooling(16, method, seed=0, dtype="float16")
    model = keras.Model(inputs, layer(inputs))
    x = np.random.default_rng(4).normal(size=(2, 3, 4, 6)).astype("float16")
    value = model.predict(x, verbose=0)
    expected = CompactBilinearPooling(16, method, seed=0)(x.astype("float32"))
    assert value.dtype == "float16"
    np.testing.assert_allclose(value, expected, rtol=5e-3, atol=5e-3)
