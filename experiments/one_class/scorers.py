"""Four scorers of one-class classification. They are fitted to the templates of a class only.

A vector that is not finite scores less than all others, and such a template is ignored.
"""

from collections.abc import Callable

import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors
from sklearn.svm import OneClassSVM

from conf.schema import OneClassConfig

Scorer = Callable[[np.ndarray, np.ndarray], np.ndarray]
OUTLIERS = 0.1  # upper bound on the share of templates outside the one-class SVM
RIDGE = 0.1  # added to each variance, relative to the mean variance; templates are few
DECIMALS = 12  # of distances relative to the largest; equal ones differ by rounding after that


def scorers(config: OneClassConfig, seed: int) -> dict[str, Scorer]:
    """Returns functions from templates (n, D) and vectors (m, D) to similarity scores (m,)."""

    def k_nn(templates, vectors):
        count = min(config.neighbours, len(templates))
        nearest = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(templates)
        distances = nearest.kneighbors(vectors)[0].mean(axis=1)
        largest = distances.max() or 1.0
        return -np.round(distances / largest, DECIMALS) * largest

    def one_class_svm(templates, vectors):
        return OneClassSVM(nu=OUTLIERS).fit(templates).decision_function(vectors)

    def isolation_forest(templates, vectors):
        return IsolationForest(random_state=seed).fit(templates).score_samples(vectors)

    def gaussian_mixture(templates, vectors):
        origin = templates[0].astype(np.float64)  # from which identical templates differ by 0
        templates, vectors = templates - origin, vectors - origin
        if len(templates) == 1:  # the mixture requires two
            templates = templates.repeat(2, axis=0)
        ridge = RIDGE * float(templates.var(axis=0).mean()) or 1.0
        mixture = GaussianMixture(1, covariance_type="diag", reg_covar=ridge, random_state=seed)
        return mixture.fit(templates).score_samples(vectors)

    return {
        scorer.__name__: _of_finite_vectors(scorer)
        for scorer in (k_nn, one_class_svm, isolation_forest, gaussian_mixture)
    }


def _of_finite_vectors(scorer: Scorer) -> Scorer:
    """Returns `scorer` for vectors of any real type, of which some are not finite."""

    def score(templates, vectors):
        templates = _float(templates)[np.isfinite(templates).all(axis=1)]
        finite = np.isfinite(vectors).all(axis=1)
        scores = np.zeros(len(vectors))
        if len(templates) and finite.any():
            scores[finite] = scorer(templates, _float(vectors)[finite])
            scores[~finite] = scores[finite].min() - 1
        return scores

    return score


def _float(vectors: np.ndarray) -> np.ndarray:
    return vectors if vectors.dtype == np.float32 else vectors.astype(np.float64)
