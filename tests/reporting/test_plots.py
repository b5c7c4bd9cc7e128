"""Plots of predictions and scores, as RGB arrays."""

import numpy as np
import pytest

from data.datasets import Dataset, open_dataset
from reporting.plots import neighbours, roc_curves, worst_mistakes


def assert_image(array: np.ndarray) -> None:
    assert array.dtype == np.uint8
    assert array.ndim == 3 and array.shape[2] == 3
    assert min(array.shape[:2]) > 100
    assert len(np.unique(array)) > 10, "something is drawn"


@pytest.fixture
def opened(folder_config, image_folder_path) -> tuple:
    config = folder_config(image_folder_path).data
    return open_dataset(config, 0), config


def probabilities_of(dataset: Dataset, wrong: int) -> np.ndarray:
    """Returns confident predictions for the test split, `wrong` of them wrong."""
    labels = dataset.labels[dataset.splits["test"]]
    predictions = np.where(np.arange(len(labels)) < wrong, (labels + 1) % 3, labels)
    return 0.1 + 0.7 * np.eye(3)[predictions]


@pytest.mark.parametrize("wrong", [0, 1, 6])
def test_any_number_of_mistakes_can_be_drawn(opened, wrong):
    dataset, config = opened
    assert_image(worst_mistakes(dataset, "test", probabilities_of(dataset, wrong), config))


def test_only_the_most_confident_mistakes_are_shown(opened):
    dataset, config = opened
    probabilities = probabilities_of(dataset, 6)
    shown = []

    class Watched:
        labels = dataset.labels

        def name(self, index):
            return dataset.images.name(index)

        def encoded(self, index):
            shown.append(int(index))
            return dataset.images.encoded(index)

    indices = dataset.splits["test"]
    probabilities[4] *= 1.2
    probabilities[1] *= 1.1
    watched = Dataset("made", Watched(), dataset.class_names, dataset.splits, "")
    assert_image(worst_mistakes(watched, "test", probabilities, config, most=2))
    assert shown == [indices[4], indices[1]]


def test_roc_curves_of_better_scores_look_different():
    truth, rng = np.arange(40) < 10, np.random.default_rng(0)
    noise = {name: rng.normal(size=40) for name in ("k_nn", "one_class_svm")}
    perfect = dict.fromkeys(noise, truth - 0.5)
    chance = roc_curves(truth, {"frozen": noise, "learned": noise}, "oak")
    better = roc_curves(truth, {"frozen": noise, "learned": perfect}, "oak")
    assert_image(better)
    assert (chance != better).any()


@pytest.mark.parametrize("most", [1, 4, 50])
def test_correct_neighbours_are_framed_green_and_others_red(opened, most):
    dataset, config = opened
    positions = np.arange(len(dataset.splits["test"]))
    own = neighbours(dataset, "test", np.stack([positions, positions], axis=1), config, most)
    other = neighbours(
        dataset, "test", np.stack([positions, positions[::-1]], axis=1), config, most
    )
    green, red = (0, 128, 0), (255, 0, 0)
    assert_image(own)
    assert (own == green).all(axis=2).any() and not (own == red).all(axis=2).any()
    assert (other == red).all(axis=2).any()
