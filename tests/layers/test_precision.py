"""Every layer computes in its compute dtype and precision, whatever the type of its input."""

import every_layer
import keras
import numpy as np
import pytest
from spectral_references import assert_meets_the_contract

from layers import BilinearPooling, SecondOrderPooling, SpectralPooling, precision

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


# Products that a GPU rounds to TF32


def exact_layers():
    return [
        SecondOrderPooling(root="exact"),
        SecondOrderPooling(root="newton_schulz", triangular=True),
        SpectralPooling("log"),
        SpectralPooling("max_exp", 3, method="products"),
    ]


MAPS = np.random.default_rng(1).normal(size=(2, 5, 6)).astype("float32")


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="only JAX has it per operation")
@pytest.mark.parametrize("layer", exact_layers(), ids=lambda layer: layer.name)
def test_all_products_of_jax_have_the_highest_precision(layer):
    import jax

    def norm(x):
        return jax.numpy.sum(layer(x) ** 2)

    text = str(jax.make_jaxpr(jax.value_and_grad(norm))(MAPS))
    products = text.count("dot_general[")
    assert products >= 4
    assert text.count("precision=(Precision.HIGHEST, Precision.HIGHEST)") == products


@pytest.fixture
def rounding(monkeypatch):
    """A GPU that rounds products of float32, as far as the layers can see."""
    monkeypatch.setattr(precision, "rounds_products", lambda x: True)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX has it per operation")
@pytest.mark.parametrize("layer", exact_layers(), ids=lambda layer: layer.name)
def test_products_that_are_rounded_give_one_warning(layer, rounding):
    with pytest.warns(UserWarning, match="rounded to TF32.*For exact ones call") as caught:
        layer(MAPS)
    assert len(caught) == 1


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow's switch")
def test_the_switch_of_tensorflow_is_seen(monkeypatch):
    import tensorflow as tf

    experimental = tf.config.experimental
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [kind])
    enabled = experimental.tensor_float_32_execution_enabled()
    try:
        for value in (True, False):
            experimental.enable_tensor_float_32_execution(value)
            assert precision.rounds_products(MAPS) == value
    finally:
        experimental.enable_tensor_float_32_execution(enabled)


def on_gpu():
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return bool(tf.config.list_logical_devices("GPU"))
    if keras.backend.backend() == "jax":
        import jax

        return jax.default_backend() == "gpu"
    import torch

    return torch.cuda.is_available()


@pytest.mark.skipif(not on_gpu(), reason="needs a GPU")
@pytest.mark.parametrize("method", ["eigh", "products"])
def test_the_contract_holds_on_a_gpu(method):
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_tensor_float_32_execution(False)
    x = np.maximum(np.random.default_rng(2).normal(size=(2, 196, 256)), 0)
    assert_meets_the_contract(SpectralPooling(method=method), x)
