"""Classification metrics, and their intervals."""

import numpy as np

from evaluation.bootstrap import Interval, bootstrap_intervals
from evaluation.calibration import calibration_error
from evaluation.hierarchy import Levels
from evaluation.outcomes import image_outcomes


def classification_metrics(
    probabilities: np.ndarray, labels: np.ndarray, levels: Levels | None = None, top_k: int = 5
) -> dict[str, float]:
    """Returns accuracies, macro F1, cross-entropy, calibration error, and numbers of images.

    "accuracy", "top5_accuracy" and "loss" are means over the images. "macro_accuracy" is the mean
    over the classes that have images of the accuracy on the images of the class. "macro_f1" is the
    mean of F1 over the classes that have images or are predicted. "classes" is the number of
    classes that have images. With fewer than six classes, top-5 accuracy is 1.

    For each level, such as "coarse", "coarse_accuracy" counts the images whose most probable class
    belongs to the group of the true class. With levels, "mistake_distance" is the mean of
    `hierarchical_distances` over the wrong predictions; 0 if there are none.

    A prediction that has a NaN is wrong, predicts no class, and its label has probability 0.
    `evaluation/calibration.py` defines the calibration error.

    Args:
        probabilities: Probabilities of the classes, (n, classes).
        labels: True labels, integers, (n,).
        levels: The name of the group of each class, by level. Default: `None`, no levels.
        top_k: Another k, at least 1, of a top-k accuracy beside that of 5. Default: 5, no other.

    Raises:
        ValueError: the shapes are others, or a label is not the index of a class.
    """
    outcomes = image_outcomes(probabilities, labels, levels, top_k)
    metrics = outcomes.metrics(np.arange(len(labels))[None])
    return {
        **{name: float(np.nan_to_num(value)) for name, [value] in metrics.items()},
        "calibration_error": calibration_error(probabilities.astype(np.float64), outcomes.labels),
        "pictures": len(labels),
        "classes": len(np.unique(labels)),
    }


def classification_intervals(
    probabilities: np.ndarray, labels: np.ndarray, levels: Levels | None = None, top_k: int = 5
) -> dict[str, Interval]:
    """Returns the `bootstrap_intervals` of `classification_metrics`, by name.

    The calibration error has none: resampled labels are further from the probabilities than the
    labels are, so that its interval would be too high. `chance_range` judges it.

    Args: see `classification_metrics`.
    """
    outcomes = image_outcomes(probabilities, labels, levels, top_k)
    return bootstrap_intervals(outcomes.metrics, len(labels))
