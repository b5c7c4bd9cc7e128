"""The confusion matrix as a picture."""

import numpy as np
import pytest

from reporting.confusion_matrix import MOST_NAMED, MOST_PIXELS, draw_confusion

CLASSES = ["ant", "bee", "cat"]
DARKEST = (8, 48, 107)  # a share of 1


@pytest.mark.parametrize("classes", [1, 2, 30, MOST_NAMED, MOST_NAMED + 1, 200, 3000])
def test_any_number_of_classes_makes_a_image_that_a_screen_shows(classes):
    labels = np.arange(classes)
    image = draw_confusion(labels, labels[::-1], [f"class {number}" for number in labels])
    assert image.dtype == np.uint8 and image.shape[2] == 3
    assert max(image.shape) < MOST_PIXELS + 400


def test_what_is_right_lies_on_the_diagonal():
    labels = np.array([0, 0, 1, 2])
    right = draw_confusion(labels, labels, CLASSES)
    indices, columns = np.nonzero((right == DARKEST).all(axis=2))
    first, last = indices < np.quantile(indices, 0.1), indices > np.quantile(indices, 0.9)
    assert columns[first].min() < columns[last].min()
    wrong = draw_confusion(labels, np.array([0, 1, 1, 2]), CLASSES)
    assert right.shape == wrong.shape and (right != wrong).any()


def test_a_class_without_images_is_no_division_by_zero():
    with np.errstate(all="raise"):
        draw_confusion(np.array([0, 1]), np.array([0, 0]), CLASSES)


def test_long_names_lose_their_middle_instead_of_making_the_image_wide():
    labels = np.arange(3)
    long = [f"{name} of a kind that has a very long name indeed" for name in CLASSES]
    longer = [f"{name}{' indeed' * 20}" for name in long]
    images = [draw_confusion(labels, labels, names) for names in (long, longer)]
    assert abs(images[0].shape[1] - images[1].shape[1]) < 20
