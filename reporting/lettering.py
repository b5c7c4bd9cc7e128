"""Text on pictures: dozens of labels take matplotlib a second, and Pillow milliseconds."""

import functools
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

LINE = 1.25  # height of a line of text over the letters' size


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """matplotlib's own, DejaVu Sans, of so many pixels; it has the letters of most alphabets."""
    path = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


def width(text: str, size: int) -> int:
    """Pixels that a line of text takes, rounded up."""
    return int(font(size).getlength(text)) + 1


def height(lines: int, size: int) -> int:
    """Pixels that so many lines of text take."""
    return round(lines * size * LINE)


def fitted(text: str, size: int, room: int) -> str:
    """A line of text for `room` pixels; a longer one without as much of its middle as it takes."""
    kept = len(text)
    found = text
    while width(found, size) > room and kept > 2:
        kept -= 1
        head = (kept + 1) // 2
        found = f"{text[:head].rstrip()}…{text[len(text) - kept + head :].lstrip()}"
    return found


def write(
    sheet: Image.Image,
    place: tuple[float, float],
    text: str,
    size: int,
    anchor: str = "lm",
    colour: str = "black",
) -> None:
    """Writes a line; `place` is its point that Pillow's `anchor` names: "lm" left and middle."""
    ImageDraw.Draw(sheet).text(place, text, colour, font(size), anchor)


def write_upwards(
    sheet: Image.Image,
    place: tuple[float, float],
    text: str,
    size: int,
    anchor: str = "mm",
    colour: str = "black",
) -> None:
    """Writes a line turned to the left by a right angle.

    Args:
        sheet: what is written on.
        place: in pixels, the point of the turned text that `anchor` names.
        text: one line.
        size: of the letters, in pixels.
        anchor: across, "l", "m" or "r", and down, "t", "m" or "b", of the turned text.
        colour: any that Pillow knows.
    """
    line = Image.new("L", (width(text, size), height(1, size)))
    write(line, (0, line.height / 2), text, size, colour="white")
    line = line.transpose(Image.Transpose.ROTATE_90)
    left = place[0] - line.width * "lmr".index(anchor[0]) / 2
    top = place[1] - line.height * "tmb".index(anchor[1]) / 2
    sheet.paste(colour, (round(left), round(top)), line)
