"""Images in a grid, each below its caption."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.transforms import IdentityTransform
from PIL import Image, ImageOps

from conf.schema import DataConfig
from data.datasets import Dataset
from data.inputs import ImageInputs
from reporting.rendering import new_figure, render, shorten, text_width

GAP, FRAME, LINE_HEIGHT = 6, 4, 14  # pixels
TITLE_SIZE, CAPTION_SIZE = 12, 10  # points
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


Tiles = Sequence[Tile | None]


def draw_image_grid(
    title: str, tiles: Tiles, columns: int, size: tuple[int, int], row_labels: Sequence[str] = ()
) -> np.ndarray:
    """Draws a grid of images as an RGB array, uint8 of shape (height, width, 3).

    Args:
        title: text above the grid.
        tiles: the images, row by row. `None` leaves a place empty.
        columns: images in a row.
        size: width and height in pixels that every image is scaled to.
        row_labels: a text at the left of each row, turned by 90 degrees. Default: none.
    """
    left, top = GAP + (LINE_HEIGHT if row_labels else 0), LINE_HEIGHT + 3 * GAP
    lines = max((len(tile.caption.splitlines()) for tile in tiles if tile), default=0)
    step = LINE_HEIGHT * lines + size[1] + 2 * GAP
    width = max(left + columns * (size[0] + GAP), text_width(title, TITLE_SIZE) + 2 * GAP)
    height = top + max(1, -(-len(tiles) // columns)) * step
    pixels = np.full((height, int(width), 3), 255, np.uint8)
    figure = new_figure(int(width), height)
    # Text is placed in pixels from the lower left corner.
    style: dict[str, Any] = {"transform": IdentityTransform()}
    centred = style | {"ha": "center", "va": "center"}
    figure.text(width / 2, height - top / 2, title, size=TITLE_SIZE, **centred)
    for number, tile in enumerate(tiles):
        if tile is None:
            continue
        row, column = divmod(number, columns)
        x, y = left + column * (size[0] + GAP), top + row * step + LINE_HEIGHT * lines
        image = Image.fromarray(tile.image).resize(size, Image.Resampling.BILINEAR)
        if tile.frame:
            image = ImageOps.expand(ImageOps.crop(image, FRAME), FRAME, tile.frame)
        pixels[y : y + size[1], x : x + size[0]] = np.asarray(image)
        caption = [shorten(line, size[0], CAPTION_SIZE) for line in tile.caption.splitlines()]
        place = (x, height - y + 2, "\n".join(caption))
        figure.text(*place, va="bottom", size=CAPTION_SIZE, color=tile.colour, **style)
    for row, label in enumerate(row_labels):
        middle = height - top - (row + 1) * step + 2 * GAP + size[1] / 2
        figure.text(left / 2, middle, label, size=CAPTION_SIZE, rotation=90, **centred)
    figure.figimage(pixels)
    return render(figure)


def view(dataset: Dataset, index: int, config: DataConfig) -> np.ndarray:
    """Returns an image as the model sees it in evaluation."""
    return ImageInputs(dataset.images, config).evaluation(np.array([index]))[0]
