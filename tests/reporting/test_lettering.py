"""Text on pictures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from reporting.lettering import fitted, height, width, write, write_upwards

SIZE = 12
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=60)


def test_a_long_line_keeps_both_ends():
    assert fitted("red_capped_goldbreast", SIZE, 200) == "red_capped_goldbreast"
    found = fitted("Chevrolet Silverado 1500 Hybrid Crew Cab 2012", SIZE, 160)
    assert found.startswith("Chevrolet") and found.endswith("Cab 2012") and "…" in found


@given(TEXT, st.integers(60, 300))
def test_what_is_fitted_fits(text, room):
    assert width(fitted(text, SIZE, room), SIZE) <= room


@pytest.mark.parametrize("anchor", ["lm", "mm", "rm", "mt", "mb"])
def test_a_line_upwards_is_a_line_turned(anchor):
    sheet = Image.new("RGB", (200, 200), "white")
    write_upwards(sheet, (100, 100), "speaking", SIZE, anchor)
    indices, columns = np.nonzero((np.asarray(sheet) < 128).all(axis=2))
    tall, wide = np.ptp(indices), np.ptp(columns)
    assert width("speaking", SIZE) - 5 < tall < width("speaking", SIZE)
    assert wide < height(1, SIZE)
    sides = {"l": columns.min() >= 100, "r": columns.max() < 100, "m": True}
    ends = {"t": indices.min() >= 100, "b": indices.max() < 100, "m": True}
    assert sides[anchor[0]] and ends[anchor[1]]


def test_a_line_takes_the_room_that_is_reported():
    sheet = Image.new("RGB", (200, 40), "white")
    write(sheet, (10, 20), "Wagtail, grey", SIZE)
    indices, columns = np.nonzero((np.asarray(sheet) < 250).any(axis=2))
    assert columns.min() >= 10 and columns.max() < 10 + width("Wagtail, grey", SIZE)
    assert np.ptp(indices) < height(1, SIZE)
