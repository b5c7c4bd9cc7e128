"""Bootstrap intervals, against loops, SciPy and the theory of a mean."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from evaluation import bootstrap
from evaluation.bootstrap import bootstrap_intervals
from evaluation.metrics import classification_intervals


def mean_of(values: np.ndarray):
    return lambda indices: {"mean": values[indices].mean(axis=1)}


def test_the_interval_is_that_of_a_loop_over_resamples(monkeypatch):
    monkeypatch.setattr(bootstrap, "RESAMPLES", 100)
    rng = np.random.default_rng(0)
    probabilities, labels = rng.dirichlet(np.ones(4), 50), rng.integers(0, 4, 50)
    predicted, draws = probabilities.argmax(axis=1), np.random.default_rng(bootstrap.SEED)
    scores = []
    for _ in range(bootstrap.RESAMPLES):
        selected = draws.integers(0, 50, 50)
        scores.append(f1_score(labels[selected], predicted[selected], average="macro"))
    expected = np.quantile(scores, [0.025, 0.975])
    assert classification_intervals(probabilities, labels)["macro_f1"] == pytest.approx(expected)


def test_the_interval_of_a_mean_is_that_of_scipy_up_to_its_draws():
    values = np.random.default_rng(0).exponential(size=400)
    expected = stats.bootstrap([values], np.mean, n_resamples=20_000, method="percentile", rng=0)
    interval = bootstrap_intervals(mean_of(values), 400)["mean"]
    assert interval == pytest.approx(tuple(expected.confidence_interval), abs=0.015)


def test_about_95_of_100_intervals_contain_the_true_accuracy():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        low, high = bootstrap_intervals(mean_of(rng.random(200) < 0.8), 200)["mean"]
        covered += low <= 0.8 <= high
    assert 0.90 <= covered / 200 <= 0.98


def test_resamples_are_drawn_in_blocks_and_by_a_fixed_seed(monkeypatch):
    values = np.random.default_rng(0).random(30)
    whole = bootstrap_intervals(mean_of(values), 30)
    assert bootstrap_intervals(mean_of(values), 30) == whole
    sizes = []

    def metrics(indices: np.ndarray) -> dict[str, np.ndarray]:
        sizes.append(len(indices))
        return mean_of(values)(indices)

    monkeypatch.setattr(bootstrap, "BLOCK", 30 * 300)
    assert bootstrap_intervals(metrics, 30) == whole
    assert sizes == [300, 300, 300, 100]


def test_equal_values_have_an_interval_without_width():
    assert bootstrap_intervals(mean_of(np.ones(7)), 7) == {"mean": (1.0, 1.0)}
    assert bootstrap_intervals(mean_of(np.zeros(1)), 1) == {"mean": (0.0, 0.0)}
