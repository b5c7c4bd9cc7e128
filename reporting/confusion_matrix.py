"""The confusion matrix as an image."""

import numpy as np
from sklearn.metrics import confusion_matrix

from reporting.rendering import new_figure, render, shorten, text_width

MAX_ANNOTATED = 12  # classes up to which each cell shows its value
MAX_NAMED = 60  # classes up to which each axis shows the names
MAX_SIDE, MAX_NAME = 1100, 190  # pixels of the matrix and of a name
MARGIN = 60  # pixels of axis label and title


def draw_confusion_matrix(
    labels: np.ndarray, predictions: np.ndarray, class_names: list[str]
) -> np.ndarray:
    """Draws the fraction of each true class (row) that is predicted as each class (column).

    Returns an RGB array, uint8 of shape (height, width, 3).
    """
    classes = len(class_names)
    shares = confusion_matrix(labels, predictions, labels=np.arange(classes), normalize="true")
    ticks = _tick_labels(class_names)
    names = max(map(text_width, ticks.values()))
    side = min(classes * _cell(classes), MAX_SIDE)
    width, height = side + names + 2 * MARGIN, side + names + MARGIN
    figure = new_figure(width, height)
    left, bottom = (names + 0.6 * MARGIN) / width, (names + 0.6 * MARGIN) / height
    axes = figure.add_axes((left, bottom, side / width, side / height))
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(list(ticks), list(ticks.values()))
    axes.tick_params("x", rotation=90)
    accuracy, present = np.mean(labels == predictions), len(np.unique(labels))
    lacking = "" if present == classes else f"; {present} of {classes} classes have images"
    axes.set(
        title=f"accuracy {accuracy:.3f}{lacking}", xlabel="predicted class", ylabel="true class"
    )
    if classes <= MAX_ANNOTATED:
        for row, column in np.argwhere(shares):
            text, colour = f"{shares[row, column]:.2f}", "wk"[int(shares[row, column] <= 0.5)]
            axes.text(column, row, text, ha="center", va="center", color=colour, size="small")
    scale = figure.add_axes((left + (side + 16) / width, bottom, 14 / width, side / height))
    figure.colorbar(image, scale, ticks=[0, 0.5, 1]).set_label("fraction of the true class")
    return render(figure)


def _cell(classes: int) -> int:
    """Pixels of a class's row and column."""
    if classes <= MAX_ANNOTATED:
        return max(40, 200 // classes)
    return 18 if classes <= MAX_NAMED else max(1, 800 // classes)


def _tick_labels(class_names: list[str]) -> dict[int, str]:
    """The shortened name of each class, or some of the class numbers if there are many classes."""
    if len(class_names) <= MAX_NAMED:
        return {number: shorten(name, MAX_NAME) for number, name in enumerate(class_names)}
    step = 10 ** int(np.log10(len(class_names))) // 5
    return {number: str(number) for number in range(0, len(class_names), step)}
