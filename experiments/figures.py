"""Pictures of a model's figures, as RGB arrays."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score, roc_curve

from conf.schema import DataConfig
from data.datasets import Dataset
from data.pictures import evaluation_view
from experiments.report import SHORT

MOST_NAMED = 60  # classes, up to which a confusion matrix names each
MOST_LETTERS = 26  # of a class in a label


def confusion_matrix(
    labels: np.ndarray, predictions: np.ndarray, class_names: list[str]
) -> np.ndarray:
    """Share of each true class (rows) that is taken for each class (columns)."""
    classes = len(class_names)
    counts = np.zeros((classes, classes))
    np.add.at(counts, (labels, predictions), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(4 + 0.28 * classes, 14)
    figure = Figure(figsize=(side + 1, side), layout="constrained", dpi=80)
    axes = figure.subplots()
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    figure.colorbar(image, ax=axes, shrink=0.7, label="share of the true class")
    accuracy = np.mean(labels == predictions)
    axes.set(xlabel="predicted class", ylabel="true class", title=f"accuracy {accuracy:.3f}")
    if classes <= MOST_NAMED:
        names, size = list(map(shortened, class_names)), 10 if classes <= 20 else 8
        axes.set_xticks(range(classes), names, rotation=90, fontsize=size)
        axes.set_yticks(range(classes), names, fontsize=size)
    if classes <= 12:
        for (row, column), share in np.ndenumerate(shares):
            if share:
                axes.text(
                    column, row, f"{share:.2f}", ha="center", va="center", fontsize=8,
                    color="white" if share > 0.5 else "black",
                )
    return pixels(figure)


def worst_mistakes(
    dataset: Dataset, split: str, probabilities: np.ndarray, config: DataConfig, most: int = 16
) -> np.ndarray:
    """The wrong predictions that the model was surest of, each with both classes' names."""
    rows = dataset.splits[split]
    labels, predictions = dataset.labels[rows], probabilities.argmax(axis=1)
    sureness = np.where(predictions == labels, -1, probabilities.max(axis=1))
    worst = [i for i in np.argsort(-sureness)[:most] if sureness[i] >= 0]
    columns = 4
    lines = max(1, -(-len(worst) // columns))
    figure = Figure(figsize=(11, 3.2 * lines), layout="constrained", dpi=80)
    figure.suptitle(f"the surest of {np.sum(sureness >= 0)} mistakes in {len(rows)} pictures")
    for axes in panels(figure, lines, columns).flat:
        axes.set_axis_off()
    for axes, i in zip(figure.axes, worst, strict=False):
        name = dataset.pictures.name(rows[i])
        axes.imshow(evaluation_view(dataset.pictures.encoded(rows[i]), name, config))
        said, true = (shortened(dataset.class_names[k]) for k in (predictions[i], labels[i]))
        axes.set_title(f"{said} ({sureness[i]:.2f})\nis {true}", fontsize=9)
    return pixels(figure)


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
        xlabel="aliens taken for the target", ylabel="targets recognised", title=title,
        xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal",
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
    rows = dataset.splits[split]
    labels = dataset.labels[rows]
    by_class = np.argsort(labels, kind="stable")
    queries = by_class[:: -(-len(rows) // most)]
    columns = 1 + nearest.shape[1]
    figure = Figure(figsize=(1.9 * columns, 2.2 * len(queries)), layout="constrained", dpi=80)
    hits = np.mean(labels[nearest[:, 0]] == labels)
    figure.suptitle(f"query, and its nearest (the first is right for {hits:.1%} of all)")
    places = np.concatenate([queries[:, None], nearest[queries]], axis=1)
    for axes, (line, column) in zip(
        panels(figure, len(queries), columns).flat, np.ndindex(places.shape),
        strict=True,
    ):
        place = places[line, column]
        name = dataset.pictures.name(rows[place])
        axes.imshow(evaluation_view(dataset.pictures.encoded(rows[place]), name, config))
        axes.set_title(shortened(dataset.class_names[labels[place]]), fontsize=8)
        right = labels[place] == labels[queries[line]]
        frame = "black" if column == 0 else "green" if right else "red"
        for side in axes.spines.values():
            side.set(edgecolor=frame, linewidth=1 if column == 0 else 4)
    return pixels(figure)


def panels(figure: Figure, lines: int, columns: int) -> np.ndarray:
    """A grid of axes for pictures, without ticks: to lay these out took most of the time, although
    they were not drawn."""
    bare = {"xticks": [], "yticks": []}
    return figure.subplots(lines, columns, squeeze=False, subplot_kw=bare)


def shortened(name: str) -> str:
    """A class's name for a label; a long one without its middle, so that labels do not overlap."""
    if len(name) <= MOST_LETTERS:
        return name
    half = (MOST_LETTERS - 1) // 2
    return f"{name[:half].rstrip()}…{name[-half:].lstrip()}"


def pixels(figure: Figure) -> np.ndarray:
    """A drawn figure as an RGB array, uint8 of shape (height, width, 3)."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]
