"""Calibration: probabilities that agree with how often the predictions are right.

Temperature scaling (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017) divides all
logits by one number T, which does not change the most probable class. It makes probabilities of the
decision values of support vector machines too.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq, minimize_scalar
from scipy.special import log_softmax, logsumexp, softmax

BINS = 15  # of equal width, as in the paper
TEMPERATURES = (0.01, 100.0)  # the smallest and the largest
STARTS = 21  # temperatures from which the minimum is searched; one of them is 1
DRAWS = 1000  # of labels, for `chance_range`


class Reliability(NamedTuple):
    """Accuracy and mean confidence by bins of the confidence, each of shape (bins,).

    The confidence is the probability of the most probable class. A bin includes its upper edge.

    Attributes:
        images: number of images.
        accuracy: share of right predictions; 0 in an empty bin.
        confidence: mean confidence; 0 in an empty bin.
    """

    images: np.ndarray
    accuracy: np.ndarray
    confidence: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error, see `calibration_error`."""
        gaps = np.abs(self.accuracy - self.confidence)
        return float(np.sum(self.images * gaps) / np.sum(self.images))


def view_probabilities(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Returns the softmax of `logits / temperature`, averaged over views, (n, classes).

    Args:
        logits: Logits of one view or more of each image, (views, n, classes).
        temperature: Default: 1.
    """
    with np.errstate(invalid="ignore"):  # of infinite logits, which give NaN
        return softmax(logits / temperature, axis=-1).mean(axis=0)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Returns the temperature with the largest likelihood of the labels, from 0.01 to 100.

    It minimises the cross-entropy of `view_probabilities(logits, T)`, summed over the images, plus
    (log T)² / 2. This weak prior (log T is normal, with mean 0 and variance 1) decides where the
    likelihood does not: if no prediction is wrong, it would grow until T is 0. The cross-entropy is
    never larger than with T = 1.

    Images with a logit that is not finite are left out. Without images, T is 1.

    Args:
        logits: Logits of one view or more of each image, (views, n, classes).
        labels: True labels, integers, (n,).
    """
    finite = np.isfinite(logits).all(axis=(0, 2))
    logits, labels = logits[:, finite].astype(np.float64), labels[finite]
    if not len(labels):
        return 1.0

    def cost(log_temperature: float) -> float:
        log_softmaxes = log_softmax(logits * np.exp(-log_temperature), axis=-1)
        of_labels = log_softmaxes[:, np.arange(len(labels)), labels]
        log_likelihood = np.sum(logsumexp(of_labels, axis=0) - np.log(len(logits)))
        return log_temperature**2 / 2 - log_likelihood

    # For one view the cross-entropy is convex in 1 / T. With the prior, or for the mean of several
    # views, there may be two minima.
    starts = np.log(np.geomspace(*TEMPERATURES, STARTS))
    best = int(np.argmin([cost(start) for start in starts]))
    bracket = starts[[max(best - 1, 0), min(best + 1, STARTS - 1)]]
    minimum = minimize_scalar(cost, bounds=bracket, method="bounded", options={"xatol": 1e-8})
    return float(np.exp(minimum.x))


def softening_temperature(logits: np.ndarray, labels: np.ndarray, share: float) -> float:
    """Returns the temperature, 1 or more, with which the mean cross-entropy is at least
    `share * log(classes)`.

    Images with a logit that is not finite are left out. Without images, T is 1.

    Args:
        logits: Logits, (n, classes).
        labels: True labels, integers, (n,).
        share: Part of the loss of a classifier that gives all classes the same probability, 0 to
            1, without 1; 0: T is 1.
    """
    finite = np.isfinite(logits).all(axis=1)
    logits, labels = logits[finite].astype(np.float64), labels[finite]

    def missing(scale: float) -> float:
        log_softmaxes = log_softmax(logits * scale, axis=1)
        loss = -log_softmaxes[np.arange(len(labels)), labels].mean()
        return share * np.log(logits.shape[1]) - loss

    if not len(labels) or missing(1.0) <= 0:
        return 1.0
    # The loss is convex in 1 / T, and log(classes) at 0. So it crosses the target once.
    return 1 / brentq(missing, 0.0, 1.0)


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> Reliability:
    """Returns accuracy and mean confidence in bins of equal width of the confidence.

    A prediction that has a NaN is wrong and has confidence 0.

    Args:
        probabilities: Probabilities of the classes, (n, classes).
        labels: True labels, integers, (n,).
        bins: Number of bins. Default: 15.
    """
    confidence, right = _confidence(probabilities), probabilities.argmax(axis=1) == labels
    right &= ~np.isnan(probabilities).any(axis=1)
    bin_numbers = _bin_numbers(confidence, bins)
    images = np.bincount(bin_numbers, minlength=bins)
    accuracy, mean_confidence = (
        np.bincount(bin_numbers, values, bins) / np.maximum(images, 1)
        for values in (right, confidence)
    )
    return Reliability(images, accuracy, mean_confidence)


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> float:
    """Returns the expected calibration error, from 0 to 1.

    It is the difference of accuracy and mean confidence in a bin of `reliability`, without its
    sign, averaged over the images (Guo et al., equation 3). It depends on the number of images:
    `chance_range` says how large it would be for a perfect model.

    Args: see `reliability`.
    """
    return reliability(probabilities, labels, bins).error


def chance_range(probabilities: np.ndarray, seed: int, bins: int = BINS) -> tuple[float, float]:
    """Returns the range of the calibration error of labels that are drawn from `probabilities`.

    The 2.5% and 97.5% quantiles of 1,000 draws. A larger calibration error than these is evidence
    that the probabilities are wrong.

    Args:
        probabilities: Probabilities of the classes, (n, classes).
        seed: Seed of the draws.
        bins: Number of bins. Default: 15.
    """
    confidence, rng = _confidence(probabilities), np.random.default_rng(seed)
    bin_numbers = _bin_numbers(confidence, bins)
    errors = []
    for _ in range(DRAWS):
        right = rng.random(len(confidence)) < confidence  # whether the most probable class is drawn
        errors.append(np.abs(np.bincount(bin_numbers, right - confidence, bins)).sum())
    low, high = np.quantile(errors, [0.025, 0.975]) / len(confidence)
    return float(low), float(high)


def _confidence(probabilities: np.ndarray) -> np.ndarray:
    """Returns the largest probability of each image, float64; 0 if there is a NaN."""
    return np.nan_to_num(probabilities.max(axis=1).astype(np.float64), nan=0.0)


def _bin_numbers(confidence: np.ndarray, bins: int) -> np.ndarray:
    return np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
