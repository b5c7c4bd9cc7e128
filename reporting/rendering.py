"""Renders matplotlib figures as RGB arrays, without pyplot, with lengths in pixels."""

import warnings

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

DPI = 80  # a font of 10 points, the default, is 11 pixels high

# Class names may be in any script. The font draws a box for a letter that it lacks.
warnings.filterwarnings("ignore", message="Glyph .* missing from font")


def new_figure(width: float, height: float) -> Figure:
    """Creates a figure of that many pixels."""
    return Figure(figsize=(width / DPI, height / DPI), dpi=DPI)


def new_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """Creates a figure of that many pixels, with axes that leave room for their labels."""
    figure = new_figure(width, height)
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    return figure, figure.subplots()


def render(figure: Figure) -> np.ndarray:
    """Draws a figure as an RGB array, uint8 of shape (height, width, 3)."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def text_width(text: str, size: float = 10) -> float:
    """Returns the width in pixels of a line of text in the default font, of `size` points."""
    font = get_font(findfont(FontProperties()))
    font.set_size(size, DPI)
    font.set_text(text)
    return font.get_width_height()[0] / 64  # FreeType counts in 64ths of a pixel


def shorten(text: str, width: float, size: float = 10) -> str:
    """Returns `text`, with "…" in place of its middle if it is wider than `width` pixels."""
    shortened, kept = text, len(text)
    while text_width(shortened, size) > width and kept > 2:
        kept -= 1
        head = (kept + 1) // 2
        shortened = f"{text[:head].rstrip()}…{text[len(text) - kept + head :].lstrip()}"
    return shortened
