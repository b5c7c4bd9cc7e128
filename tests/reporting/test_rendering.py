"""Text in plots: measured, and shortened if it is too wide."""

import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reporting import rendering
from reporting.bar_chart import draw_bars
from reporting.confusion_matrix import draw_confusion_matrix
from reporting.image_grid import Tile, draw_image_grid
from reporting.plots import roc_curves
from reporting.rendering import (
    drawn,
    new_axes,
    new_figure,
    render,
    shorten,
    text_width,
    with_glyphs,
)

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


NAMES = [
    "$",
    "a$b$c",
    r"\frac{",
    r"$\frac{1$",
    "_x_^2",
    "鳥",
    "a%sb{}",
    " ",
    "",
    "a|b",
    "🐦",
    "\u0627",
]


@pytest.mark.parametrize("name", NAMES)
def test_any_class_name_can_be_drawn(name, recwarn):
    labels = np.array([0, 1])
    draw_confusion_matrix(labels, labels, [name, "other"])
    render(draw_bars([name, "other"], [0.5, 1], "%.2f")[0])
    tile = Tile(np.zeros((9, 9, 3), np.uint8), name)
    draw_image_grid(name, [tile], 1, (80, 80), [name])
    roc_curves(np.array([True, False]), {"frozen": {}, "learned": {}}, name)
    assert not [str(each.message) for each in recwarn if "missing from font" in str(each.message)]


def drawing_of(text: str, place: str) -> np.ndarray:
    figure, axes = new_axes(400, 300)
    if place == "legend":
        axes.plot([0, 1], label=text)
        axes.legend()
    elif place == "ticks":
        axes.set_yticks([0, 1], [text, "other"])
    else:
        axes.set_title(text)
    return render(figure)


@pytest.mark.parametrize("place", ["title", "legend", "ticks"])
def test_a_formula_is_drawn_as_its_text(place):
    formula, upright = (drawing_of(text, place) for text in ("$x$", "$x $"))
    assert (formula < 128).sum() == pytest.approx((upright < 128).sum(), rel=0.02)


def test_characters_without_a_glyph_are_escaped_and_reported(caplog):
    assert with_glyphs("Grünspecht, pic vert") == "Grünspecht, pic vert"
    unassigned = "\U000e0fff"
    rendering._advise.cache_clear()  # an earlier test may have had such a character
    with caplog.at_level(logging.WARNING):
        assert with_glyphs(f"bird {unassigned}") == r"bird \U000e0fff"
        assert with_glyphs(f"birds {unassigned}") == r"birds \U000e0fff"
    assert len(caplog.records) == 1 and "no installed font has" in caplog.text
    assert len({with_glyphs(name) for name in ("鳥", "鸟", "새", "นก")}) == 4


def test_a_plot_that_fails_is_skipped_with_one_line(caplog):
    def fails():
        raise ValueError("no\nsuch glyph")

    assert drawn("ROC", lambda: np.zeros(1)) is not None
    with caplog.at_level(logging.WARNING):
        assert drawn("ROC", fails) is None
    assert [record.getMessage() for record in caplog.records] == [
        "warning: the plot ROC is skipped: no such glyph"
    ]
