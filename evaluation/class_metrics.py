"""Metrics of each class."""

from collections import Counter
from typing import NamedTuple

import numpy as np
from sklearn.metrics import precision_recall_fscore_support


class ClassMetrics(NamedTuple):
    """Metrics of a class. A metric that is not defined is `None`.

    Attributes:
        name: the class.
        images: number of its images.
        accuracy: share of its images that are predicted right (recall); without images `None`.
        precision: share of its predictions that are right; without predictions `None`.
        f1: harmonic mean of both, 0 if no prediction is right; `None` without images and
            predictions.
        confused_with: the wrong class that its images are predicted as most often, the first one
            of equally frequent ones; without mistakes `None`.
        confused: how often.
    """

    name: str
    images: int
    accuracy: float | None
    precision: float | None
    f1: float | None
    confused_with: str | None
    confused: int


def class_metrics(
    labels: np.ndarray, predictions: np.ndarray, class_names: list[str]
) -> list[ClassMetrics]:
    """Returns the metrics of every class, in the order of `class_names`.

    Args:
        labels: True classes, (n,).
        predictions: Predicted classes, (n,); -1: none, which is wrong and no confusion.
        class_names: All classes.
    """
    classes = len(class_names)
    precisions, accuracies, f1s, images = precision_recall_fscore_support(
        labels, predictions, labels=np.arange(classes), zero_division=np.nan
    )
    wrong = (labels != predictions) & (predictions >= 0)
    confusions = Counter(zip(labels[wrong].tolist(), predictions[wrong].tolist(), strict=True))
    most: dict[int, tuple[int, int]] = {}
    for (label, other), count in sorted(confusions.items()):
        if count > most.get(label, (0, 0))[1]:
            most[label] = other, count
    return [
        ClassMetrics(
            name=name,
            images=int(images[number]),
            accuracy=_defined(accuracies[number]),
            precision=_defined(precisions[number]),
            f1=_defined(f1s[number]),
            confused_with=class_names[most[number][0]] if number in most else None,
            confused=most[number][1] if number in most else 0,
        )
        for number, name in enumerate(class_names)
    ]


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
