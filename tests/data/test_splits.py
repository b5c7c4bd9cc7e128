"""Stratified splits, and splits by class."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.splits import by_class, split_by_class, stratified_split
from errors import UserError

CLASSES = ["ant", "bee", "cat", "dog"]
counts = st.lists(st.integers(4, 30), min_size=1, max_size=4)
fractions = st.floats(0.01, 0.7)
seeds = st.integers(0, 2**32)


def labels_of(counts: list[int]) -> np.ndarray:
    """Shuffled labels with the given number of images of each class."""
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng(0).permutation(labels)


def split(labels, fraction, seed, indices=None):
    indices = np.arange(len(labels)) if indices is None else indices
    return stratified_split(indices, labels, fraction, seed, CLASSES, "data.val_fraction")


@given(counts, fractions, seeds)
def test_every_image_is_in_exactly_one_split(counts, fraction, seed):
    stayed, moved = split(labels_of(counts), fraction, seed)
    np.testing.assert_array_equal(np.sort(np.concatenate([stayed, moved])), np.arange(sum(counts)))
    assert (np.diff(stayed) > 0).all() and (np.diff(moved) > 0).all()


@given(counts, fractions, seeds)
def test_the_same_fraction_of_each_class_moves_and_at_least_one_image(counts, fraction, seed):
    labels = labels_of(counts)
    _, moved = split(labels, fraction, seed)
    expected = [max(1, round(fraction * count)) for count in counts]
    assert np.bincount(labels[moved], minlength=len(counts)).tolist() == expected


@given(counts, fractions, seeds)
def test_the_same_seed_gives_the_same_splits(counts, fraction, seed):
    labels = labels_of(counts)
    for first, second in zip(
        split(labels, fraction, seed), split(labels, fraction, seed), strict=True
    ):
        np.testing.assert_array_equal(first, second)


def test_a_different_seed_gives_different_splits():
    labels = labels_of([30, 30])
    assert split(labels, 0.3, 0)[1].tolist() != split(labels, 0.3, 1)[1].tolist()


@given(counts, seeds)
def test_only_the_given_indices_are_divided(counts, seed):
    labels = labels_of(counts)
    indices = np.sort(np.concatenate([np.flatnonzero(labels == k)[2:] for k in range(len(counts))]))
    stayed, moved = split(labels, 0.3, seed, indices)
    np.testing.assert_array_equal(np.union1d(stayed, moved), indices)


def test_the_fraction_0_moves_nothing():
    stayed, moved = split(labels_of([1, 3]), 0.0, 0)
    assert stayed.tolist() == [0, 1, 2, 3]
    assert moved.tolist() == []


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 1.5, float("nan")])
def test_a_fraction_out_of_range_names_its_key(fraction):
    with pytest.raises(UserError, match=r"data\.val_fraction=.*: must be at least 0 and below 1"):
        split(labels_of([5, 5]), fraction, 0)


def test_a_class_with_one_image_cannot_be_split():
    with pytest.raises(UserError, match=r"'bee' has too few .*\(1 left\).*data\.val_fraction"):
        split(np.array([0, 0, 0, 1]), 0.2, 0)


def test_a_class_that_would_lose_all_its_images_cannot_be_split():
    with pytest.raises(UserError, match=r"'ant' has too few images \(2 left\)"):
        split(np.array([0, 0, 1, 1, 1, 1]), 0.8, 0)


# Splits by class


@given(st.lists(st.integers(4, 12), min_size=4, max_size=9), seeds)
def test_the_first_half_of_the_classes_trains_and_the_others_test(counts, seed):
    labels, names = labels_of(counts), [str(number) for number in range(len(counts))]
    splits = split_by_class(np.arange(len(labels)), labels, 0.1, seed, names)
    np.testing.assert_array_equal(
        np.sort(np.concatenate(list(splits.values()))), np.arange(len(labels))
    )
    half = (len(counts) + 1) // 2  # of 17: 9 train, 8 test
    assert set(labels[splits["train"]]) == set(labels[splits["val"]]) == set(range(half))
    assert set(labels[splits["test"]]) == set(range(half, len(counts)))
    assert np.bincount(labels[splits["val"]]).min() == 2, "a query and an image to retrieve"


def test_fewer_than_four_classes_are_an_error():
    labels = np.arange(30) % 3
    with pytest.raises(UserError, match="needs at least 4; the data has 3"):
        split_by_class(np.arange(30), labels, 0.2, 0, CLASSES[:3])


@given(counts)
def test_indices_by_class_keep_their_order(counts):
    labels = labels_of(counts)
    indices = np.random.default_rng(1).permutation(len(labels))[::2]
    expected = [indices[labels[indices] == label] for label in np.unique(labels[indices])]
    groups = by_class(indices, labels)
    assert [group.tolist() for group in groups] == [group.tolist() for group in expected]


def test_no_indices_have_no_classes():
    assert by_class(np.array([], np.int64), np.array([0, 1])) == []
