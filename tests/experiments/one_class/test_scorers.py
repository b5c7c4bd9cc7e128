"""Scorers that are fitted to templates only."""

import numpy as np
import pytest

from conf.schema import OneClassConfig
from experiments.one_class.scorers import scorers


@pytest.mark.parametrize("name", ["k_nn", "one_class_svm", "isolation_forest", "gaussian_mixture"])
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
