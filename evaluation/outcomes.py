"""The outcome of each image, and classification metrics of any selection of the images."""

import dataclasses

import numpy as np

from evaluation.hierarchy import Levels, groups_by_level, hierarchical_distances

MIN_PROBABILITY = 1e-12  # smaller probabilities are clipped before the logarithm


@dataclasses.dataclass(frozen=True)
class Outcomes:
    """Labels, predictions, and the values of which metrics are means.

    Attributes:
        labels: true classes, int64, (n,).
        predictions: the most probable classes, int64, (n,); -1: none, as there is a NaN.
        values: by metric, its value for each image, (n,).
        distances: see `hierarchical_distances`, (n,). `None` without levels.
    """

    labels: np.ndarray
    predictions: np.ndarray
    values: dict[str, np.ndarray]
    distances: np.ndarray | None

    def metrics(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Returns metrics of several selections of images, by name, each of shape (selections,).

        `docs/running.md` defines them. An image may be selected several times. Without mistakes
        their mean distance is NaN.

        Args:
            indices: the images of each selection, (selections, m).
        """
        means = {name: values[indices].mean(axis=1) for name, values in self.values.items()}
        metrics = {"accuracy": means.pop("accuracy"), **self._macro_metrics(indices), **means}
        if self.distances is not None:
            distances = self.distances[indices]
            mistakes = np.count_nonzero(distances, axis=1)
            total = distances.sum(axis=1, dtype=np.float64)
            nothing = np.full(len(indices), np.nan)
            metrics["mistake_distance"] = np.divide(total, mistakes, nothing, where=mistakes > 0)
        return metrics

    def _macro_metrics(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        # Other classes than these count nowhere. The number after theirs stands for no class.
        predicted = self.predictions >= 0
        classes = np.union1d(self.labels, self.predictions[predicted])
        none = len(classes)
        labels = np.searchsorted(classes, self.labels)
        predictions = np.where(predicted, np.searchsorted(classes, self.predictions), none)
        right = np.where(labels == predictions, labels, none)
        images, predictions, right = (
            _counts(numbers[indices], none + 1)[:, :none]
            for numbers in (labels, predictions, right)
        )
        recall = right / np.maximum(images, 1)
        f1 = 2 * right / np.maximum(images + predictions, 1)
        return {
            "macro_accuracy": recall.sum(axis=1) / (images > 0).sum(axis=1),
            "macro_f1": f1.sum(axis=1) / (images + predictions > 0).sum(axis=1),
        }


def image_outcomes(
    probabilities: np.ndarray, labels: np.ndarray, levels: Levels | None = None, top_k: int = 5
) -> Outcomes:
    """Returns the outcomes of predictions.

    Args: see `classification_metrics`.

    Raises:
        ValueError: the shapes are others, or a label is not the index of a class.
    """
    labels = _checked(probabilities, np.asarray(labels))
    probabilities = probabilities.astype(np.float64)
    valid = ~np.isnan(probabilities).any(axis=1)
    true = np.where(valid, probabilities[np.arange(len(labels)), labels], 0)
    # Ties count against the true class, so a constant model scores nothing.
    rank = (probabilities >= true[:, None]).sum(axis=1) - 1
    predictions = np.where(valid, probabilities.argmax(axis=1), -1)
    values = {"accuracy": predictions == labels}
    for level, groups in groups_by_level(levels or {}).items():
        values[f"{level}_accuracy"] = valid & (groups[predictions] == groups[labels])
    for k in sorted({5, top_k}):
        values[f"top{k}_accuracy"] = valid & (rank < k)
    values["loss"] = -np.log(np.maximum(true, MIN_PROBABILITY))
    distances = hierarchical_distances(labels, predictions, levels) if levels else None
    return Outcomes(labels, predictions, values, distances)


def _counts(numbers: np.ndarray, size: int) -> np.ndarray:
    """Counts each number below `size` in each selection, (selections, size)."""
    selections = np.arange(len(numbers))[:, None]
    flat = (selections * size + numbers).ravel()
    return np.bincount(flat, minlength=len(numbers) * size).reshape(len(numbers), size)


def _checked(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise ValueError(
            "`probabilities` must have the shape (n, classes) and `labels` the shape (n,). "
            f"Received: {probabilities.shape}, {labels.shape}"
        )
    classes = probabilities.shape[1]
    if not ((labels >= 0) & (labels < classes) & (labels == np.rint(labels))).all():
        raise ValueError(f"`labels` must be integers from 0 to {classes - 1}. Received: {labels}")
    return labels.astype(np.int64)
