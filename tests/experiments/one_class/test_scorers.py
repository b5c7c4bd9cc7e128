"""Scorers that are fitted to templates only."""

import numpy as np
import pytest

from conf.schema import OneClassConfig
from experiments.one_class.scorers import scorers

SCORERS = ["k_nn", "one_class_svm", "isolation_forest", "gaussian_mixture"]
TYPES = [np.float16, np.float32, np.float64]


@pytest.mark.parametrize("name", SCORERS)
@pytest.mark.parametrize("templates", [2, 30])
def test_vectors_like_the_templates_score_higher(name, templates):
    rng = np.random.default_rng(0)
    near, far = rng.normal(size=(20, 5)), rng.normal(size=(20, 5)) + 8
    score = scorers(OneClassConfig(), 0)[name]
    scores = score(rng.normal(size=(templates, 5)), np.concatenate([near, far]))
    assert scores.shape == (40,) and np.isfinite(scores).all()
    if templates > 2:
        assert scores[:20].min() > scores[20:].max()


@pytest.mark.parametrize("neighbours", [1, 3, 99])
def test_k_nn_is_the_mean_distance_to_the_nearest_templates(neighbours):
    rng = np.random.default_rng(0)
    templates, vectors = rng.normal(size=(6, 4)), rng.normal(size=(3, 4))
    distances = np.sort(np.linalg.norm(vectors[:, None] - templates[None], axis=2), axis=1)
    scores = scorers(OneClassConfig(neighbours=neighbours), 0)["k_nn"](templates, vectors)
    np.testing.assert_allclose(scores, -distances[:, :neighbours].mean(axis=1))


def templates_and_vectors(kind):
    """Templates, and 20 vectors that are near to them, followed by 20 that are not."""
    rng = np.random.default_rng(0)
    templates = rng.normal(size=(1 if kind == "one" else 20, 5))
    if kind.startswith("identical"):
        templates[:] = templates[0]
    vectors = np.concatenate([rng.normal(size=(20, 5)) / 2, rng.normal(size=(20, 5)) + 8])
    if "constant dimension" in kind:
        templates[:, 2] = vectors[:, 2] = 0.7
    if kind.endswith("far from 0"):
        templates, vectors = templates + 100.3, vectors + 100.3
    return templates, vectors


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    "kind",
    [
        "one",
        "identical",
        "identical, far from 0",
        "constant dimension",
        "constant dimension, far from 0",
    ],
)
@pytest.mark.parametrize("name", SCORERS)
def test_templates_without_variance_can_be_compared_with(name, kind, dtype):
    templates, vectors = (array.astype(dtype) for array in templates_and_vectors(kind))
    scores = scorers(OneClassConfig(), 0)[name](templates, vectors)
    assert np.isfinite(scores).all()
    if name == "isolation_forest" and len(np.unique(templates, axis=0)) == 1:
        assert len(np.unique(scores)) == 1  # such templates cannot be split
    else:
        assert scores[:20].min() > scores[20:].max()


@pytest.mark.parametrize("scale", [1e-20, 1e18])
@pytest.mark.parametrize("name", ["k_nn", "one_class_svm", "gaussian_mixture"])
def test_very_small_and_very_large_vectors(name, scale):
    templates, vectors = (
        (scale * array).astype(np.float32) for array in templates_and_vectors("usual")
    )
    scores = scorers(OneClassConfig(), 0)[name](templates, vectors)
    assert scores[:20].min() > scores[20:].max()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", SCORERS)
def test_a_vector_that_is_not_finite_scores_least_and_such_a_template_is_ignored(
    name, dtype, value
):
    score = scorers(OneClassConfig(), 0)[name]
    templates, vectors = (array.astype(dtype) for array in templates_and_vectors("usual"))
    usual = score(templates, vectors)
    templates = np.concatenate([templates, np.full((1, 5), value, dtype)])
    vectors[3, 1] = value
    scores = score(templates, vectors)
    np.testing.assert_allclose(np.delete(scores, 3), np.delete(usual, 3))
    assert np.isfinite(scores[3]) and scores.argmin() == 3
    assert len(np.unique(score(templates[-1:], vectors))) == 1  # nothing to compare with


def test_vectors_equally_far_from_all_templates_have_equal_scores():
    rng = np.random.default_rng(0)
    for scale in (1, 64**-0.5):
        codes = scale * np.sign(rng.normal(size=(80, 64)))
        templates, vectors = codes[:20], codes[20:]
        differ = (vectors[:, None] != templates).sum(axis=2).min(axis=1)
        scores = scorers(OneClassConfig(), 0)["k_nn"](templates, vectors)
        assert len(np.unique(scores)) == len(np.unique(differ))
