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
        "calibration_error": pytest.approx((0.3 + 0.5 + 0.6) / 3),  # one prediction in each bin
        "pictures": 3,
        "classes": 3,
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


def test_classes_are_those_that_have_images():
    metrics = classification_metrics(np.full((4, 9), 1 / 9), np.array([8, 2, 2, 5]))
    assert (metrics["pictures"], metrics["classes"]) == (4, 3)


def test_coarse_accuracy_counts_predictions_of_the_right_group():
    probabilities = np.eye(4)[[0, 1, 2, 3, 1]]
    labels = np.array([0, 0, 0, 2, 3])  # right, in the group, wrong, in the group, wrong
    levels = {"coarse": ["tree", "tree", "herb", "herb"], "kingdom": ["plant"] * 4}
    metrics = classification_metrics(probabilities, labels, levels)
    assert metrics["accuracy"] == pytest.approx(1 / 5)
    assert metrics["coarse_accuracy"] == pytest.approx(3 / 5)
    assert metrics["kingdom_accuracy"] == 1.0
    assert "coarse_accuracy" not in classification_metrics(probabilities, labels)


def test_a_prediction_with_a_nan_is_of_no_group():
    probabilities = np.array([[np.nan, 1.0], [0.0, 1.0]])
    metrics = classification_metrics(probabilities, np.array([1, 1]), {"coarse": ["a", "a"]})
    assert metrics["coarse_accuracy"] == 0.5


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_a_prediction_with_a_nan_is_wrong_and_the_others_count(classes):
    probabilities = np.full((4, classes), 0.01)
    probabilities[:, 1] = 0.9
    probabilities[0, 1] = probabilities[1, 0] = np.nan
    metrics = classification_metrics(probabilities, np.array([1, 1, 1, 1]))
    assert metrics["accuracy"] == metrics["top5_accuracy"] == 0.5
    assert metrics["loss"] == pytest.approx(-(math.log(1e-12) + math.log(0.9)) / 2)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_predictions_of_any_type(dtype):
    rng = np.random.default_rng(0)
    probabilities = (rng.integers(1, 2**9, (200, 9)) / 2**10).astype(dtype)  # exact in float16
    labels = rng.integers(0, 9, 200)
    metrics = classification_metrics(probabilities, labels)
    assert metrics == classification_metrics(probabilities.astype(np.float64), labels)
    for other in (np.uint8, np.int32, np.float32):
        assert metrics == classification_metrics(probabilities, labels.astype(other))


@pytest.mark.parametrize(
    "labels", [np.zeros(3), np.zeros(1, int), np.zeros((4, 1), int), np.zeros((4, 2), int), 0]
)
def test_another_number_of_labels_is_an_error(labels):
    with pytest.raises(ValueError, match=r"the shape \(n,\). Received: \(4, 2\)"):
        classification_metrics(np.full((4, 2), 0.5), labels)


@pytest.mark.parametrize("label", [-1, 2, 0.5, np.nan, np.inf])
def test_a_label_that_is_no_index_of_a_class_is_an_error(label):
    with pytest.raises(ValueError, match="`labels` must be integers from 0 to 1"):
        classification_metrics(np.full((2, 2), 0.5), np.array([0, label]))
