"""Plots of a model's predictions and scores, as RGB arrays."""

import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve

from conf.schema import DataConfig
from data.datasets import Dataset
from reporting.image_grid import Tile, draw_image_grid, view
from reporting.rendering import new_axes, render
from reporting.tables import METRIC_LABELS

SIDE = 212  # pixels of a mistake
SMALL_SIDE = 140  # pixels of a neighbour


def worst_mistakes(
    dataset: Dataset, split: str, probabilities: np.ndarray, config: DataConfig, most: int = 16
) -> np.ndarray:
    """Draws the most confident wrong predictions, each with the names of both classes.

    Args:
        dataset: the data set.
        split: the split of the predictions.
        probabilities: predictions for `split`, (n, classes).
        config: how images are decoded.
        most: maximum number of images.
    """
    indices = dataset.splits[split]
    labels, predictions = dataset.labels[indices], probabilities.argmax(axis=1)
    confidence = np.where(predictions == labels, -1, probabilities.max(axis=1))
    mistakes = np.sum(confidence >= 0)
    names, tiles = dataset.class_names, []
    for i in np.argsort(-confidence)[: min(most, mistakes)]:
        caption = f"{names[predictions[i]]} ({confidence[i]:.2f})\nis {names[labels[i]]}"
        tiles.append(Tile(view(dataset, indices[i], config), caption))
    title = f"most confident of {mistakes} mistakes in {len(indices)} images"
    return draw_image_grid(title, tiles, 4, (SIDE, SIDE))


def roc_curves(
    truth: np.ndarray, scores: dict[str, dict[str, np.ndarray]], title: str
) -> np.ndarray:
    """Draws a curve for each kind of features (line style) and each scorer (colour).

    Args:
        truth: whether each image is of the target class, (n,).
        scores: by kind and scorer, (n,). A larger score means more similar to the target.
        title: text above the plot.
    """
    figure, axes = new_axes(600, 600)
    axes.plot([0, 1], [0, 1], color="#cccccc", linewidth=1)
    for style, (kind, by_scorer) in zip(("--", "-"), scores.items(), strict=True):
        for number, (name, values) in enumerate(by_scorer.items()):
            false, true, _ = roc_curve(truth, values)
            label = f"{kind}, {METRIC_LABELS[name]}: {roc_auc_score(truth, values):.3f}"
            axes.plot(false, true, style, color=f"C{number}", label=label)
    limits = (-0.01, 1.01)
    axes.set(xlim=limits, ylim=limits, aspect="equal")
    axes.set(xlabel="false positive rate (aliens)", ylabel="true positive rate (targets)")
    axes.set_title(title)
    axes.legend(title="AUROC", loc="lower right", fontsize="small")
    return render(figure)


def neighbours(
    dataset: Dataset, split: str, nearest: np.ndarray, config: DataConfig, most: int = 8
) -> np.ndarray:
    """Draws some queries with their nearest images, framed green if of the query's class, else red.

    Args:
        dataset: the data set.
        split: the split of the queries and their neighbours.
        nearest: positions in `split` of each image's nearest others, nearest first, (n, k).
        config: how images are decoded.
        most: maximum number of queries, which are spread over the classes.
    """
    indices = dataset.splits[split]
    labels = dataset.labels[indices]
    by_class = np.argsort(labels, kind="stable")
    queries = by_class[:: -(-len(indices) // most)]
    hits = np.mean(labels[nearest[:, 0]] == labels)
    title = f"query and nearest images (the nearest one is correct for {hits:.1%} of all queries)"

    def tile(position: int, frame: str) -> Tile:
        name = dataset.class_names[labels[position]]
        return Tile(view(dataset, indices[position], config), name, frame=frame)

    tiles = []
    for query in queries:
        correct = labels[nearest[query]] == labels[query]
        frames = np.where(correct, "green", "red").tolist()
        tiles += [tile(query, "black"), *map(tile, nearest[query], frames)]
    return draw_image_grid(title, tiles, 1 + nearest.shape[1], (SMALL_SIDE, SMALL_SIDE))
