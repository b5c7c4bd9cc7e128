"""The reliability diagram."""

import numpy as np
import pytest

from evaluation.calibration import reliability
from reporting.reliability import BAR, HEIGHT, WIDTH, draw_reliability


def diagram(confidence: float, right: int):
    """Ten predictions of one confidence, so many of them right."""
    probabilities = np.tile([confidence, 1 - confidence], (10, 1))
    return reliability(probabilities, np.where(np.arange(10) < right, 0, 1))


def bar_pixels(image: np.ndarray) -> int:
    colour = [int(BAR[start : start + 2], 16) for start in (1, 3, 5)]
    return int((image == colour).all(axis=2).sum())


def test_diagrams_are_side_by_side():
    one = draw_reliability({"predictions": diagram(0.9, 9)})
    two = draw_reliability({"before": diagram(0.9, 5), "after": diagram(0.6, 5)})
    assert (one.shape, two.shape) == ((HEIGHT, WIDTH, 3), (HEIGHT, 2 * WIDTH, 3))


def test_bars_are_as_high_as_the_accuracy():
    heights = [bar_pixels(draw_reliability({"same": diagram(0.9, n)})) for n in (0, 5, 10)]
    assert 0 < heights[0] < heights[1] < heights[2]  # the images of the bin are a bar too
    assert heights[2] - heights[1] == pytest.approx(heights[1] - heights[0], rel=0.1)
