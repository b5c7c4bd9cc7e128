"""Metrics of each class, against loops over the images."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.class_metrics import class_metrics

NAMES = ["ant", "bee", "cat", "dog"]


def expected(name: str, labels: list[str], predictions: list[str]) -> tuple:
    pairs = list(zip(labels, predictions, strict=True))
    images, predicted = labels.count(name), predictions.count(name)
    right = pairs.count((name, name))
    accuracy = right / images if images else None
    precision = right / predicted if predicted else None
    f1 = 2 * right / (images + predicted) if images + predicted else None
    others = Counter(other for true, other in pairs if true == name and other not in (name, None))
    most = max(others.values(), default=0)
    first = next((other for other in NAMES if most and others[other] == most), None)
    return name, images, accuracy, precision, f1, first, most


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 3)), min_size=1, max_size=25))
def test_the_metrics_of_each_class_are_those_of_a_loop(pairs):
    labels, predictions = np.array(pairs).T
    metrics = class_metrics(labels, predictions, NAMES)
    true = [NAMES[label] for label in labels]
    predicted = [None if number < 0 else NAMES[number] for number in predictions]
    for each, name in zip(metrics, NAMES, strict=True):
        for value, reference in zip(each, expected(name, true, predicted), strict=True):
            same = value == reference
            assert same or value == pytest.approx(reference)


def test_what_is_not_defined_is_none():
    ant, bee, cat, dog = class_metrics(np.array([0, 0, 1]), np.array([0, 2, -1]), NAMES)
    assert ant == ("ant", 2, 0.5, 1.0, pytest.approx(2 / 3), "cat", 1)
    assert bee == ("bee", 1, 0.0, None, 0.0, None, 0)  # no class is predicted for its image
    assert cat == ("cat", 0, None, 0.0, 0.0, None, 0)
    assert dog == ("dog", 0, None, None, None, None, 0)
