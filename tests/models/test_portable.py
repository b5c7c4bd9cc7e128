"""A portable model has the outputs of the original, without eigendecompositions."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conf.schema import CompactMethod, Function, HeadConfig, Pooling
from errors import UserError
from layers import SecondOrderPooling
from models.heads import build_descriptor
from models.model_layers import InferenceMode
from models.portable import PortablePooling, portable, steps


def relative_error(actual, expected) -> float:
    expected = np.asarray(expected, np.float64)
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


@given(
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(1, 20),
    st.sampled_from([1e-4, 1.0, 1e4]),
    st.booleans(),
    st.sampled_from(["exact", "newton_schulz"]),
    st.integers(0, 99),
)
def test_portable_pooling_equals_the_layer(height, width, channels, scale, centered, root, seed):
    maps = scale * np.random.default_rng(seed).normal(size=(3, height, width, channels))
    maps = np.maximum(maps, 0).astype(np.float32) + np.float32(1e-3 * scale)
    pooling = SecondOrderPooling(centered=centered, root=root)
    expected = np.asarray(pooling(maps))
    actual = np.asarray(PortablePooling(pooling)(maps))
    size = np.abs(maps).max()  # a centred map of one position is rounding error
    assert np.abs(actual - expected).max() <= 2e-4 * max(np.abs(expected).max(), 1e-2 * size)


@pytest.mark.parametrize("epsilon", [1e-7, 1e-5, 1e-3, 1e-1])
def test_the_steps_suffice_for_every_epsilon(epsilon):
    maps = np.random.default_rng(0).normal(size=(2, 3, 3, 24)).astype(np.float32)
    pooling = SecondOrderPooling(root="exact", epsilon=epsilon)
    assert relative_error(PortablePooling(pooling)(maps), pooling(maps)) < 1e-3
    assert steps(epsilon) <= 26


def test_a_zero_map_stays_zero():
    pooled = PortablePooling(SecondOrderPooling(root="exact"))(np.zeros((1, 2, 2, 3)))
    assert np.abs(pooled).max() < 1e-15


def complete(descriptor: keras.Model) -> keras.Model:
    """A model from images to probabilities, nested like the model of a run."""
    images = keras.Input((10, 10, 3))
    convolution = keras.Sequential([keras.Input((10, 10, 3)), keras.layers.Conv2D(6, 3)])
    maps = InferenceMode(convolution)(images)
    logits = keras.layers.Dense(3)(descriptor(maps))
    return keras.Model(images, keras.layers.Softmax()(logits))


def test_a_portable_model_shares_the_weights_of_the_original(make_config):
    config = make_config("head=improved_bilinear").head
    model = complete(build_descriptor(config, (8, 8, 6), 0))
    images = np.random.default_rng(0).uniform(0, 255, (4, 10, 10, 3)).astype(np.float32)
    rebuilt = portable(model)
    np.testing.assert_allclose(rebuilt(images), model(images), atol=1e-4)
    assert {id(weight) for weight in rebuilt.weights} == {id(weight) for weight in model.weights}


@pytest.mark.parametrize("method", list(CompactMethod))
def test_random_maclaurin_is_portable_and_tensor_sketch_is_rejected(method):
    head = HeadConfig(name="c", pooling=Pooling.compact, output_dim=8, method=method)
    model = complete(build_descriptor(head, (8, 8, 6), 0))
    if method is CompactMethod.random_maclaurin:
        assert portable(model).output.shape == (None, 3)
    else:
        with pytest.raises(UserError, match=r"head\.method=tensor_sketch.*random_maclaurin"):
            portable(model)


def test_spectral_pooling_is_rejected():
    head = HeadConfig(name="log", pooling=Pooling.spectral, function=Function.log)
    model = complete(build_descriptor(head, (8, 8, 6), 0))
    with pytest.raises(UserError, match=r"head\.pooling=spectral: only the formats keras and"):
        portable(model)
