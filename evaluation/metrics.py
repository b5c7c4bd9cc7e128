"""Classification metrics."""

import numpy as np

from evaluation.calibration import calibration_error

MIN_PROBABILITY = 1e-12  # smaller probabilities are clipped before the logarithm


def classification_metrics(
    probabilities: np.ndarray, labels: np.ndarray, levels: dict[str, list[str]] | None = None
) -> dict[str, float]:
    """Returns accuracy, cross-entropy, calibration error, and the numbers of images and classes.

    All of them are means over the images. "classes" is the number of classes that have images. With
    fewer than six classes, top-5 accuracy is 1. A prediction that has a NaN is wrong, and its label
    has probability 0. For each level, such as "coarse", "coarse_accuracy" counts the images whose
    most probable class belongs to the group of the true class. `evaluation/calibration.py` defines
    the calibration error.

    Args:
        probabilities: Probabilities of the classes, (n, classes).
        labels: True labels, integers, (n,).
        levels: The name of the group of each class, by level. Default: `None`, no levels.

    Raises:
        ValueError: the shapes are others, or a label is not the index of a class.
    """
    labels = _indices(probabilities, np.asarray(labels))
    probabilities = probabilities.astype(np.float64)
    valid = ~np.isnan(probabilities).any(axis=1)
    true = np.where(valid, probabilities[np.arange(len(labels)), labels], 0)
    # Ties count against the true class, so a constant model scores nothing.
    rank = (probabilities >= true[:, None]).sum(axis=1) - 1
    best = probabilities.argmax(axis=1)
    coarser = {}
    for level, names in (levels or {}).items():
        groups = np.array(names)
        coarser[f"{level}_accuracy"] = float(np.mean(valid & (groups[best] == groups[labels])))
    return {
        "accuracy": float(np.mean(valid & (best == labels))),
        **coarser,
        "top5_accuracy": float(np.mean(valid & (rank < 5))),
        "loss": float(-np.log(np.maximum(true, MIN_PROBABILITY)).mean()),
        "calibration_error": calibration_error(probabilities, labels),
        "pictures": len(labels),
        "classes": len(np.unique(labels)),
    }


def _indices(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise ValueError(
            "`probabilities` must have the shape (n, classes) and `labels` the shape (n,). "
            f"Received: {probabilities.shape}, {labels.shape}"
        )
    classes = probabilities.shape[1]
    if not ((labels >= 0) & (labels < classes) & (labels == np.rint(labels))).all():
        raise ValueError(f"`labels` must be integers from 0 to {classes - 1}. Received: {labels}")
    return labels.astype(np.int64)
