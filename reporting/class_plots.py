"""Which classes are hard, and which are taken for each other."""

import numpy as np
from PIL import Image, ImageDraw

from conf.schema import DataConfig
from data.datasets import Dataset
from reporting.image_grid import WRONG, Tile, mosaic
from reporting.lettering import fitted, width, write
from reporting.plots import view

MOST_CLASSES = 40  # in the bar chart: the worst ones
MOST_PAIRS = 5
SIDE = 160  # pixels of a picture
ROW, BAR = 21, 380  # pixels from one bar to the next, and of a whole one
SIZE, TITLE = 12, 14  # pixels of letters
LONGEST_NAME = 190  # pixels
EDGE = 8


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
    shown = found[:MOST_CLASSES]
    labels = [f"{fitted(name, SIZE, LONGEST_NAME)} ({count})" for name, _, count in shown]
    left, top = 2 * EDGE + max(width(label, SIZE) for label in labels), 4 * EDGE
    bottom = top + ROW * len(shown)
    sheet = Image.new("RGB", (left + BAR + 6 * EDGE, bottom + 6 * EDGE), "white")
    mean = float(np.mean([share for _, share, _ in found]))
    left_out = "" if len(found) == len(shown) else f", the worst {len(shown)} of {len(found)}"
    title = f"accuracy by class{left_out}; mean of classes {mean:.3f}"
    write(sheet, (sheet.width / 2, top / 2), title, TITLE, "mm")
    draw = ImageDraw.Draw(sheet)
    for row, (label, (_, share, _)) in enumerate(zip(labels, shown, strict=True)):
        y, end = top + ROW * (row + 0.5), left + share * BAR
        write(sheet, (left - EDGE, y), label, SIZE, "rm")
        draw.rectangle((left, y - 0.4 * ROW, end, y + 0.4 * ROW), "#4c78a8")
        write(sheet, (end + EDGE / 2, y), f"{share:.2f}", SIZE)
    draw.line([(left, top), (left, bottom), (left + BAR, bottom)], "black")
    for tenth in range(0, 11, 2):
        x = left + BAR * tenth / 10
        draw.line((x, bottom, x, bottom + 3), "black")
        write(sheet, (x, bottom + EDGE), f"{tenth / 10}", SIZE, "mt")
    explained = "share of the class's test pictures that is right"
    write(sheet, (left + BAR / 2, sheet.height - EDGE), explained, SIZE, "mb")
    return np.asarray(sheet)


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
    lines, beside = [], []
    for one, other, count in pairs:
        mistakes = np.flatnonzero(
            ((labels == one) & (predictions == other)) | ((labels == other) & (predictions == one))
        )
        mistakes = mistakes[np.argsort(-probabilities[mistakes].max(axis=1), kind="stable")]
        shown = [
            *_two(_surest(one, labels, probabilities)),
            *_two(mistakes),
            *_two(_surest(other, labels, probabilities)),
        ]
        lines.append(
            [
                None
                if i is None
                else Tile(
                    view(dataset, rows[i], config),
                    _said(dataset, labels[i], predictions[i]),
                    colour="black" if labels[i] == predictions[i] else WRONG,
                )
                for i in shown
            ]
        )
        beside.append(f"{count} mistake{'s' if count > 1 else ''}")
    title = "classes taken for each other most often" if pairs else "no mistakes"
    explained = "right pictures of one, mistakes (red), right pictures of the other"
    return mosaic(f"{title}: {explained}", lines or [[None] * 6], (SIDE, SIDE), beside)


def _two(places: np.ndarray) -> list[int | None]:
    return [*places[:2], None, None][:2]


def _surest(number: int, labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Places of the right pictures of a class, the surest first."""
    right = np.flatnonzero((labels == number) & (probabilities.argmax(axis=1) == number))
    return right[np.argsort(-probabilities[right, number], kind="stable")]


def _said(dataset: Dataset, label: int, prediction: int) -> str:
    true, said = dataset.class_names[label], dataset.class_names[prediction]
    return true if label == prediction else f"{true}\ntaken for\n{said}"
