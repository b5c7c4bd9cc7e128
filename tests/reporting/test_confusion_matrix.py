"""The confusion matrix as an image."""

import numpy as np
import pytest

from reporting.confusion_matrix import MAX_NAMED, MAX_SIDE, draw_confusion_matrix

CLASSES = ["ant", "bee", "cat"]
DARKEST = (8, 48, 107)  # a share of 1


@pytest.mark.parametrize("classes", [1, 2, 30, MAX_NAMED, MAX_NAMED + 1, 200, 3000])
def test_the_image_of_any_number_of_classes_fits_a_screen(classes):
    labels = np.arange(classes)
    image = draw_confusion_matrix(labels, labels[::-1], [f"class {number}" for number in labels])
    assert image.dtype == np.uint8 and image.shape[2] == 3
    assert max(image.shape) < MAX_SIDE + 400


def test_correct_predictions_are_on_the_diagonal():
    labels = np.array([0, 0, 1, 2])
    right = draw_confusion_matrix(labels, labels, CLASSES)
    rows, columns = np.nonzero((right == DARKEST).all(axis=2))
    first, last = rows < np.quantile(rows, 0.1), rows > np.quantile(rows, 0.9)
    assert columns[first].min() < columns[last].min()
    wrong = draw_confusion_matrix(labels, np.array([0, 1, 1, 2]), CLASSES)
    assert right.shape == wrong.shape and (right != wrong).any()


def lines_between_groups(image: np.ndarray) -> int:
    """The number of grey lines across the image."""
    grey = (np.ptp(image, axis=2) < 8) & (np.abs(image[..., 0].astype(int) - 128) < 40)
    across = (grey.mean(axis=1) > 0.3).astype(int)
    return int(np.sum(np.diff(across) == 1))


@pytest.mark.parametrize(
    ("groups", "lines"), [(["x", "y", "x"], 1), (["x", "y", "z"], 2), (["x", "x", "x"], 0)]
)
def test_lines_separate_the_groups(groups, lines):
    labels = np.arange(3)
    assert lines_between_groups(draw_confusion_matrix(labels, labels, CLASSES)) == 0
    image = draw_confusion_matrix(labels, labels, CLASSES, {"coarse": groups})
    assert lines_between_groups(image) == lines


def test_classes_are_sorted_by_the_coarsest_level_first():
    names = ["a", "b", "c", "d", "e"]
    levels = {"coarse": ["y", "x", "y", "x", "y"], "fine": ["r", "p", "q", "p", "r"]}
    labels, predictions = np.array([0, 1, 2, 3, 4, 4]), np.array([4, 1, 0, 1, 4, 2])
    order = [1, 3, 2, 0, 4]
    by_group = {level: [groups[number] for number in order] for level, groups in levels.items()}
    sorted_names = [names[number] for number in order]
    positions = np.argsort(order)
    expected = draw_confusion_matrix(
        positions[labels], positions[predictions], sorted_names, by_group
    )
    np.testing.assert_array_equal(
        draw_confusion_matrix(labels, predictions, names, levels), expected
    )


@pytest.mark.parametrize("classes", [3, 30, MAX_NAMED + 1, 300])
def test_hierarchies_of_any_size_fit_a_screen(classes):
    levels = {
        "order": [f"order {number // 9}" for number in range(classes)],
        "family": [f"a family with a very long name, {number // 3}" for number in range(classes)],
        "kingdom": ["plants"] * classes,
    }
    labels = np.arange(classes)
    image = draw_confusion_matrix(labels, labels, [f"class {number}" for number in labels], levels)
    assert max(image.shape) < MAX_SIDE + 600


def test_a_class_without_images_causes_no_division_by_zero():
    with np.errstate(all="raise"):
        draw_confusion_matrix(np.array([0, 1]), np.array([0, 0]), CLASSES)


def test_long_names_are_shortened_and_do_not_widen_the_image():
    labels = np.arange(3)
    long = [f"{name} of a kind that has a very long name indeed" for name in CLASSES]
    longer = [f"{name}{' indeed' * 20}" for name in long]
    images = [draw_confusion_matrix(labels, labels, names) for names in (long, longer)]
    assert abs(images[0].shape[1] - images[1].shape[1]) < 20
