"""Pictures in a grid, each under its caption."""

import dataclasses
import itertools

import numpy as np
from PIL import Image, ImageOps

from reporting.lettering import fitted, height, width, write, write_upwards

GAP = 6  # pixels between tiles
TITLE = 14  # pixels of letters
CAPTION = 11
FRAME = 4
WRONG = "#c00000"  # captions of mistakes


@dataclasses.dataclass(frozen=True)
class Tile:
    """A picture and what is said of it.

    Attributes:
        picture: uint8 of shape (H, W, 3).
        caption: above it, a line or several; one too long loses its middle.
        colour: of the caption.
        frame: colour of a frame around the picture. Default: none.
    """

    image: np.ndarray
    caption: str = ""
    colour: str = "black"
    frame: str | None = None


def mosaic(
    title: str,
    lines: list[list[Tile | None]],
    size: tuple[int, int],
    beside: list[str] | None = None,
) -> np.ndarray:
    """Draws tiles of one size, line by line, as an RGB array, uint8 of shape (height, width, 3).

    Args:
        title: above all.
        lines: tiles from the left; None leaves a place empty.
        size: width and height in pixels that pictures are scaled to.
        beside: what is written upwards at the left of each line. Default: nothing.
    """
    captions = [max(map(_caption_height, line), default=0) for line in lines]
    left = GAP + (height(1, CAPTION) if beside else 0)
    columns = max(map(len, lines), default=1)
    top = height(1, TITLE) + 2 * GAP
    steps = [caption + size[1] + 2 * GAP for caption in captions]
    across = max(left + columns * (size[0] + GAP), width(title, TITLE) + 2 * GAP)
    sheet = Image.new("RGB", (across, top + sum(steps)), "white")
    write(sheet, (across / 2, top / 2), title, TITLE, "mm")
    tops = itertools.accumulate(steps, initial=top)
    for number, (line, line_top, caption) in enumerate(zip(lines, tops, captions, strict=False)):
        y = line_top + caption
        for column, tile in enumerate(line):
            if tile is not None:
                _draw(sheet, tile, (left + column * (size[0] + GAP), y), size)
        if beside:
            place = (GAP / 2, y + size[1] / 2)
            write_upwards(sheet, place, beside[number], CAPTION, "lm")
    return np.asarray(sheet)


def in_lines(tiles: list[Tile], columns: int) -> list[list[Tile]]:
    """Tiles in lines of so many; one empty line where there are none."""
    return [tiles[i : i + columns] for i in range(0, max(1, len(tiles)), columns)]


def _caption_height(tile: Tile | None) -> int:
    return height(len(tile.caption.splitlines()), CAPTION) if tile else 0


def _draw(sheet: Image.Image, tile: Tile, place: tuple[int, int], size: tuple[int, int]) -> None:
    x, y = place
    image = Image.fromarray(tile.image).resize(size, Image.Resampling.BILINEAR)
    if tile.frame:
        image = ImageOps.expand(ImageOps.crop(image, FRAME), FRAME, tile.frame)
    sheet.paste(image, place)
    for above, text in enumerate(reversed(tile.caption.splitlines())):
        line = y - 2 - height(above, CAPTION)
        write(sheet, (x, line), fitted(text, CAPTION, size[0]), CAPTION, "ld", tile.colour)
