"""Confusions of a predicted class, against the true classes."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from evaluation.confusion import confusion_of


def test_counts_are_those_of_the_confusion_matrix():
    labels, predictions = np.random.default_rng(0).integers(0, 5, (2, 200)).astype(str)
    matrix = confusion_matrix(labels, predictions)
    for number in range(5):
        confusion = confusion_of(str(number), list(zip(labels, predictions, strict=True)))
        wrong = {str(other): matrix[other, number] for other in range(5) if other != number}
        assert confusion.total == matrix[:, number].sum()
        assert dict(confusion.others) == wrong and confusion.wrong == sum(wrong.values())
        counts = [count for _, count in confusion.others]
        assert counts == sorted(counts, reverse=True)


def test_equally_frequent_classes_are_sorted_by_name():
    predictions = [("b", "x"), ("a", "x"), ("c", "x"), ("c", "x"), ("x", "b")]
    assert confusion_of("x", predictions).others == [("c", 2), ("a", 1), ("b", 1)]


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ("", "test images predicted as x: none"),
        ("xx", "test images predicted as x: 2, wrong: none"),
        ("xxaab", "test images predicted as x: 5, wrong: 3 (a 2, b 1)"),
        ("aaabbcd", "test images predicted as x: 7, wrong: 7 (a 3, b 2, c 1, ...)"),
    ],
)
def test_it_is_said_in_words(labels, sentence):
    assert confusion_of("x", [(label, "x") for label in labels]).sentence() == sentence
