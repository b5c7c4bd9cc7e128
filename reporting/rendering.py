"""Renders matplotlib figures as RGB arrays, without pyplot, with lengths in pixels."""

import functools
import logging
from collections.abc import Callable

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

DPI = 80  # a font of 10 points, the default, is 11 pixels high
# Fonts for characters that the default font, the first one, does not have.
FONTS = [
    "DejaVu Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
    "PingFang SC",
    "Hiragino Sans",
    "Apple SD Gothic Neo",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "Arial Unicode MS",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Noto Sans",
]

logger = logging.getLogger(__name__)


def drawn(name: str, draw: Callable[[], np.ndarray]) -> np.ndarray | None:
    """Returns the plot that `draw` draws. If it fails, logs one line and returns `None`.

    A plot is not worth the metrics of a run, which are written after it.
    """
    try:
        return draw()
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        logger.warning("warning: the plot %s is skipped: %s", name, reason)
        return None


def new_figure(width: float, height: float) -> Figure:
    """Creates a figure of that many pixels."""
    return Figure(figsize=(width / DPI, height / DPI), dpi=DPI)


def new_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """Creates a figure of that many pixels, with axes that leave room for their labels."""
    figure = new_figure(width, height)
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    return figure, figure.subplots()


def render(figure: Figure) -> np.ndarray:
    """Draws a figure as an RGB array, uint8 of shape (height, width, 3).

    A "$" in a name does not start a formula.
    """
    fonts = list(_fonts())
    # The settings are those of texts that are created while drawing.
    with matplotlib.rc_context({"text.parse_math": False, "font.family": fonts}):
        for text in figure.findobj(Text):
            assert isinstance(text, Text)
            text.set(text=with_glyphs(text.get_text()), parse_math=False, fontfamily=fonts)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def text_width(text: str, size: float = 10) -> float:
    """Returns the width in pixels of a line of text in the default font, of `size` points."""
    font = get_font(list(_fonts().values()))
    font.set_size(size, DPI)
    font.set_text(with_glyphs(text))
    return font.get_width_height()[0] / 64  # FreeType counts in 64ths of a pixel


def shorten(text: str, width: float, size: float = 10) -> str:
    """Returns `text`, with "…" in place of its middle if it is wider than `width` pixels.

    Characters without a glyph are escaped, see `with_glyphs`.
    """
    shortened = text = with_glyphs(text)
    kept = len(text)
    while text_width(shortened, size) > width and kept > 2:
        kept -= 1
        head = (kept + 1) // 2
        shortened = f"{text[:head].rstrip()}…{text[len(text) - kept + head :].lstrip()}"
    return shortened


def with_glyphs(text: str) -> str:
    r"""Escapes characters that no installed font of `FONTS` has, such as `\u9ce5`.

    The font would draw the same box for all of them.
    """
    missing = {character for character in text if ord(character) not in _characters()}
    if not missing:
        return text
    _advise()
    return "".join(
        character.encode("unicode_escape").decode() if character in missing else character
        for character in text
    )


@functools.cache
def _fonts() -> dict[str, str]:
    """The file of each installed font of `FONTS`."""
    installed = {font.name for font in fontManager.ttflist}
    return {name: findfont(FontProperties(family=name)) for name in FONTS if name in installed}


@functools.cache
def _characters() -> set[int]:
    """The code points with a glyph, and the line break."""
    return set().union(b"\n", *(FT2Font(file).get_charmap() for file in _fonts().values()))


@functools.cache
def _advise() -> None:
    """Logs, once in a process, how to see the characters that are escaped."""
    logger.warning(
        "warning: no installed font has some characters of the names, so plots show them as "
        "escapes; install a font such as Noto Sans CJK"
    )
