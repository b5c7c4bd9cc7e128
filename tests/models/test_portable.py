"""A portable model has the outputs of the original, by matrix products alone."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conf.schema import CompactMethod, Function, HeadConfig, Pooling
from errors import UserError
from layers import SecondOrderPooling, SpectralPooling
from models.heads import build_descriptor
from models.model_layers import InferenceMode
from models.portable import PortablePooling, portable


def relative_error(actual, expected) -> float:
    expected = np.asarray(expected, np.float64)
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


POOLING = [
    SecondOrderPooling(root=None),
    SecondOrderPooling(root="newton_schulz", triangular=True),
    SecondOrderPooling(root="exact", centered=True, triangular=True),
    SpectralPooling("root", epsilon=1e-3, augmented=True, triangular=True),
    SpectralPooling("power", 0.25),
    SpectralPooling("power", 0.5, centered=True),
    SpectralPooling("max_exp", 20, centered=True),
]


@settings(deadline=None)
@given(
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(1, 20),
    st.sampled_from([1e-4, 1.0, 1e4]),
    st.sampled_from(POOLING),
    st.integers(0, 99),
)
def test_portable_pooling_equals_the_layer(height, width, channels, scale, pooling, seed):
    maps = scale * np.random.default_rng(seed).normal(size=(3, height, width, channels))
    maps = np.maximum(maps, 0).astype(np.float32) + np.float32(1e-3 * scale)
    expected = np.asarray(pooling(maps))
    actual = np.asarray(PortablePooling(pooling, "float64")(maps))
    size = np.abs(maps).max()  # a centred map of one position is rounding error
    assert np.abs(actual - expected).max() <= 1e-5 * max(np.abs(expected).max(), 1e-2 * size)


@pytest.mark.parametrize("epsilon", [0.0, 1e-7, 1e-5, 1e-3, 1e-1])
@pytest.mark.parametrize("shape", [(3, 3, 24), (5, 5, 12)])
@pytest.mark.parametrize("dtype, bound", [("float64", 1e-5), ("float32", 1e-4)])
def test_every_epsilon_can_be_exported(dtype, bound, shape, epsilon):
    maps = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    pooling = SecondOrderPooling(root="exact", epsilon=epsilon)
    error = relative_error(PortablePooling(pooling, dtype)(maps), pooling(maps))
    assert error < (bound if epsilon else 1e-2)  # 0 becomes 1e-7


def test_the_precision_matrix_is_portable_in_float64():
    maps = np.random.default_rng(1).normal(size=(2, 4, 4, 20)).astype(np.float32)
    pooling = SpectralPooling("inverse", centered=True)
    assert relative_error(PortablePooling(pooling, "float64")(maps), pooling(maps)) < 1e-5


@pytest.mark.parametrize("function", ["root", "inverse"])
def test_a_zero_map_stays_zero(function):
    pooled = PortablePooling(SpectralPooling(function))(np.zeros((1, 2, 2, 3)))
    np.testing.assert_array_equal(pooled, 0)


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


def test_functions_that_need_an_eigendecomposition_are_rejected():
    head = HeadConfig(name="log", pooling=Pooling.spectral, function=Function.log)
    model = complete(build_descriptor(head, (8, 8, 6), 0))
    with pytest.raises(UserError, match=r"head\.function=log: only the formats keras and"):
        portable(model)
