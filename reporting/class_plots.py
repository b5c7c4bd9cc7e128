"""Accuracy by class, and the pairs of classes that are confused most often."""

from collections import Counter

import numpy as np
from sklearn.metrics import recall_score

from conf.schema import DataConfig
from data.datasets import Dataset
from reporting.bar_chart import draw_bars
from reporting.image_grid import WRONG, Tile, draw_image_grid, view
from reporting.rendering import render
from reporting.tables import markdown

MAX_CLASSES = 40  # classes in the bar chart, the worst ones
MAX_PAIRS = 5
SIDE = 160  # pixels of an image

ClassAccuracy = tuple[str, float, int]  # name, accuracy, number of images


def class_accuracies(
    labels: np.ndarray, predictions: np.ndarray, class_names: list[str]
) -> list[ClassAccuracy]:
    """Returns each class that has images, the least accurate first."""
    present, counts = np.unique(labels, return_counts=True)
    accuracies = recall_score(labels, predictions, labels=present, average=None)
    names = [class_names[number] for number in present]
    entries = zip(names, accuracies.tolist(), counts.tolist(), strict=True)
    return sorted(entries, key=lambda entry: entry[1])


def accuracy_markdown(accuracies: list[ClassAccuracy]) -> str:
    """Returns `class_accuracies` as a table for TensorBoard's text page."""
    lines = [[name, f"{accuracy:.3f}", str(count)] for name, accuracy, count in accuracies]
    return markdown(["class", "accuracy", "images"], lines)


def draw_accuracies(accuracies: list[ClassAccuracy], classes: int) -> np.ndarray:
    """Draws `class_accuracies` as bars; `classes` is the number of all classes."""
    shown = accuracies[:MAX_CLASSES]
    mean = np.mean([accuracy for _, accuracy, _ in accuracies])
    lacking = "" if len(accuracies) == classes else f"; {len(accuracies)} of {classes} have images"
    subset = "" if len(shown) == len(accuracies) else f", worst {len(shown)} of {len(accuracies)}"
    names = [f"{name} ({count})" for name, _, count in shown]
    figure, axes = draw_bars(names, [accuracy for _, accuracy, _ in shown], "%.2f")
    axes.set_title(f"accuracy by class{subset}; mean over classes {mean:.3f}{lacking}")
    axes.set_xlabel("accuracy on the class's test images (their number in brackets)")
    return render(figure)


def confused_pairs(labels: np.ndarray, predictions: np.ndarray) -> list[tuple[int, int, int]]:
    """Returns pairs of classes with the number of mistakes in either direction, most first."""
    wrong = labels != predictions
    pairs = np.sort(np.stack([labels[wrong], predictions[wrong]], axis=1), axis=1)
    counts = Counter((a, b) for a, b in pairs.tolist())
    return [(a, b, counts[a, b]) for a, b in sorted(counts, key=lambda p: (-counts[p], p))]


def draw_confused_pairs(
    dataset: Dataset, split: str, probabilities: np.ndarray, config: DataConfig
) -> np.ndarray:
    """Draws a row for each pair: two correct images of either class around two mistakes.

    Args:
        dataset: the data set.
        split: the split of the predictions.
        probabilities: predictions for `split`, (n, classes).
        config: how images are decoded.
    """
    indices = dataset.splits[split]
    labels, predictions = dataset.labels[indices], probabilities.argmax(axis=1)
    order = np.argsort(-probabilities.max(axis=1), kind="stable")
    names = dataset.class_names

    def two_tiles(a: int, b: int) -> list[Tile | None]:
        """The most confident predictions of class `a` as `b` or of `b` as `a`."""
        either = (labels == a) & (predictions == b) | (labels == b) & (predictions == a)
        best = order[either[order]][:2]
        return [*map(labelled, best), None, None][:2]

    def labelled(i: np.integer) -> Tile:
        image, true = view(dataset, indices[i], config), names[labels[i]]
        if labels[i] == predictions[i]:
            return Tile(image, true)
        return Tile(image, f"{true}\npredicted as\n{names[predictions[i]]}", WRONG)

    pairs = confused_pairs(labels, predictions)[:MAX_PAIRS]
    tiles = [
        tile for a, b, _ in pairs for kind in ((a, a), (a, b), (b, b)) for tile in two_tiles(*kind)
    ]
    row_labels = [f"{count} mistake{'s' if count > 1 else ''}" for _, _, count in pairs]
    legend = "correct images of one, mistakes (red), correct images of the other"
    title = f"most confused pairs of classes: {legend}" if pairs else "no mistakes"
    return draw_image_grid(title, tiles, 6, (SIDE, SIDE), row_labels)
