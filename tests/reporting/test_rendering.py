"""Text in plots: measured, and shortened if it is too wide."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reporting.bar_chart import draw_bars
from reporting.confusion_matrix import draw_confusion_matrix
from reporting.image_grid import Tile, draw_image_grid
from reporting.rendering import new_figure, render, shorten, text_width

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=60)


def test_a_shortened_text_keeps_both_ends():
    assert shorten("red_capped_goldbreast", 200) == "red_capped_goldbreast"
    text = shorten("Chevrolet Silverado 1500 Hybrid Crew Cab 2012", 160)
    assert text.startswith("Chevrolet") and text.endswith("Cab 2012") and "…" in text


@given(TEXT, st.integers(60, 300))
def test_a_shortened_text_is_not_wider_than_asked(text, width):
    assert text_width(shorten(text, width), 10) <= width


def test_a_text_is_as_wide_as_measured():
    figure = new_figure(200, 40)
    figure.text(0.05, 0.5, "Wagtail, grey", size=12)
    _, columns = np.nonzero((render(figure) < 250).any(axis=2))
    assert columns.min() >= 10
    assert abs(np.ptp(columns) - text_width("Wagtail, grey", 12)) < 4


@pytest.mark.parametrize(
    "name", ["$", "a$b$c", r"\frac{", r"$\frac{1$", "_x_^2", "鳥", "a%sb{}", " "]
)
def test_any_class_name_can_be_drawn(name):
    labels = np.array([0, 1])
    draw_confusion_matrix(labels, labels, [name, "other"])
    render(draw_bars([name, "other"], [0.5, 1], "%.2f")[0])
    tile = Tile(np.zeros((9, 9, 3), np.uint8), name)
    draw_image_grid(name, [tile], 1, (80, 80), [name])
