"""A horizontal bar chart."""

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reporting.rendering import new_axes, shorten

WIDTH, BAR_HEIGHT, MAX_NAME = 640, 23, 190  # pixels


def draw_bars(
    names: list[str], values: list[float], value_format: str, errors: list[float] | None = None
) -> tuple[Figure, Axes]:
    """Draws values between 0 and 1 as bars, the first on top.

    Args:
        names: a name for each bar. A long one is shortened.
        values: the length of each bar. A value that is NaN or infinite has no bar.
        value_format: how a bar's value is written at its end.
        errors: half the length of each bar's error bar. Default: no error bars.
    """
    figure, axes = new_axes(WIDTH, BAR_HEIGHT * len(names) + 90)
    places = range(len(names))
    lengths = [value if math.isfinite(value) else 0 for value in values]
    bars = axes.barh(places, lengths, xerr=errors, color="#4c78a8", ecolor="#333333", capsize=3)
    axes.bar_label(bars, [value_format % value for value in values], padding=4)
    axes.set_yticks(places, [shorten(name, MAX_NAME) for name in names])
    axes.tick_params("y", length=0)
    axes.set(xlim=(0, 1.1), ylim=(len(names) - 0.4, -0.6))
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
