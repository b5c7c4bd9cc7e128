"""The confusion matrix as a picture."""

import matplotlib
import numpy as np
from PIL import Image, ImageDraw

from reporting.lettering import fitted, height, width, write, write_upwards

SIZE = 12  # pixels of letters
MOST_NUMBERED = 12  # classes, up to which each cell tells its share
MOST_NAMED = 60  # classes, up to which each is named
MOST_PIXELS = 1100  # of the matrix
LONGEST_NAME = 190  # pixels
EDGE, TICK, BAR = 8, 3, 14  # pixels around all, of a mark at a class, across the scale of colours


def draw_confusion(
    labels: np.ndarray, predictions: np.ndarray, class_names: list[str]
) -> np.ndarray:
    """Draws the share of each true class (rows) that is taken for each class (columns).

    Returns an RGB array, uint8 of shape (height, width, 3).
    """
    classes = len(class_names)
    counts = np.zeros((classes, classes))
    np.add.at(counts, (labels, predictions), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(classes * _cell(classes), MOST_PIXELS)
    places = {number: (number + 0.5) * side / classes for number in range(classes)}
    named = _named(class_names)
    line, longest = height(1, SIZE), max(width(name, SIZE) for name in named.values())
    left, top = EDGE + line + EDGE + longest + 2 * TICK, EDGE + line + EDGE
    right, below = left + side, top + side
    scale = right + 2 * EDGE
    sheet = Image.new(
        "RGB", (scale + BAR + 3 * SIZE + line, below + 2 * TICK + longest + EDGE + line), "white"
    )
    _paint(sheet, shares, (left, top), side)
    _paint(sheet, np.linspace(1, 0, 64)[:, None], (scale, top), side, BAR)
    for number, name in named.items():
        x, y = left + places[number], top + places[number]
        write(sheet, (left - 2 * TICK, y), name, SIZE, "rm")
        write_upwards(sheet, (x, below + 2 * TICK), name, SIZE, "mt")
        ImageDraw.Draw(sheet).line((left - TICK, y, left - 1, y), "black")
        ImageDraw.Draw(sheet).line((x, below + 1, x, below + TICK), "black")
    if classes <= MOST_NUMBERED:
        for row, column in np.argwhere(shares):
            share, place = shares[row, column], (left + places[column], top + places[row])
            colour = "white" if share > 0.5 else "black"
            write(sheet, place, f"{share:.2f}", SIZE - 2, "mm", colour)
    middle, centre = left + side / 2, top + side / 2
    write(sheet, (middle, top / 2), f"accuracy {np.mean(labels == predictions):.3f}", SIZE, "mm")
    write(sheet, (middle, sheet.height - EDGE / 2), "predicted class", SIZE, "mb")
    write_upwards(sheet, (EDGE, centre), "true class", SIZE, "lm")
    for share in (0, 0.5, 1):
        write(sheet, (scale + BAR + TICK, top + side * (1 - share)), f"{share}", SIZE)
    write_upwards(sheet, (sheet.width - 2, centre), "share of the true class", SIZE, "rm")
    return np.asarray(sheet)


def _cell(classes: int) -> int:
    """Pixels of a class' row and column."""
    if classes <= MOST_NUMBERED:
        return max(40, 200 // classes)
    return 18 if classes <= MOST_NAMED else max(1, 800 // classes)


def _named(class_names: list[str]) -> dict[int, str]:
    """What is written at which class: its name, or the numbers of some where there are many."""
    if len(class_names) <= MOST_NAMED:
        return {n: fitted(name, SIZE, LONGEST_NAME) for n, name in enumerate(class_names)}
    step = 10 ** int(np.log10(len(class_names))) // 5
    return {number: str(number) for number in range(0, len(class_names), step)}


def _paint(
    sheet: Image.Image,
    shares: np.ndarray,
    place: tuple[int, int],
    tall: int,
    wide: int | None = None,
) -> None:
    """Shares as colours, scaled to `tall` and `wide` pixels, in a thin frame."""
    size = (wide or tall, tall)
    colours = Image.fromarray(matplotlib.colormaps["Blues"](shares, bytes=True)[..., :3])
    sheet.paste(colours.resize(size, Image.Resampling.BOX), place)
    x, y = place
    ImageDraw.Draw(sheet).rectangle((x - 1, y - 1, x + size[0], y + size[1]), outline="black")
