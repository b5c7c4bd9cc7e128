"""Classification metrics, against values computed by hand and scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    log_loss,
    top_k_accuracy_score,
)

from evaluation.metrics import classification_intervals, classification_metrics

LEVELS = {"coarse": ["tree", "tree", "herb", "herb"], "kingdom": ["plant"] * 4}


def test_accuracy_and_loss():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.3, 0.5, 0.2], [0.6, 0.3, 0.1]])
    metrics = classification_metrics(probabilities, np.array([0, 1, 2]))
    assert metrics == {
        "accuracy": pytest.approx(2 / 3),
        "macro_accuracy": pytest.approx(2 / 3),
        "macro_f1": pytest.approx((2 / 3 + 1) / 3),
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
    metrics = classification_metrics(probabilities, labels, LEVELS)
    assert metrics["accuracy"] == pytest.approx(1 / 5)
    assert metrics["coarse_accuracy"] == pytest.approx(3 / 5)
    assert metrics["kingdom_accuracy"] == 1.0
    assert "coarse_accuracy" not in classification_metrics(probabilities, labels)


def test_a_prediction_with_a_nan_is_of_no_group():
    probabilities = np.array([[np.nan, 1.0], [0.0, 1.0]])
    metrics = classification_metrics(probabilities, np.array([1, 1]), {"coarse": ["a", "a"]})
    assert metrics["coarse_accuracy"] == 0.5


@st.composite
def predictions(draw) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, often tied, of few images and up to 8 classes, and labels of few classes."""
    seed, count = draw(st.integers(0, 10_000)), draw(st.integers(1, 30))
    classes, present = draw(st.integers(2, 8)), draw(st.integers(1, 8))
    rng = np.random.default_rng(seed)
    scores = rng.integers(1, draw(st.sampled_from([2, 4, 1000])), (count, classes), endpoint=True)
    labels = rng.integers(0, min(classes, present), count)
    if draw(st.booleans()):  # one class is predicted
        scores[:, -1] = 2000
    return scores / scores.sum(axis=1, keepdims=True), labels


@given(predictions())
def test_metrics_are_those_of_scikit_learn(made):
    probabilities, labels = made
    predicted = probabilities.argmax(axis=1)
    occurring = np.union1d(labels, predicted)
    metrics = classification_metrics(probabilities, labels)
    assert metrics["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    recalls = [np.mean(predicted[labels == label] == label) for label in np.unique(labels)]
    assert metrics["macro_accuracy"] == pytest.approx(np.mean(recalls))
    expected = f1_score(labels, predicted, labels=occurring, average="macro")
    assert metrics["macro_f1"] == pytest.approx(expected)
    assert metrics["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    classes = np.arange(probabilities.shape[1])
    assert metrics["loss"] == pytest.approx(log_loss(labels, probabilities, labels=classes))


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.filterwarnings("ignore:A single label")
@given(predictions())
def test_macro_accuracy_is_the_balanced_accuracy_of_scikit_learn(made):
    probabilities, labels = made
    expected = balanced_accuracy_score(labels, probabilities.argmax(axis=1))
    metrics = classification_metrics(probabilities, labels)
    assert metrics["macro_accuracy"] == pytest.approx(expected)


@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(3, 8), st.integers(1, 7))
def test_top_k_accuracy_without_ties_is_that_of_scikit_learn(seed, count, classes, k):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(classes), count)
    labels = rng.integers(0, classes, count)
    metrics = classification_metrics(probabilities, labels, top_k=k)
    for each in {5, k}:
        expected = 1.0
        if each < classes:
            numbers = np.arange(classes)
            expected = top_k_accuracy_score(labels, probabilities, k=each, labels=numbers)
        assert metrics[f"top{each}_accuracy"] == pytest.approx(expected)


@given(predictions(), st.integers(1, 9))
def test_ties_count_against_the_label_in_top_k_accuracy(made, k):
    probabilities, labels = made
    among = [
        sum(other >= scores[label] for other in scores) <= k
        for scores, label in zip(probabilities, labels, strict=True)
    ]
    metrics = classification_metrics(probabilities, labels, top_k=k)
    assert metrics[f"top{k}_accuracy"] == pytest.approx(np.mean(among))


def test_a_constant_model():
    metrics = classification_metrics(np.full((6, 3), 1 / 3), np.array([0, 0, 0, 0, 1, 2]), top_k=2)
    assert metrics["accuracy"] == pytest.approx(4 / 6)  # the first class is taken
    assert metrics["macro_accuracy"] == pytest.approx(1 / 3)
    assert metrics["macro_f1"] == pytest.approx(0.8 / 3)
    assert (metrics["top2_accuracy"], metrics["top5_accuracy"]) == (0, 1)


def test_classes_that_never_occur_count_nowhere_and_those_only_predicted_have_an_f1_of_0():
    probabilities = np.eye(9)[[2, 2, 5]]
    metrics = classification_metrics(probabilities, np.array([2, 2, 2]))
    assert metrics["macro_accuracy"] == pytest.approx(2 / 3)
    assert metrics["macro_f1"] == pytest.approx((0.8 + 0) / 2)


def test_a_prediction_with_a_nan_is_of_no_class():
    probabilities = np.eye(3)[[0, 1, 2, 2]]
    probabilities[2] = np.nan
    metrics = classification_metrics(probabilities, np.array([0, 1, 0, 2]))
    assert metrics["macro_accuracy"] == pytest.approx((0.5 + 1 + 1) / 3)
    assert metrics["macro_f1"] == pytest.approx((2 / 3 + 1 + 1) / 3)
    metrics = classification_metrics(np.full((2, 4), np.nan), np.array([0, 3]), LEVELS)
    assert (metrics["macro_accuracy"], metrics["macro_f1"]) == (0, 0)
    assert metrics["mistake_distance"] == 3


def test_the_distance_of_mistakes_is_their_mean_height():
    labels, predicted = np.array([0, 0, 0, 1]), [0, 1, 2, 3]
    metrics = classification_metrics(np.eye(4)[predicted], labels, LEVELS)
    assert metrics["mistake_distance"] == pytest.approx((1 + 2 + 2) / 3)
    right = classification_metrics(np.eye(4)[labels], labels, LEVELS)
    assert right["mistake_distance"] == 0
    assert "mistake_distance" not in classification_metrics(np.eye(4)[predicted], labels)


def test_every_metric_but_the_calibration_error_has_an_interval():
    rng = np.random.default_rng(0)
    probabilities, labels = rng.dirichlet(np.ones(4), 60), rng.integers(0, 4, 60)
    metrics = classification_metrics(probabilities, labels, LEVELS, top_k=2)
    intervals = classification_intervals(probabilities, labels, LEVELS, top_k=2)
    assert metrics.keys() - intervals.keys() == {"calibration_error", "pictures", "classes"}
    for name, (low, high) in intervals.items():
        assert low <= metrics[name] <= high


def test_resamples_without_mistakes_do_not_count_for_their_distance():
    labels = np.zeros(200, np.int64)
    predicted = np.where(np.arange(200) < 3, 2, 0)  # three mistakes, of height 2
    intervals = classification_intervals(np.eye(4)[predicted], labels, LEVELS)
    assert intervals["mistake_distance"] == (2, 2)
    intervals = classification_intervals(np.eye(4)[labels], labels, LEVELS)
    assert "mistake_distance" not in intervals and intervals["accuracy"] == (1, 1)


@pytest.mark.parametrize("label", [0, 1])
def test_a_single_image_is_its_own_interval(label):
    intervals = classification_intervals(np.array([[0.75, 0.25]]), np.array([label]))
    metrics = classification_metrics(np.array([[0.75, 0.25]]), np.array([label]))
    assert all(interval == (metrics[name],) * 2 for name, interval in intervals.items())


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
