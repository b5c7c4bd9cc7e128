"""Which classes are hard, and which are taken for each other."""

import numpy as np
from matplotlib.figure import Figure

from conf.schema import DataConfig
from data.datasets import Dataset
from data.pictures import evaluation_view
from experiments.figures import panels, pixels, shortened

MOST_CLASSES = 40  # in the bar chart: the worst ones
MOST_PAIRS = 5


def class_accuracies(
    labels: np.ndarray, predictions: np.ndarray, class_names: list[str]
) -> list[tuple[str, float, int]]:
    """Name, share that is right and number of pictures of each class that has any, worst first."""
    found = [
        (name, float(np.mean(predictions[labels == number] == number)), int(of_class))
        for number, name in enumerate(class_names)
        if (of_class := np.sum(labels == number))
    ]
    return sorted(found, key=lambda entry: entry[1])


def accuracy_markdown(found: list[tuple[str, float, int]]) -> str:
    """`class_accuracies` as a table for TensorBoard's text page."""
    lines = [f"| {name} | {share:.3f} | {count} |" for name, share, count in found]
    return "\n".join(["| class | accuracy | pictures |", "| --- | --- | --- |", *lines])


def draw_accuracies(found: list[tuple[str, float, int]]) -> np.ndarray:
    """`class_accuracies` as bars, the worst on top."""
    shown = found[:MOST_CLASSES][::-1]
    figure = Figure(figsize=(7.5, 1.2 + 0.26 * len(shown)), layout="constrained", dpi=80)
    axes = figure.subplots()
    shares = [share for _, share, _ in shown]
    bars = axes.barh(range(len(shown)), shares, color="#4c78a8")
    labels = [f"{shortened(name)} ({count})" for name, _, count in shown]
    axes.set_yticks(range(len(shown)), labels)
    axes.bar_label(bars, [f"{share:.2f}" for share in shares], padding=3)
    mean = float(np.mean([share for _, share, _ in found]))
    left_out = "" if len(found) == len(shown) else f", the worst {len(shown)} of {len(found)}"
    axes.set(
        xlim=(0, 1.1), ylim=(-0.6, len(shown) - 0.4),
        xlabel="share of the class's test pictures that is right",
    )
    figure.suptitle(f"accuracy by class{left_out}; mean of classes {mean:.3f}", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    return pixels(figure)


def confused_pairs(labels: np.ndarray, predictions: np.ndarray) -> list[tuple[int, int, int]]:
    """Pairs of classes with mistakes between them, either way, and how many; most first."""
    wrong = labels != predictions
    pairs = np.sort(np.stack([labels[wrong], predictions[wrong]], axis=1), axis=1)
    unique, counts = np.unique(pairs, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [(int(unique[i, 0]), int(unique[i, 1]), int(counts[i])) for i in order]


def draw_confused_pairs(
    dataset: Dataset, split: str, probabilities: np.ndarray, config: DataConfig
) -> np.ndarray:
    """A row a pair: two pictures that are right of either class, and two mistakes in between."""
    rows = dataset.splits[split]
    labels, predictions = dataset.labels[rows], probabilities.argmax(axis=1)
    pairs = confused_pairs(labels, predictions)[:MOST_PAIRS]
    lines = max(1, len(pairs))
    figure = Figure(figsize=(12, 2.45 * lines + 0.6), layout="constrained", dpi=80)
    title = "classes taken for each other most often" if pairs else "no mistakes"
    figure.suptitle(f"{title}: right pictures of one, mistakes (red), right pictures of the other")
    grid = panels(figure, lines, 6)
    for axes in grid.flat:
        axes.set_axis_off()
    for line, (one, other, count) in zip(grid, pairs, strict=False):
        mistakes = np.flatnonzero(
            ((labels == one) & (predictions == other)) | ((labels == other) & (predictions == one))
        )
        mistakes = mistakes[np.argsort(-probabilities[mistakes].max(axis=1), kind="stable")]
        for cells, places, wrong in [
            (line[:2], _surest(one, labels, probabilities), False),
            (line[2:4], mistakes, True),
            (line[4:], _surest(other, labels, probabilities), False),
        ]:
            for axes, i in zip(cells, places, strict=False):
                name = dataset.pictures.name(rows[i])
                axes.imshow(evaluation_view(dataset.pictures.encoded(rows[i]), name, config))
                axes.set_title(_said(dataset, labels[i], predictions[i]), fontsize=8,
                               color="#c00000" if wrong else "black")
        line[0].annotate(
            f"{count} mistake{'s' if count > 1 else ''}", (-0.05, 0.5), xycoords="axes fraction",
            rotation=90, ha="right", va="center", fontsize=9,
        )
    return pixels(figure)


def _surest(number: int, labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Places of the right pictures of a class, the surest first."""
    right = np.flatnonzero((labels == number) & (probabilities.argmax(axis=1) == number))
    return right[np.argsort(-probabilities[right, number], kind="stable")]


def _said(dataset: Dataset, label: int, prediction: int) -> str:
    true, said = (shortened(dataset.class_names[number]) for number in (label, prediction))
    return true if label == prediction else f"{true}\ntaken for\n{said}"
