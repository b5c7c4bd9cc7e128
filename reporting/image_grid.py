"""Images in a grid, each below its caption."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.transforms import IdentityTransform
from PIL import Image

from conf.schema import DataConfig
from data.datasets import Dataset
from data.decoding import evaluation_view
from reporting.rendering import new_figure, render, shorten, text_width

GAP = 6  # pixels between tiles
TITLE_SIZE, CAPTION_SIZE, LINE_HEIGHT = 14, 11, 14  # pixels
FRAME = 4  # pixels
WRONG = "#c00000"  # colour of a mistake's caption


@dataclasses.dataclass(frozen=True)
class Tile:
    """An image of a grid.

    Attributes:
        image: uint8 of shape (H, W, 3).
        caption: text above the image, one or more lines. A line that is too long is shortened.
        colour: colour of the caption.
        frame: colour of a frame around the image. Default: no frame.
    """

    image: np.ndarray
    caption: str = ""
    colour: str = "black"
    frame: str | None = None


def draw_image_grid(
    title: str,
    rows: Sequence[Sequence[Tile | None]],
    size: tuple[int, int],
    row_labels: list[str] | None = None,
) -> np.ndarray:
    """Draws a grid of images as an RGB array, uint8 of shape (height, width, 3).

    Args:
        title: text above the grid.
        rows: the tiles of each row, from the left. `None` leaves a place empty.
        size: width and height in pixels that every image is scaled to.
        row_labels: a text at the left of each row, turned by 90 degrees. Default: none.
    """
    top = TITLE_SIZE + 3 * GAP
    lines = [
        max((len(tile.caption.splitlines()) for tile in row if tile), default=0) for row in rows
    ]
    bottoms = top + np.cumsum([LINE_HEIGHT * n + size[1] + 2 * GAP for n in lines], dtype=int)
    left = GAP + (LINE_HEIGHT if row_labels else 0)
    columns = max(map(len, rows), default=1)
    width = max(left + columns * (size[0] + GAP), round(text_width(title, TITLE_SIZE)) + 2 * GAP)
    height = bottoms[-1] if rows else top
    pixels = np.full((height, width, 3), 255, np.uint8)
    figure = new_figure(width, height)
    # Positions of text are pixels from the lower left, and "$" in a name is no formula.
    style: dict[str, Any] = {"transform": IdentityTransform(), "parse_math": False}
    centred = style | {"ha": "center", "va": "center"}
    figure.text(width / 2, height - top / 2, title, size=TITLE_SIZE, **centred)
    for number, row in enumerate(rows):
        y = bottoms[number] - 2 * GAP - size[1]
        for column, tile in enumerate(row):
            if tile is None:
                continue
            x = left + column * (size[0] + GAP)
            pixels[y : y + size[1], x : x + size[0]] = _scaled(tile, size)
            for above, line in enumerate(reversed(tile.caption.splitlines())):
                text = shorten(line, CAPTION_SIZE, size[0])
                baseline = height - y + 4 + above * LINE_HEIGHT
                figure.text(x, baseline, text, size=CAPTION_SIZE, color=tile.colour, **style)
        if row_labels:
            middle, label = height - y - size[1] / 2, row_labels[number]
            figure.text(left / 2, middle, label, size=CAPTION_SIZE, rotation=90, **centred)
    figure.figimage(pixels)
    return render(figure)


def in_rows(tiles: list[Tile], columns: int) -> list[list[Tile]]:
    """Splits tiles into rows. There is one empty row if there are no tiles."""
    return [tiles[i : i + columns] for i in range(0, max(1, len(tiles)), columns)]


def view(dataset: Dataset, index: int, config: DataConfig) -> np.ndarray:
    """Returns an image as the model sees it in evaluation."""
    return evaluation_view(dataset.images.encoded(index), dataset.images.name(index), config)


def _scaled(tile: Tile, size: tuple[int, int]) -> np.ndarray:
    """The image of `size`, its edge covered by the frame."""
    scaled = np.array(Image.fromarray(tile.image).resize(size, Image.Resampling.BILINEAR))
    if tile.frame:
        inside = scaled[FRAME:-FRAME, FRAME:-FRAME].copy()
        scaled[:] = np.multiply(255, to_rgb(tile.frame)).round()
        scaled[FRAME:-FRAME, FRAME:-FRAME] = inside
    return scaled
