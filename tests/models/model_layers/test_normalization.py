"""Standardisation whose mean follows the inputs of training steps."""

import keras
import numpy as np
import pytest

from models.model_layers import Normalization
from models.model_layers.normalization import IMAGES
from training.initialization import set_statistics

MEAN, VARIANCE = np.array([1.0, -2.0, 3.0], np.float32), 4.0


@pytest.fixture
def model():
    inputs = keras.Input((3,))
    made = keras.Model(inputs, Normalization(name="standardize")(inputs))
    set_statistics(made, MEAN, VARIANCE)
    return made


@pytest.fixture
def layer(model):
    return model.get_layer("standardize")


def batch(size: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(size).normal(shift, 1.0, (size, 3)).astype(np.float32)


@pytest.mark.parametrize("follows, training", [(False, True), (True, False), (False, False)])
def test_the_mean_stays_unless_it_follows_and_the_model_trains(model, layer, follows, training):
    layer.follows, x = follows, batch(16)
    np.testing.assert_allclose(model(x, training=training), (x - MEAN) / 2, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(layer.adapt_mean, MEAN)


@pytest.mark.parametrize("size", [1, 16, IMAGES, 2 * IMAGES])
def test_a_step_moves_the_mean_by_the_share_of_its_batch(model, layer, size):
    layer.follows, x = True, batch(size, shift=5.0)
    y = model(x, training=True)
    expected = MEAN + min(1.0, size / IMAGES) * (x.mean(axis=0) - MEAN)
    np.testing.assert_allclose(layer.adapt_mean, expected, rtol=1e-5)
    np.testing.assert_allclose(y, (x - expected) / 2, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(layer.adapt_variance, np.full(3, VARIANCE))


def test_a_common_shift_of_all_inputs_disappears(model, layer):
    layer.follows = True
    for _ in range(80):
        model(MEAN + 7.0 + 0 * batch(16), training=True)
    np.testing.assert_allclose(model(MEAN[None] + 7.0), np.zeros((1, 3)), atol=0.002)


def test_the_mean_follows_in_a_compiled_step_and_inference_uses_it(model, layer):
    layer.follows = True
    model.compile("sgd", "mse")
    x = batch(IMAGES, shift=2.0)
    before = model.predict(x, verbose=0)
    model.train_on_batch(x, x)
    after = model.predict(x, verbose=0)
    assert abs(before.mean(axis=0)).min() > 0.1
    np.testing.assert_allclose(after.mean(axis=0), 0, atol=1e-5)


def test_no_gradient_passes_through_the_mean(layer):
    import tensorflow as tf

    layer.follows, x = True, tf.constant(batch(IMAGES))
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = keras.ops.sum(layer(x, training=True)[0])
    expected = np.zeros((IMAGES, 3), np.float32)
    expected[0] = 0.5
    np.testing.assert_allclose(tape.gradient(loss, x), expected)


def test_a_saved_model_keeps_the_mean(model, layer, tmp_path):
    layer.follows = True
    model(batch(16), training=True)
    model.save(tmp_path / "model.keras")
    x = batch(5)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(x), model(x))
    np.testing.assert_array_equal(loaded(x, training=True), model(x))  # it follows no more


def test_the_weights_are_those_of_keras_normalization(model, tmp_path):
    inputs = keras.Input((3,))
    plain = keras.Model(inputs, keras.layers.Normalization(name="standardize")(inputs))
    model.save_weights(tmp_path / "a.weights.h5")
    plain.load_weights(tmp_path / "a.weights.h5")
    np.testing.assert_allclose(plain(batch(4)), model(batch(4)), rtol=1e-6)
