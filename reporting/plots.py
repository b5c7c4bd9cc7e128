"""Pictures of a model's figures, as RGB arrays."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score, roc_curve

from conf.schema import DataConfig
from data.datasets import Dataset
from data.decoding import evaluation_view
from reporting.image_grid import Tile, in_lines, mosaic
from reporting.tables import SHORT

SIDE = 212  # pixels of a mistake
SMALL_SIDE = 140  # pixels of a neighbour


def worst_mistakes(
    dataset: Dataset, split: str, probabilities: np.ndarray, config: DataConfig, most: int = 16
) -> np.ndarray:
    """The wrong predictions that the model was surest of, each with both classes' names."""
    indices = dataset.splits[split]
    labels, predictions = dataset.labels[indices], probabilities.argmax(axis=1)
    sureness = np.where(predictions == labels, -1, probabilities.max(axis=1))
    worst = [i for i in np.argsort(-sureness)[:most] if sureness[i] >= 0]
    tiles = [
        Tile(
            view(dataset, indices[i], config),
            f"{dataset.class_names[predictions[i]]} ({sureness[i]:.2f})\n"
            f"is {dataset.class_names[labels[i]]}",
        )
        for i in worst
    ]
    title = f"the surest of {np.sum(sureness >= 0)} mistakes in {len(indices)} pictures"
    return mosaic(title, in_lines(tiles, 4), (SIDE, SIDE))


def roc_curves(
    truth: np.ndarray, scores: dict[str, dict[str, np.ndarray]], title: str
) -> np.ndarray:
    """The curves of each kind of features (one line style each) by each scorer (one colour each).

    Args:
        truth: whether each sample is of the target, (n,).
        scores: by kind and scorer, (n,); larger is more like the target.
        title: above the picture.
    """
    figure = Figure(figsize=(6, 6), layout="constrained", dpi=100)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#cccccc", linewidth=1)
    for style, (kind, by_scorer) in zip(("--", "-"), scores.items(), strict=True):
        for number, (name, values) in enumerate(by_scorer.items()):
            false, true, _ = roc_curve(truth, values)
            label = f"{kind}, {SHORT[name]}: {roc_auc_score(truth, values):.3f}"
            axes.plot(false, true, style, color=f"C{number}", label=label)
    axes.set(
        xlabel="aliens taken for the target",
        ylabel="targets recognised",
        title=title,
        xlim=(-0.01, 1.01),
        ylim=(-0.01, 1.01),
        aspect="equal",
    )
    axes.legend(title="AUROC", loc="lower right", fontsize=8)
    return pixels(figure)


def neighbours(
    dataset: Dataset, split: str, nearest: np.ndarray, config: DataConfig, most: int = 8
) -> np.ndarray:
    """Some queries, spread over the classes, and what is nearest to each: framed green if it is of
    the query's class, red if not.

    Args:
        nearest: places in `split` of each picture's nearest others, nearest first, (n, k).
        most: queries at most.
    """
    indices = dataset.splits[split]
    labels = dataset.labels[indices]
    by_class = np.argsort(labels, kind="stable")
    queries = by_class[:: -(-len(indices) // most)]
    hits = np.mean(labels[nearest[:, 0]] == labels)
    title = f"query, and its nearest (the first is right for {hits:.1%} of all)"

    def tile(place: int, frame: str) -> Tile:
        name = dataset.class_names[labels[place]]
        return Tile(view(dataset, indices[place], config), name, frame=frame)

    lines = []
    for query in queries:
        right = labels[nearest[query]] == labels[query]
        frames = np.where(right, "green", "red").tolist()
        lines.append([tile(query, "black"), *map(tile, nearest[query], frames)])
    return mosaic(title, lines, (SMALL_SIDE, SMALL_SIDE))


def view(dataset: Dataset, index: int, config: DataConfig) -> np.ndarray:
    """A picture as the model sees it."""
    return evaluation_view(dataset.images.encoded(index), dataset.images.name(index), config)


def pixels(figure: Figure) -> np.ndarray:
    """A drawn figure as an RGB array, uint8 of shape (height, width, 3)."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]
