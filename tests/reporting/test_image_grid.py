"""Images in a grid, each below its caption."""

import numpy as np
import pytest

from reporting.image_grid import Tile, draw_image_grid

BLUE, WHITE = (10, 20, 200), (255, 255, 255)


def plain(colour=BLUE, size=(20, 30)) -> np.ndarray:
    return np.full((*size, 3), colour, np.uint8)


def area(image: np.ndarray, colour) -> int:
    return int((image == colour).all(axis=2).sum())


@pytest.mark.parametrize("tiles", [[], [None], [None, None, None]])
def test_a_grid_may_be_empty(tiles):
    grid = draw_image_grid("nothing", tiles, 2, (40, 50))
    assert grid.dtype == np.uint8 and grid.shape[2] == 3


@pytest.mark.parametrize("caption", ["", "one", "one\ntwo\nthree", "a name " * 30])
def test_a_caption_of_any_length_leaves_the_image_visible(caption):
    tiles = [Tile(plain(), caption), Tile(plain(size=(7, 5)), "other"), Tile(plain())]
    grid = draw_image_grid("three", tiles, 2, (80, 50))
    assert area(grid, BLUE) == 3 * 80 * 50


def test_rows_are_filled_from_the_left():
    grid = draw_image_grid("", [Tile(plain())] * 3, 2, (40, 40))
    heights = (grid == BLUE).all(axis=2).sum(axis=0)
    assert heights[heights > 0].tolist() == [80] * 40 + [40] * 40


def test_an_empty_place_stays_empty():
    grid = draw_image_grid("gaps", [Tile(plain()), None, Tile(plain())], 3, (40, 40))
    columns = np.nonzero((grid == BLUE).all(axis=2).any(axis=0))[0]
    assert len(columns) == 80 and np.diff(columns).max() > 40


def test_a_frame_covers_only_the_edge_of_the_image():
    grid = draw_image_grid("framed", [Tile(plain(), frame="red")], 1, (40, 40))
    assert area(grid, (255, 0, 0)) + area(grid, BLUE) == 40 * 40
    assert area(grid, BLUE) > 30 * 30


def test_captions_and_row_labels_are_written():
    bare = draw_image_grid("", [Tile(plain())], 1, (60, 60))
    captioned = draw_image_grid("", [Tile(plain(), "wagtail", colour="#c00000")], 1, (60, 60))
    labelled = draw_image_grid("", [Tile(plain())], 1, (60, 60), ["3 mistakes"])
    assert area(bare, WHITE) + area(bare, BLUE) == bare[..., 0].size
    assert (captioned[..., 0] > captioned[..., 1] + 50).any()
    assert labelled.shape[1] > bare.shape[1] and (labelled.max(axis=2) < 100).any()
