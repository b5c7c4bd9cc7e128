"""A paired comparison of two classifiers on the same images."""

import dataclasses

import numpy as np
from scipy.stats import binomtest

from evaluation.bootstrap import Interval, bootstrap_intervals


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two accuracies on the same images, and whether they differ by more than chance.

    Attributes:
        both, only_a, only_b, neither: numbers of images that both classifiers predict right, only
            one of them, or neither.
        accuracy_a, accuracy_b: accuracies.
        difference: `accuracy_a - accuracy_b`.
        interval: its 95% bootstrap interval over the images, which stay in pairs.
        p_value: of McNemar's exact test, two-sided.
    """

    both: int
    only_a: int
    only_b: int
    neither: int
    accuracy_a: float
    accuracy_b: float
    difference: float
    interval: Interval
    p_value: float


def compare(right_a: np.ndarray, right_b: np.ndarray) -> Comparison:
    """Compares two classifiers.

    McNemar's test asks whether images that only one of them predicts right are right as often for
    either. It is exact: their number has a binomial distribution. Without such images, p is 1.

    Args:
        right_a: Whether the first one predicts each image right, Boolean, (n,), n at least 1.
        right_b: The same of the second one.
    """
    only_a, only_b = int(np.sum(right_a & ~right_b)), int(np.sum(right_b & ~right_a))
    differences = right_a.astype(np.int64) - right_b
    intervals = bootstrap_intervals(
        lambda indices: {"difference": differences[indices].mean(axis=1)}, len(differences)
    )
    return Comparison(
        both=int(np.sum(right_a & right_b)),
        only_a=only_a,
        only_b=only_b,
        neither=int(np.sum(~right_a & ~right_b)),
        accuracy_a=float(right_a.mean()),
        accuracy_b=float(right_b.mean()),
        difference=float(differences.mean()),
        interval=intervals["difference"],
        p_value=float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0,
    )
