"""Pictures in a grid, each under its caption."""

import numpy as np
import pytest

from reporting.image_grid import Tile, in_lines, mosaic

BLUE, WHITE = (10, 20, 200), (255, 255, 255)


def plain(colour=BLUE, size=(20, 30)) -> np.ndarray:
    return np.full((*size, 3), colour, np.uint8)


def area(image: np.ndarray, colour) -> int:
    return int((image == colour).all(axis=2).sum())


@pytest.mark.parametrize("lines", [[], [[]], [[None]], [[None, None], [None]]])
def test_there_may_be_nothing_to_show(lines):
    found = mosaic("nothing", lines, (40, 50))
    assert found.dtype == np.uint8 and found.shape[2] == 3


@pytest.mark.parametrize("caption", ["", "one", "one\ntwo\nthree", "a name " * 30])
def test_each_image_is_shown_whole_whatever_its_caption(caption):
    tiles = [Tile(plain(), caption), Tile(plain(size=(7, 5)), "other"), Tile(plain())]
    found = mosaic("three", in_lines(tiles, 2), (80, 50))
    assert area(found, BLUE) == 3 * 80 * 50


def test_lines_are_filled_from_the_left():
    assert in_lines([1, 2, 3], 2) == [[1, 2], [3]]
    assert in_lines([], 2) == [[]]


def test_an_empty_place_stays_empty():
    found = mosaic("gaps", [[Tile(plain()), None, Tile(plain())]], (40, 40))
    columns = np.nonzero((found == BLUE).all(axis=2).any(axis=0))[0]
    assert len(columns) == 80 and np.diff(columns).max() > 40


def test_a_frame_has_its_colour_and_covers_only_the_edge():
    found = mosaic("framed", [[Tile(plain(), frame="red")]], (40, 40))
    assert area(found, (255, 0, 0)) + area(found, BLUE) == 40 * 40
    assert area(found, BLUE) > 30 * 30


def test_captions_and_what_is_beside_a_line_are_written():
    bare = mosaic("", [[Tile(plain())]], (60, 60))
    captioned = mosaic("", [[Tile(plain(), "wagtail", colour="#c00000")]], (60, 60))
    beside = mosaic("", [[Tile(plain())]], (60, 60), ["3 mistakes"])
    assert area(bare, WHITE) + area(bare, BLUE) == bare[..., 0].size
    assert (captioned[..., 0] > captioned[..., 1] + 50).any()
    assert beside.shape[1] > bare.shape[1] and (beside.max(axis=2) < 100).any()
