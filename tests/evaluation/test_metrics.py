"""Classification metrics, against values computed by hand."""

import math

import numpy as np
import pytest

from evaluation.metrics import classification_metrics


def test_accuracy_and_loss():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.3, 0.5, 0.2], [0.6, 0.3, 0.1]])
    metrics = classification_metrics(probabilities, np.array([0, 1, 2]))
    assert metrics == {
        "accuracy": pytest.approx(2 / 3),
        "top5_accuracy": 1.0,  # with three classes
        "loss": pytest.approx(-(math.log(0.7) + math.log(0.5) + math.log(0.1)) / 3),
        "pictures": 3,
    }


def test_top5_accuracy_counts_labels_among_the_five_most_probable_classes():
    probabilities = np.tile(np.array([0.30, 0.25, 0.20, 0.12, 0.08, 0.04, 0.01]), (7, 1))
    metrics = classification_metrics(probabilities, np.arange(7))
    assert metrics["accuracy"] == pytest.approx(1 / 7)
    assert metrics["top5_accuracy"] == pytest.approx(5 / 7)


def test_the_loss_of_a_label_with_zero_probability_is_finite():
    metrics = classification_metrics(np.array([[1.0, 0.0]]), np.array([1]))
    assert metrics["accuracy"] == 0.0
    assert metrics["loss"] == pytest.approx(-math.log(1e-12))


def test_nan_predictions_are_wrong():
    metrics = classification_metrics(np.full((3, 7), np.nan), np.array([1, 2, 3]))
    assert metrics["accuracy"] == metrics["top5_accuracy"] == 0.0
