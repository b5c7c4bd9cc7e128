"""Batches of P classes times K images."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conf.schema import TrainerConfig
from data.balanced_batches import BalancedBatches, balanced_batches
from data.feature_store import FeatureStore
from data.pipeline import training_batches
from errors import UserError


@st.composite
def cases(draw):
    """Balanced batches, the indices of classes of different sizes, and all labels."""
    sizes = draw(st.lists(st.integers(1, 9), min_size=1, max_size=6))
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    indices = np.arange(len(labels))
    return (
        BalancedBatches(draw(st.integers(1, len(sizes))), draw(st.integers(1, 5))),
        indices,
        labels,
    )


@given(cases(), st.integers(0, 99))
def test_every_batch_has_p_classes_and_k_images_of_each(case, epoch):
    balance, indices, labels = case
    batches = balance.batches(indices, labels, 1, epoch)
    assert batches.shape == (balance.steps(indices), balance.classes * balance.images)
    for batch in batches:
        classes, counts = np.unique(labels[batch], return_counts=True)
        assert len(classes) == balance.classes
        assert set(counts) == {balance.images}
        for label in classes:  # images repeat only in classes with too few
            of_class = np.count_nonzero(labels[indices] == label)
            distinct = np.unique(batch[labels[batch] == label])
            assert len(distinct) == min(of_class, balance.images)


def test_an_epoch_reads_each_image_of_equal_classes_once():
    labels = np.arange(60) % 5
    batches = BalancedBatches(5, 4).batches(np.arange(60), labels, 0, 0)
    np.testing.assert_array_equal(np.sort(batches, axis=None), np.arange(60))


def test_a_large_class_is_read_more_often_than_a_small_one():
    labels = np.repeat([0, 1, 2, 3], [40, 8, 8, 8])
    batches = BalancedBatches(2, 4).batches(np.arange(64), labels, 0, 0)
    counts = np.bincount(labels[batches.ravel()])
    assert counts[0] == 32 and counts[1:].min() >= 8  # once in each of the eight batches


def test_batches_depend_only_on_seed_and_epoch():
    labels = np.arange(60) % 5
    first = BalancedBatches(3, 2).batches(np.arange(60), labels, 0, 0)
    np.testing.assert_array_equal(first, BalancedBatches(3, 2).batches(np.arange(60), labels, 0, 0))
    for seed, epoch in ((0, 1), (1, 0)):
        assert (first != BalancedBatches(3, 2).batches(np.arange(60), labels, seed, epoch)).any()


class IndexInputs:
    """Inputs whose samples are their index and epoch."""

    shape, dtype = (2,), np.dtype(np.int64)

    def training(self, indices, seed, epoch):
        return np.stack([indices, np.full(len(indices), epoch)], axis=-1)


LABELS, INDICES, BALANCE = np.arange(30) % 3, np.arange(0, 30, 2), BalancedBatches(2, 3)


def two_epochs(inputs, first_epoch=0):
    """Each batch's epoch and expected indices, and the sample and label of the pipeline."""
    batches = training_batches(inputs, LABELS, INDICES, None, 99, 7, first_epoch, BALANCE)
    stream = batches.as_numpy_iterator()
    for epoch in (first_epoch, first_epoch + 1):
        for indices in BALANCE.batches(INDICES, LABELS, 7, epoch):
            yield epoch, indices, *next(stream)


@pytest.mark.parametrize("first_epoch", [0, 2])
def test_the_pipeline_reads_balanced_batches_from_any_epoch_on(first_epoch):
    for epoch, indices, sample, label in two_epochs(IndexInputs(), first_epoch):
        np.testing.assert_array_equal(sample, np.stack([indices, 0 * indices + epoch], axis=-1))
        np.testing.assert_array_equal(label, LABELS[indices])


def test_balanced_batches_of_a_feature_store_hold_the_extract_the_same_images(tmp_path):
    def extract(indices):
        yield np.stack([indices, -indices], axis=-1)[:, None]

    store = FeatureStore(tmp_path, {"data": "made"}, INDICES, (2,), "float32", views=1)
    for _, indices, sample, label in two_epochs(store.open(extract)):
        np.testing.assert_array_equal(sample, np.stack([indices, -indices], axis=-1))
        np.testing.assert_array_equal(label, LABELS[indices])


def test_more_classes_per_batch_than_training_classes_are_an_error():
    labels = np.arange(30) % 3
    config = TrainerConfig(classes_per_batch=3, pictures_per_class=5)
    assert balanced_batches(config, np.arange(30), labels) == BalancedBatches(3, 5)
    assert balanced_batches(TrainerConfig(), np.arange(30), labels) is None
    with pytest.raises(UserError, match=r"classes_per_batch=3: there are only 2 classes"):
        balanced_batches(config, np.flatnonzero(labels < 2), labels)
