"""Pictures of a model's figures, as RGB arrays."""

import numpy as np
import pytest

from data.datasets import Dataset, open_dataset
from experiments.figures import (
    MOST_LETTERS,
    confusion_matrix,
    neighbours,
    shortened,
    worst_mistakes,
)

CLASSES = ["ant", "bee", "cat"]


def assert_picture(array: np.ndarray) -> None:
    assert array.dtype == np.uint8
    assert array.ndim == 3 and array.shape[2] == 3
    assert min(array.shape[:2]) > 100
    assert len(np.unique(array)) > 10, "something is drawn"


@pytest.mark.parametrize("classes", [2, 30, 80])
def test_a_confusion_matrix_of_any_number_of_classes_is_a_picture(classes):
    labels = np.arange(classes)
    names = [f"class {number}" for number in labels]
    assert_picture(confusion_matrix(labels, labels[::-1], names))


def test_confusions_that_differ_look_different():
    labels = np.array([0, 0, 1, 2])
    right = confusion_matrix(labels, labels, CLASSES)
    wrong = confusion_matrix(labels, np.array([0, 1, 1, 2]), CLASSES)
    assert (right != wrong).any()


def test_a_long_name_keeps_both_ends():
    assert shortened("red_capped_goldbreast") == "red_capped_goldbreast"
    found = shortened("Chevrolet Silverado 1500 Hybrid Crew Cab 2012")
    assert found == "Chevrolet Si…rew Cab 2012" and len(found) <= MOST_LETTERS


def test_a_class_without_pictures_is_no_division_by_zero():
    with np.errstate(all="raise"):
        assert_picture(confusion_matrix(np.array([0, 1]), np.array([0, 0]), CLASSES))


@pytest.fixture
def opened(folder_config, picture_folder) -> tuple:
    config = folder_config(picture_folder).data
    return open_dataset(config, 0), config


def probabilities_of(dataset: Dataset, wrong: int) -> np.ndarray:
    """Sure predictions for the test split, so many of them wrong."""
    labels = dataset.labels[dataset.splits["test"]]
    predictions = np.where(np.arange(len(labels)) < wrong, (labels + 1) % 3, labels)
    return 0.1 + 0.7 * np.eye(3)[predictions]


@pytest.mark.parametrize("wrong", [0, 1, 6])
def test_mistakes_are_shown_however_many_there_are(opened, wrong):
    dataset, config = opened
    assert_picture(worst_mistakes(dataset, "test", probabilities_of(dataset, wrong), config))


def test_only_the_surest_mistakes_are_shown(opened):
    dataset, config = opened
    probabilities = probabilities_of(dataset, 6)
    shown = []

    class Watched:
        labels = dataset.labels

        def name(self, index):
            return dataset.pictures.name(index)

        def encoded(self, index):
            shown.append(int(index))
            return dataset.pictures.encoded(index)

    rows = dataset.splits["test"]
    probabilities[4] *= 1.2
    probabilities[1] *= 1.1
    watched = Dataset("made", Watched(), dataset.class_names, dataset.splits, "")
    assert_picture(worst_mistakes(watched, "test", probabilities, config, most=2))
    assert shown == [rows[4], rows[1]]


@pytest.mark.parametrize("most", [1, 4, 50])
def test_neighbours_are_framed_by_whether_they_are_right(opened, most):
    dataset, config = opened
    places = np.arange(len(dataset.splits["test"]))
    own = neighbours(dataset, "test", np.stack([places, places], axis=1), config, most)
    other = neighbours(dataset, "test", np.stack([places, places[::-1]], axis=1), config, most)
    green, red = (0, 128, 0), (255, 0, 0)
    assert_picture(own)
    assert (own == green).all(axis=2).any() and not (own == red).all(axis=2).any()
    assert (other == red).all(axis=2).any()
