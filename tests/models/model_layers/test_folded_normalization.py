"""Folded batch norm gives the maps and the gradients of the model that it is folded in."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.backbones import ARCHITECTURES
from models.model_layers import InferenceMode
from models.model_layers.folded_normalization import FoldedModel

SMALL = [
    "mobilenet_v2",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("resnet50", "resnet50_v2", "densenet121", "efficientnet_v2_b0")
    ),
]


def with_statistics(model: keras.Model) -> keras.Model:
    """Sets every weight of the batch norms to random values, as training would."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    return model


def images(side: int = 32) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(2, side, side, 3)).astype("float32")


def small_model(*layers: keras.layers.Layer) -> keras.Model:
    inputs = maps = keras.Input((8, 8, 3))
    for layer in layers:
        maps = layer(maps)
    return with_statistics(keras.Model(inputs, maps))


@pytest.mark.parametrize("name", SMALL)
def test_maps_of_an_architecture(name):
    model = ARCHITECTURES[name].build(include_top=False, weights=None, input_shape=(32, 32, 3))
    folded = FoldedModel(with_statistics(model))
    expected = model(images(), training=False).numpy()
    assert len(folded.norms) >= 30
    error = np.linalg.norm(folded(images()) - expected) / np.linalg.norm(expected)
    assert error < 1e-5


@pytest.mark.parametrize(
    "convolution",
    [
        keras.layers.Conv2D(6, 3, use_bias=False),
        keras.layers.Conv2D(6, 3, strides=2, padding="same", bias_initializer="normal"),
        keras.layers.Conv2D(6, 3, groups=3, dilation_rate=2),
        keras.layers.DepthwiseConv2D(3, depth_multiplier=2),
        keras.layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False),
    ],
)
@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False}])
def test_gradients_of_every_weight(convolution, options):
    layer = type(convolution).from_config(convolution.get_config())
    model = small_model(layer, keras.layers.BatchNormalization(**options), keras.layers.ReLU())
    folded = FoldedModel(model)
    assert len(folded.norms) == 1

    def gradients(call):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(call(images(8)) ** 2)
        return tape.gradient(loss, [weight.value for weight in model.trainable_weights])

    expected = gradients(lambda inputs: model(inputs, training=False))
    for gradient, other in zip(gradients(folded), expected, strict=True):
        np.testing.assert_allclose(gradient, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "layers",
    [
        [keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.BatchNormalization()],
        [keras.layers.BatchNormalization(), keras.layers.Conv2D(4, 3)],
        [keras.layers.Conv2D(6, 3), keras.layers.BatchNormalization(axis=1)],
    ],
)
def test_what_cannot_be_folded_is_computed_as_it_is(layers):
    model = small_model(*layers)
    folded = FoldedModel(model)
    assert not folded.norms
    np.testing.assert_array_equal(folded(images(8)), model(images(8), training=False))


def test_a_convolution_that_others_read_too_is_not_folded():
    inputs = keras.Input((8, 8, 3))
    maps = keras.layers.Conv2D(4, 3, padding="same")(inputs)
    model = keras.Model(inputs, maps + keras.layers.BatchNormalization()(maps))
    folded = FoldedModel(with_statistics(model))
    assert not folded.norms
    np.testing.assert_array_equal(folded(images(8)), model(images(8), training=False))


def test_layers_of_several_inputs_that_do_not_merge_them_are_computed_as_they_are():
    inputs = keras.Input((8, 8, 3))
    maps = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(inputs))
    tokens = keras.layers.Reshape((36, 4))(maps)
    attended = keras.layers.Attention()([tokens, tokens])
    model = with_statistics(keras.Model(inputs, attended))
    assert not FoldedModel(model).norms


def test_subclasses_of_convolutions_are_computed_as_they_are():
    class Scaled(keras.layers.Conv2D):
        def call(self, maps):
            return 2 * super().call(maps)

    model = small_model(Scaled(4, 3), keras.layers.BatchNormalization())
    np.testing.assert_array_equal(FoldedModel(model)(images(8)), model(images(8), training=False))


def test_mixed_precision_is_computed_as_it_is():
    layers = [keras.layers.Conv2D, keras.layers.BatchNormalization]
    model = small_model(layers[0](4, 3, dtype="mixed_bfloat16"), layers[1](dtype="mixed_bfloat16"))
    assert not FoldedModel(model).norms


def test_the_saved_layer_has_the_weights_of_the_model(tmp_path):
    model = small_model(keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization())
    inputs = keras.Input((8, 8, 3))
    whole = keras.Model(inputs, InferenceMode(model)(inputs))
    whole.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert [w.shape for w in loaded.weights] == [w.shape for w in model.weights]
    np.testing.assert_array_equal(loaded(images(8)), whole(images(8)))
