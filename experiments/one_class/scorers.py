"""Four scorers of one-class classification. They are fitted to the templates of a class only."""

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


def scorers(config: OneClassConfig, seed: int) -> dict[str, Scorer]:
    """Returns functions from templates (n, D) and vectors (m, D) to similarity scores (m,)."""

    def k_nn(templates, vectors):
        count = min(config.neighbours, len(templates))
        nearest = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(templates)
        return -nearest.kneighbors(vectors)[0].mean(axis=1)

    def one_class_svm(templates, vectors):
        return OneClassSVM(nu=OUTLIERS).fit(templates).decision_function(vectors)

    def isolation_forest(templates, vectors):
        return IsolationForest(random_state=seed).fit(templates).score_samples(vectors)

    def gaussian_mixture(templates, vectors):
        ridge = max(RIDGE * float(templates.var(axis=0).mean()), 1e-12)
        mixture = GaussianMixture(1, covariance_type="diag", reg_covar=ridge, random_state=seed)
        return mixture.fit(templates).score_samples(vectors)

    return {
        "k_nn": k_nn,
        "one_class_svm": one_class_svm,
        "isolation_forest": isolation_forest,
        "gaussian_mixture": gaussian_mixture,
    }
