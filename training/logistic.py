"""Multinomial logistic regression of frozen features, the usual protocol of linear probes."""

import logging
import warnings
from collections.abc import Iterator

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from data.progress import progress

TOLERANCE = 1e-7  # of the mean loss's gradient; with 1e-4, a large C ends where it starts
ITERATIONS = 1000

logger = logging.getLogger(__name__)


def logistic_path(
    samples: np.ndarray, labels: np.ndarray, classes: int, strengths: list[float]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the classifier of each C: a kernel, (d, classes), and biases, (classes,).

    It minimises |W|²/2 + C times the sum of the samples' cross-entropies by L-BFGS; the biases are
    not penalised. Each C starts from the solution of the one before it.

    Args:
        samples: float32, (n, d).
        labels: from 0 to `classes` - 1, each of them at least once, (n,).
        strengths: the values of C, ascending.
    """
    # For two classes scikit-learn fits one vector, the difference of those of both logits. Its
    # square is twice the sum of theirs.
    halves = 2 if classes == 2 else 1
    model = LogisticRegression(tol=TOLERANCE, max_iter=ITERATIONS, warm_start=True)
    with progress(len(strengths), "logistic regression", "value of C") as bar:
        for strength in strengths:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", ConvergenceWarning)
                # The threads of the loss (OpenMP) and those of the products (BLAS) would take turns
                # on the same cores, and wait for each other most of the time.
                with threadpool_limits(1, user_api="openmp"):
                    model.set_params(C=strength * halves).fit(samples, labels)
            if any(issubclass(each.category, ConvergenceWarning) for each in caught):
                logger.warning("C=%g: not converged after %d iterations", strength, ITERATIONS)
            kernel, biases = model.coef_.T, model.intercept_
            if classes == 2:
                kernel, biases = np.hstack([-kernel, kernel]) / 2, np.hstack([-biases, biases]) / 2
            yield kernel.astype(np.float32), biases.astype(np.float32)
            bar.update()
