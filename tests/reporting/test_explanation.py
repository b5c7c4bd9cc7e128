"""The plot that explains a prediction."""

import numpy as np
import pytest

from reporting.explanation import SIDE, Neighbour, draw_explanation

IMAGE = np.full((32, 32, 3), 200, np.uint8)
BEST = [("rose", 0.8), ("tulip", 0.2)]


def neighbours(*labels: str) -> list[tuple[Neighbour, np.ndarray]]:
    return [(Neighbour(0, "image.jpg", label, 0.5), IMAGE) for label in labels]


@pytest.mark.parametrize("evidence", [None, np.eye(4), np.zeros((4, 4))])
@pytest.mark.parametrize("best", [BEST, []])
@pytest.mark.parametrize("labels", [[], ["rose"], ["rose", "tulip", "lily"]])
def test_anything_but_the_image_may_be_missing(evidence, best, labels):
    evidence = evidence if best else None
    plot = draw_explanation("title", "name", IMAGE, best, evidence, neighbours(*labels))
    tiles = 1 + (evidence is not None) + len(labels)
    assert plot.dtype == np.uint8 and plot.shape[2] == 3
    assert tiles * SIDE < plot.shape[1] < (tiles + 1) * SIDE


def test_frames_say_which_neighbours_are_of_the_predicted_class():
    def colours(best) -> set[tuple[int, ...]]:
        plot = draw_explanation("", "", IMAGE, best, None, neighbours("rose", "tulip"))
        return {tuple(pixel) for pixel in plot[-SIDE // 2].tolist()}

    assert {(0, 128, 0), (255, 0, 0)} <= colours(BEST)
    assert not {(0, 128, 0), (255, 0, 0)} & colours([])


def test_long_names_make_no_wide_plot():
    name = "a long name " * 20
    best = [(name, 0.9), (name, 0.1)]
    plot = draw_explanation(name, name, IMAGE, best, np.eye(3), neighbours(name))
    assert plot.shape[1] < 4 * SIDE
