"""Accuracy by class, and the most confused pairs of classes."""

import numpy as np
import pytest

from data.datasets import open_dataset
from reporting.class_plots import (
    accuracy_markdown,
    class_accuracies,
    confused_pairs,
    draw_accuracies,
    draw_confused_pairs,
)

LABELS = np.array([0, 0, 0, 1, 1, 2])
PREDICTIONS = np.array([1, 1, 0, 0, 1, 2])


def test_accuracies_are_sorted_and_omit_classes_without_images():
    accuracies = class_accuracies(LABELS, PREDICTIONS, ["ant", "bee", "cat", "dog"])
    assert accuracies == [("ant", pytest.approx(1 / 3), 3), ("bee", 0.5, 2), ("cat", 1.0, 1)]
    assert accuracy_markdown(accuracies).splitlines()[2] == "| ant | 0.333 | 3 |"


@pytest.mark.parametrize("classes", [2, 200])
def test_any_number_of_classes_can_be_drawn(classes):
    labels = np.arange(classes)
    names = [f"class {number}" for number in labels]
    image = draw_accuracies(class_accuracies(labels, labels, names), len(names))
    assert image.dtype == np.uint8 and image.shape[0] < 1200


def test_pairs_count_mistakes_in_both_directions_most_first():
    assert confused_pairs(LABELS, PREDICTIONS) == [(0, 1, 3)]
    assert confused_pairs(np.array([0, 1, 1]), np.array([2, 2, 2])) == [(1, 2, 2), (0, 2, 1)]
    assert confused_pairs(LABELS, LABELS) == []


@pytest.mark.parametrize("wrong", [0, 1, 6])
def test_pairs_can_be_drawn_for_any_number_of_mistakes(folder_config, image_folder_path, wrong):
    config = folder_config(image_folder_path).data
    dataset = open_dataset(config, 0)
    labels = dataset.labels[dataset.splits["test"]]
    predictions = np.where(np.arange(len(labels)) < wrong, (labels + 1) % 3, labels)
    image = draw_confused_pairs(dataset, "test", 0.1 + 0.7 * np.eye(3)[predictions], config)
    assert image.dtype == np.uint8 and image.shape[2] == 3
