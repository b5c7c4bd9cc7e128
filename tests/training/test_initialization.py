"""Weights that are set from training descriptors: standardisation and principal axes."""

import keras
import numpy as np
import pytest

from conf.schema import Config, DataConfig, EmbeddingInit, HeadConfig, TrainerConfig
from data.inputs import MemoryInputs
from models.embedding import build_embedding
from models.model_layers import LowRankAdapter
from training.initialization import initialize_adapter, initialize_embedding, standardize

UNITS = 4


def descriptors(count: int, size: int) -> np.ndarray:
    """Two views of each sample, with a few directions of large variance and a common mean."""
    rng = np.random.default_rng(0)
    scales = 3.0 ** -np.arange(size)
    return (rng.normal(size=(2, count, size)) * scales + 0.5).astype(np.float32)


def config_of(init: str, mirror: bool = False, standardized: bool = False) -> Config:
    return Config(
        data=DataConfig(mirror=mirror),
        head=HeadConfig(
            name="made",
            standardize=standardized,
            embedding=UNITS,
            embedding_init=EmbeddingInit(init),
        ),
        trainer=TrainerConfig(batch_size=8),
    )


def initialized(
    init: str, array: np.ndarray, mirror: bool = False, standardized: bool = False
) -> keras.Model:
    count, size = array.shape[1:]
    config = config_of(init, mirror, standardized)
    model = build_embedding(config.head, (size,), seed=0)
    inputs, indices = MemoryInputs(np.arange(count), array), np.arange(count)
    if standardized:
        standardize(model, np.asarray, inputs, indices, 8)
    initialize_embedding(config, model, np.asarray, inputs, indices)
    return model


def embedded(model: keras.Model, samples: np.ndarray) -> np.ndarray:
    return model.predict(samples, verbose=0)


@pytest.mark.parametrize("variance", [1.0, 5.0])
def test_standardised_descriptors_have_mean_0_and_the_given_total_variance(variance):
    array = descriptors(8, 5)
    model = build_embedding(HeadConfig(name="made", embedding=None), (5,), seed=0)
    standardize(model, np.asarray, MemoryInputs(np.arange(8), array), np.arange(8), 3, variance)
    standardized = embedded(model, array[0])
    np.testing.assert_allclose(standardized.mean(axis=0), 0, atol=1e-6)
    assert standardized.var(axis=0).sum() == pytest.approx(variance, rel=1e-5)


sizes = pytest.mark.parametrize(("count", "size"), [(8, 5), (6, 40)], ids=["tall", "wide"])


@sizes
def test_principal_axes_are_those_of_a_singular_value_decomposition(count, size):
    samples = descriptors(count, size)[0]
    outputs = embedded(initialized("pca", descriptors(count, size)), samples)
    _, _, axes = np.linalg.svd(samples.astype(np.float64), full_matrices=False)
    signs = np.sign((outputs * (samples @ axes[:UNITS].T)).sum(axis=0))
    np.testing.assert_allclose(outputs * signs, samples @ axes[:UNITS].T, atol=2e-5)


@sizes
def test_whitened_samples_have_equal_variances_and_unit_norm_on_average(count, size):
    samples = descriptors(count, size)[0]
    outputs = embedded(initialized("whitening", descriptors(count, size)), samples)
    np.testing.assert_allclose(outputs.T @ outputs / count, np.eye(UNITS) / UNITS, atol=2e-3)


@sizes
def test_mirrored_views_are_samples_too(count, size):
    array = descriptors(count, size)
    outputs = embedded(initialized("whitening", array, mirror=True), array.reshape(2 * count, size))
    np.testing.assert_allclose(outputs.T @ outputs / (2 * count), np.eye(UNITS) / UNITS, atol=2e-3)


@sizes
def test_the_layer_standardize_is_applied_first(count, size):
    array = descriptors(count, size)
    outputs = embedded(initialized("whitening", array, standardized=True), array[0])
    np.testing.assert_allclose(outputs.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(outputs.T @ outputs / count, np.eye(UNITS) / UNITS, atol=2e-3)


def test_random_changes_nothing():
    array = descriptors(8, 5)
    untouched = build_embedding(
        HeadConfig(name="made", standardize=False, embedding=UNITS), (5,), 0
    )
    np.testing.assert_array_equal(
        initialized("random", array).get_layer("embedding").kernel,
        untouched.get_layer("embedding").kernel,
    )


@pytest.mark.parametrize("init", ["pca", "whitening"])
def test_units_beyond_the_number_of_samples_keep_their_random_weights(init):
    array = descriptors(2, 40)
    random = initialized("random", array).get_layer("embedding").kernel.numpy()
    kernel = initialized(init, array).get_layer("embedding").kernel.numpy()
    np.testing.assert_array_equal(kernel[:, 2:], random[:, 2:])
    assert (kernel[:, :2] != random[:, :2]).any()


def test_of_many_samples_an_evenly_spaced_part_is_read():
    asked = []

    class Watched(MemoryInputs):
        def evaluation(self, indices, mirrored=False):
            asked.extend(indices)
            return super().evaluation(indices, mirrored)

    model = build_embedding(HeadConfig(name="made", standardize=False, embedding=UNITS), (5,), 0)
    inputs = Watched(np.arange(30), descriptors(30, 5))
    initialize_embedding(config_of("pca"), model, np.asarray, inputs, np.arange(30))
    assert asked == list(range(0, 30, 4))


def directions(vectors: np.ndarray, rank: int) -> np.ndarray:
    adapter = LowRankAdapter(rank)
    adapter.build((None, vectors.shape[1]))
    initialize_adapter(adapter, vectors)
    return adapter.down.numpy().T


@sizes
def test_an_adapter_changes_the_directions_in_which_vectors_vary_most(count, size):
    vectors = descriptors(count, size)[0]
    _, _, axes = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(directions(vectors, 3) @ axes[:3].T), np.eye(3), atol=1e-4)


def test_an_adapter_leaves_directions_without_variance_at_0():
    line = np.outer(np.arange(5), [0.6, 0.8, 0]).astype(np.float32)
    np.testing.assert_allclose(np.abs(directions(line, 2)), [[0.6, 0.8, 0], [0, 0, 0]], atol=1e-6)
    assert not directions(np.ones((3, 4), np.float32), 2).any()


@pytest.mark.slow
def test_a_classifier_s_embedding_can_be_whitened_too(train):
    outcome, _ = train("head.embedding=8", "head.embedding_init=whitening", "trainer.epochs=1")
    assert outcome.status == 0, outcome.errors
