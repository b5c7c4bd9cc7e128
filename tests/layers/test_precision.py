"""Every layer computes in its compute dtype, whatever the type of its input."""

import every_layer
import keras
import numpy as np
import pytest

from layers import BilinearPooling, SecondOrderPooling

TYPES = ["bool", "uint8", "int8", "int16", "int32", "int64"]


def integers(shape, dtype):
    """Return values whose products overflow this type; matrices are positive definite."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2 if dtype == "bool" else 100, size=shape)
    if shape == every_layer.MATRICES:
        x = 20 * np.eye(shape[1]) + x % 2 + np.swapaxes(x % 2, 1, 2)
    return x.astype(dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", every_layer.EACH_CLASS)
def test_integers_give_what_floats_give(name, dtype):
    layer_class, options, shape = every_layer.EACH_CLASS[name]
    layer, x = layer_class(**options), integers(shape, dtype)
    value = layer(x)
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    np.testing.assert_array_equal(value, layer(x.astype("float32")))
    tensor = layer(keras.ops.convert_to_tensor(x))
    np.testing.assert_array_equal(tensor, value)


def test_the_second_moment_of_an_image():
    """The moment of bytes was computed modulo 256."""
    x = np.full((1, 4, 4, 3), 200, "uint8")
    np.testing.assert_array_equal(SecondOrderPooling()(x), np.full((1, 3, 3), 40000))


@pytest.mark.parametrize("types", [("uint8", "float32"), ("float32", "int32"), ("bool", "uint8")])
def test_a_pair_may_have_two_types(types):
    x, z = (integers((2, 4, 4, size), dtype) for size, dtype in zip((3, 5), types, strict=True))
    expected = BilinearPooling()([x.astype("float32"), z.astype("float32")])
    np.testing.assert_array_equal(BilinearPooling()([x, z]), expected)


@pytest.mark.parametrize("dtype", ["float64", "float16", "uint8"])
@pytest.mark.parametrize("name", every_layer.EACH_CLASS)
def test_a_functional_model_casts_its_input(name, dtype):
    layer_class, options, shape = every_layer.EACH_CLASS[name]
    inputs = keras.Input(shape[1:], dtype=dtype)
    outputs = layer_class(**options)(inputs)
    assert outputs.dtype == "float32"
    x = integers(shape, dtype)
    expected = layer_class(**options)(x.astype("float32"))
    value = keras.Model(inputs, outputs)(x)
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_large_integers_do_not_overflow_half_precision(policy):
    x = np.full((1, 4, 3), 100_000, "int32")
    layer = SecondOrderPooling(root="exact", dtype=policy)
    value = keras.ops.convert_to_numpy(keras.ops.cast(layer(x), "float32"))
    assert np.isfinite(value[:, 0, 1:]).all() or policy != "mixed_bfloat16"
    model = SecondOrderPooling(root="exact")(x)
    expected = keras.ops.cast(keras.ops.cast(model, layer.compute_dtype), "float32")
    np.testing.assert_array_equal(value, keras.ops.convert_to_numpy(expected))
