"""Logistic regression agrees with a direct minimisation of its objective in float64."""

import numpy as np
import pytest
from scipy.optimize import minimize

from training import logistic
from training.logistic import logistic_path


def vectors(labels: np.ndarray, dimensions: int = 40) -> np.ndarray:
    """Overlapping classes."""
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 1, (labels.max() + 1, dimensions))[labels]
    return (centres + rng.normal(0, 1.5, (len(labels), dimensions))).astype(np.float32)


def expected_logits(samples, labels, classes: int, strength: float) -> np.ndarray:
    """Minimises |W|^2 / 2 + C sum(cross-entropy); logits are equal up to a constant per sample."""
    samples = samples.astype(np.float64)
    targets = np.eye(classes)[labels]

    def objective(flat):
        weights = flat.reshape(-1, classes)
        logits = samples @ weights[:-1] + weights[-1]
        logits -= logits.max(axis=1, keepdims=True)
        sums = np.exp(logits).sum(axis=1, keepdims=True)
        loss = (np.log(sums).sum() - (targets * logits).sum()) * strength
        errors = strength * (np.exp(logits) / sums - targets)
        gradient = np.vstack([samples.T @ errors + weights[:-1], errors.sum(axis=0)])
        return loss + np.square(weights[:-1]).sum() / 2, gradient.ravel()

    start = np.zeros((samples.shape[1] + 1) * classes)
    options = {"maxiter": 10_000, "ftol": 1e-15, "gtol": 1e-9}
    solution = minimize(objective, start, jac=True, method="L-BFGS-B", options=options).x
    weights = solution.reshape(-1, classes)
    return samples @ weights[:-1] + weights[-1]


def centred(logits: np.ndarray) -> np.ndarray:
    return logits - logits.mean(axis=1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_each_strength_has_the_least_objective(classes):
    labels = np.arange(60) % classes
    samples, strengths = vectors(labels), [0.1, 1.0, 100.0]
    solutions = list(logistic_path(samples, labels, classes, strengths))
    for strength, (kernel, biases) in zip(strengths, solutions, strict=True):
        assert kernel.shape == (40, classes) and biases.shape == (classes,)
        assert kernel.dtype == biases.dtype == np.float32
        expected = expected_logits(samples, labels, classes, strength)
        logits = samples @ kernel + biases
        np.testing.assert_allclose(
            centred(logits), centred(expected), atol=1e-2 * np.abs(expected).max()
        )


def test_solutions_of_a_path_are_not_changed_by_the_next_strength():
    labels = np.arange(60) % 3
    (first, _), *_ = list(logistic_path(vectors(labels), labels, 3, [0.1, 100.0]))
    (alone, _), *_ = list(logistic_path(vectors(labels), labels, 3, [0.1]))
    np.testing.assert_array_equal(first, alone)


def test_a_solution_that_has_not_converged_is_reported(monkeypatch, caplog):
    monkeypatch.setattr(logistic, "ITERATIONS", 1)
    labels = np.arange(60) % 3
    list(logistic_path(vectors(labels), labels, 3, [10.0]))
    assert "C=10: not converged after 1 iterations" in caplog.text
