"""The confusion matrix as an image."""

import numpy as np
from sklearn.metrics import confusion_matrix

from evaluation.hierarchy import Levels, groups_by_level
from reporting.rendering import new_figure, render, shorten, text_width

MAX_ANNOTATED = 12  # classes up to which each cell shows its value
MAX_NAMED = 60  # classes up to which each axis shows the names
MAX_SIDE, MAX_NAME = 1100, 190  # pixels of the matrix and of a name
MARGIN = 60  # pixels of axis label and title
LINE = 13  # pixels of a line of text
BOUNDARY = "0.5"  # grey of the lines between groups

Names = dict[float, str]  # by position on an axis


def draw_confusion_matrix(
    labels: np.ndarray,
    predictions: np.ndarray,
    class_names: list[str],
    levels: Levels | None = None,
) -> np.ndarray:
    """Draws the fraction of each true class (row) that is predicted as each class (column).

    With levels, classes are sorted by their groups, the coarsest level first. Lines separate the
    groups of the coarsest level that has several, and their names are on the right. With too many
    classes for their names, the names of the groups replace them.

    Args:
        labels: True classes, (n,).
        predictions: Predicted classes, (n,).
        class_names: All classes.
        levels: The name of the group of each class, by level. Default: `None`, no levels.

    Returns:
        An RGB array, uint8 of shape (height, width, 3).
    """
    classes = len(class_names)
    order, groups = _by_group(classes, levels or {})
    names = [class_names[number] for number in order]
    shares = confusion_matrix(labels, predictions, labels=order, normalize="true")
    side = min(classes * _cell(classes), MAX_SIDE)
    beside = _group_names(groups, side / classes)
    ticks = beside if groups and classes > MAX_NAMED else _tick_labels(names)
    beside = {} if ticks is beside else beside
    left_width, right_width = (
        max(map(text_width, texts.values()), default=0) for texts in (ticks, beside)
    )
    width = side + left_width + right_width + 2 * MARGIN
    height = side + left_width + MARGIN
    figure = new_figure(width, height)
    left, bottom = (left_width + 0.6 * MARGIN) / width, (left_width + 0.6 * MARGIN) / height
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
    for _, start, _ in groups[1:]:
        axes.axhline(start - 0.5, color=BOUNDARY, linewidth=0.8)
        axes.axvline(start - 0.5, color=BOUNDARY, linewidth=0.8)
    for position, name in beside.items():
        axes.annotate(
            name, (1, position), (6, 0), ("axes fraction", "data"), "offset pixels", va="center"
        )
    if classes <= MAX_ANNOTATED:
        for row, column in np.argwhere(shares):
            text, colour = f"{shares[row, column]:.2f}", "wk"[int(shares[row, column] <= 0.5)]
            axes.text(column, row, text, ha="center", va="center", color=colour, size="small")
    scale_left = left + (side + right_width + 16) / width
    scale = figure.add_axes((scale_left, bottom, 14 / width, side / height))
    figure.colorbar(image, scale, ticks=[0, 0.5, 1]).set_label("fraction of the true class")
    return render(figure)


def _by_group(classes: int, levels: Levels) -> tuple[np.ndarray, list[tuple[str, int, int]]]:
    """Returns the classes sorted by group, and name, start and end of each group that is marked.

    No group is marked if no level has several.
    """
    numbers = groups_by_level(levels)
    order = np.lexsort([np.arange(classes), *numbers.values()])  # the last key is the first to sort
    marked = [level for level, groups in numbers.items() if groups.max()]
    if not marked:
        return order, []
    names = np.array(levels[marked[-1]])[order]
    starts = np.flatnonzero(np.r_[True, names[1:] != names[:-1]]).tolist()
    ends = [*starts[1:], classes]
    return order, [(str(names[a]), a, b) for a, b in zip(starts, ends, strict=True)]


def _group_names(groups: list[tuple[str, int, int]], cell: float) -> Names:
    """The shortened name of each group that is as high as a line of text, at its middle."""
    return {
        (start + end - 1) / 2: shorten(name, MAX_NAME)
        for name, start, end in groups
        if (end - start) * cell >= LINE
    }


def _cell(classes: int) -> int:
    """Pixels of a class's row and column."""
    if classes <= MAX_ANNOTATED:
        return max(40, 200 // classes)
    return 18 if classes <= MAX_NAMED else max(1, 800 // classes)


def _tick_labels(class_names: list[str]) -> Names:
    """The shortened name of each class, or some of the class numbers if there are many classes."""
    if len(class_names) <= MAX_NAMED:
        return {number: shorten(name, MAX_NAME) for number, name in enumerate(class_names)}
    step = 10 ** int(np.log10(len(class_names))) // 5
    return {number: str(number) for number in range(0, len(class_names), step)}
