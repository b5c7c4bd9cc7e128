"""Where an embedding begins: principal axes of the training descriptors."""

import keras
import numpy as np
import pytest

from conf.schema import EmbeddingInit, HeadConfig
from data.inputs import MemoryInputs
from models.adapter import LowRankAdapter
from models.embedding import build_embedding
from training.initialization import initialize_embedding, set_directions
from training.standardization import standardize

UNITS = 4


def descriptors(count: int, size: int) -> np.ndarray:
    """Two views of each sample, with a few directions of large variance and a common part."""
    rng = np.random.default_rng(0)
    scales = 3.0 ** -np.arange(size)
    return (rng.normal(size=(2, count, size)) * scales + 0.5).astype(np.float32)


def begun(how: str, array: np.ndarray, views: int = 1, standardized: bool = False) -> keras.Model:
    count, size = array.shape[1:]
    head = HeadConfig(name="made", standardize=standardized, embedding=UNITS)
    model = build_embedding(head, (size,), seed=0)
    inputs, indices = MemoryInputs(np.arange(count), array), np.arange(count)
    if standardized:
        standardize(model, np.asarray, inputs, indices, 8)
    initialize_embedding(model, EmbeddingInit(how), np.asarray, inputs, indices, views, 8)
    return model


def embedded(model: keras.Model, samples: np.ndarray) -> np.ndarray:
    return model.predict(samples, verbose=0)


sizes = pytest.mark.parametrize(("count", "size"), [(8, 5), (6, 40)], ids=["tall", "wide"])


@sizes
def test_principal_axes_are_those_of_a_singular_value_decomposition(count, size):
    samples = descriptors(count, size)[0]
    found = embedded(begun("pca", descriptors(count, size)), samples)
    _, _, axes = np.linalg.svd(samples.astype(np.float64), full_matrices=False)
    signs = np.sign((found * (samples @ axes[:UNITS].T)).sum(axis=0))
    np.testing.assert_allclose(found * signs, samples @ axes[:UNITS].T, atol=2e-5)


@sizes
def test_whitened_samples_vary_alike_in_all_directions_and_have_unit_norm_on_average(count, size):
    samples = descriptors(count, size)[0]
    found = embedded(begun("whitening", descriptors(count, size)), samples)
    np.testing.assert_allclose(found.T @ found / count, np.eye(UNITS) / UNITS, atol=2e-3)


@sizes
def test_mirrored_views_are_samples_too(count, size):
    array = descriptors(count, size)
    found = embedded(begun("whitening", array, views=2), array.reshape(2 * count, size))
    np.testing.assert_allclose(found.T @ found / (2 * count), np.eye(UNITS) / UNITS, atol=2e-3)


@sizes
def test_what_stands_before_the_layer_counts(count, size):
    array = descriptors(count, size)
    found = embedded(begun("whitening", array, standardized=True), array[0])
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(found.T @ found / count, np.eye(UNITS) / UNITS, atol=2e-3)


def test_random_leaves_what_was_drawn():
    array = descriptors(8, 5)
    drawn = build_embedding(HeadConfig(name="made", standardize=False, embedding=UNITS), (5,), 0)
    np.testing.assert_array_equal(
        begun("random", array).get_layer("embedding").kernel, drawn.get_layer("embedding").kernel
    )


@pytest.mark.parametrize("how", ["pca", "whitening"])
def test_units_beyond_the_samples_stay_as_they_were_drawn(how):
    array = descriptors(2, 40)
    drawn = begun("random", array).get_layer("embedding").kernel.numpy()
    found = begun(how, array).get_layer("embedding").kernel.numpy()
    np.testing.assert_array_equal(found[:, 2:], drawn[:, 2:])
    assert (found[:, :2] != drawn[:, :2]).any()


def test_many_samples_are_thinned():
    asked = []

    class Watched(MemoryInputs):
        def evaluation(self, indices, mirrored=False):
            asked.extend(indices)
            return super().evaluation(indices, mirrored)

    model = build_embedding(HeadConfig(name="made", standardize=False, embedding=UNITS), (5,), 0)
    inputs = Watched(np.arange(30), descriptors(30, 5))
    initialize_embedding(model, EmbeddingInit.pca, np.asarray, inputs, np.arange(30), 1, 8)
    assert asked == list(range(0, 30, 4))


def directions(vectors: np.ndarray, rank: int) -> np.ndarray:
    adapter = LowRankAdapter(rank)
    adapter.build((None, vectors.shape[1]))
    set_directions(adapter, vectors)
    return adapter.down.numpy().T


@sizes
def test_an_adapter_changes_the_directions_in_which_vectors_vary_most(count, size):
    vectors = descriptors(count, size)[0]
    _, _, axes = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(directions(vectors, 3) @ axes[:3].T), np.eye(3), atol=1e-4)


def test_an_adapter_of_vectors_that_vary_in_fewer_directions_has_no_others():
    line = np.outer(np.arange(5), [0.6, 0.8, 0]).astype(np.float32)
    np.testing.assert_allclose(np.abs(directions(line, 2)), [[0.6, 0.8, 0], [0, 0, 0]], atol=1e-6)
    assert not directions(np.ones((3, 4), np.float32), 2).any()


def test_a_classifier_s_embedding_may_begin_there_too(train):
    outcome, _ = train("head.embedding=8", "head.embedding_init=whitening", "trainer.epochs=1")
    assert outcome.status == 0, outcome.errors
