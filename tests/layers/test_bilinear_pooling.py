import keras
import numpy as np
import pytest

from layers import BilinearPooling, SecondOrderPooling


def test_value_and_shape():
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(2, 3, 4, 6))
    expected = np.einsum("bhwc,bhwd->bcd", x, z) / 12
    layer = BilinearPooling()
    pair = [x.astype("float32"), z.astype("float32")]
    np.testing.assert_allclose(layer(pair), expected, rtol=1e-4, atol=1e-6)
    tokens = [each.reshape(2, 12, -1) for each in pair]
    np.testing.assert_allclose(layer(tokens), expected, rtol=1e-4, atol=1e-6)
    channels_first = BilinearPooling(data_format="channels_first")
    moved = [np.moveaxis(each, 3, 1).copy() for each in pair]
    np.testing.assert_allclose(channels_first(moved), expected, rtol=1e-4, atol=1e-6)
    assert layer.compute_output_shape([(2, 3, 4, 5), (2, 3, 4, 6)]) == (2, 5, 6)


def test_pooling_a_map_with_itself_is_second_order_pooling():
    x = np.random.default_rng(1).normal(size=(2, 3, 4, 5)).astype("float32")
    np.testing.assert_allclose(BilinearPooling()([x, x]), SecondOrderPooling()(x), rtol=1e-5)


def test_a_model_with_unknown_sizes():
    inputs = [keras.Input((None, None, 3)), keras.Input((None, None, 2))]
    model = keras.Model(inputs, BilinearPooling()(inputs))
    assert model.output_shape == (None, 3, 2)
    pair = [np.ones((2, 4, 5, 3)), np.ones((2, 4, 5, 2))]
    np.testing.assert_allclose(model.predict(pair, verbose=0), 1)


@pytest.mark.parametrize("shapes", [[(1, 2, 2, 3), (1, 2, 3, 3)], [(1, 4, 3), (1, 2, 2, 3)]])
def test_maps_with_different_positions_are_refused(shapes):
    with pytest.raises(ValueError, match="same positions"):
        BilinearPooling()([np.ones(shape, "float32") for shape in shapes])


def test_different_positions_are_refused_at_every_call():
    layer = BilinearPooling()
    layer([np.ones((1, 4, 4, 3), "float32")] * 2)
    with pytest.raises(ValueError, match="same positions"):
        layer([np.ones((1, *size, 3), "float32") for size in ((2, 8), (4, 4))])


def test_a_single_map_and_a_mask_are_refused():
    with pytest.raises(ValueError, match="a pair of feature maps"):
        BilinearPooling()(np.ones((1, 2, 2, 3), "float32"))
    tokens = keras.layers.Embedding(9, 4, mask_zero=True)(np.array([[1, 2, 0]]))
    with pytest.raises(ValueError, match="does not support masks"):
        BilinearPooling()([tokens, tokens])
