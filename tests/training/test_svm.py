"""The linear SVM of frozen features agrees with a direct solution of the primal problem."""

import numpy as np
import pytest
from scipy.optimize import minimize

from training.svm import svm_path

LABELS = np.arange(36) % 3


def vectors(dimensions: int, seed: int = 0) -> np.ndarray:
    """Overlapping classes."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 1, (3, dimensions))[LABELS]
    return (centres + rng.normal(0, 1.5, (len(LABELS), dimensions))).astype(np.float32)


def primal_decisions(samples, labels, asked, strength) -> np.ndarray:
    """Decision values from min |w|^2 / 2 + C sum(slack), label (wx + b) >= 1 - slack >= 1 - ..."""
    count, dimensions = samples.shape
    decisions = []
    for label in range(3):
        signs = np.where(labels == label, 1.0, -1.0)
        margins = np.hstack([signs[:, None] * samples, signs[:, None], np.eye(count)])
        solution = minimize(
            lambda v: 0.5 * v[:dimensions] @ v[:dimensions] + strength * v[dimensions + 1 :].sum(),
            np.r_[np.zeros(dimensions + 1), np.ones(count)],
            jac=lambda v: np.r_[v[:dimensions], 0.0, np.full(count, strength)],
            bounds=[(None, None)] * (dimensions + 1) + [(0, None)] * count,
            constraints={
                "type": "ineq",
                "fun": lambda v, margins=margins: margins @ v - 1,
                "jac": lambda v, margins=margins: margins,
            },
            method="SLSQP",
            options={"maxiter": 500, "ftol": 1e-10},
        )
        assert solution.success, solution.message
        decisions.append(asked @ solution.x[:dimensions] + solution.x[dimensions])
    return np.stack(decisions, axis=1)


@pytest.mark.parametrize("dimensions", [4, 40], ids=["fewer dimensions", "fewer samples"])
def test_decision_values_are_those_of_the_primal_problem(dimensions):
    samples, asked = vectors(dimensions), vectors(dimensions, seed=1)
    strengths = [0.3, 1.0]
    solutions = list(svm_path(samples, LABELS, 3, strengths))
    for strength, (kernel, biases) in zip(strengths, solutions, strict=True):
        expected = primal_decisions(samples.astype(np.float64), LABELS, asked, strength)
        np.testing.assert_allclose(asked @ kernel + biases, expected, rtol=2e-3, atol=2e-2)
