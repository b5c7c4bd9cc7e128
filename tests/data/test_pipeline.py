"""Batches for `fit` and `predict`."""

import gc
import itertools
import weakref

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from data.pipeline import Share, evaluation_batches, steps, training_batches, user_errors
from errors import UserError

CLASSES = 4
few = settings(max_examples=12)
index_sets = st.sets(st.integers(0, 60), min_size=1, max_size=25).map(sorted).map(np.array)
sizes = st.integers(1, 9)
seeds = st.integers(0, 2**31)


class IndexInputs:
    """Inputs whose samples are the arguments: index, epoch or mirrored, seed."""

    shape, dtype = (3,), np.dtype(np.int64)

    def evaluation(self, indices, mirrored=False):
        return np.stack([indices, np.full(len(indices), int(mirrored)), 0 * indices], axis=-1)

    def training(self, indices, seed, epoch):
        return np.stack(
            [indices, np.full(len(indices), epoch), np.full(len(indices), seed)], axis=-1
        )


class Broken(IndexInputs):
    def evaluation(self, indices, mirrored=False):
        raise UserError("oak/1.png cannot be decoded (it is text); repair or remove it")

    def training(self, indices, seed, epoch):
        return self.evaluation(indices)


LABELS = np.arange(61) % CLASSES


def batches_of(indices, size, seed, epochs, first_epoch=0) -> list[tuple[np.ndarray, np.ndarray]]:
    stream = training_batches(IndexInputs(), LABELS, indices, CLASSES, size, seed, first_epoch)
    return list(itertools.islice(stream.as_numpy_iterator(), epochs * steps(indices, size)))


@few
@given(index_sets, sizes, seeds)
def test_an_epoch_reads_each_image_once(indices, size, seed):
    samples = np.concatenate([sample for sample, _ in batches_of(indices, size, seed, epochs=2)])
    for epoch, part in enumerate(np.split(samples, 2)):
        np.testing.assert_array_equal(np.sort(part[:, 0]), indices)
        assert set(part[:, 1]) == {epoch}
        assert set(part[:, 2]) == {seed}


@few
@given(index_sets, sizes, seeds)
def test_each_sample_comes_with_its_own_label(indices, size, seed):
    for sample, label in batches_of(indices, size, seed, epochs=1):
        np.testing.assert_array_equal(label, np.eye(CLASSES)[LABELS[sample[:, 0]]])


@settings(max_examples=5)
@given(index_sets, sizes, seeds, st.sampled_from([(1, 2), (2, 1), (2, 2), (3, 1)]))
def test_the_parts_of_all_replicas_make_up_a_batch(indices, size, seed, cluster):
    workers, replicas = cluster
    total = workers * replicas
    whole = batches_of(indices, size, seed, epochs=1)
    shares = [Share(worker * replicas, replicas, total) for worker in range(workers)]
    for share in shares:
        stream = training_batches(IndexInputs(), LABELS, indices, CLASSES, size, seed, share=share)
        parts = list(itertools.islice(stream.as_numpy_iterator(), replicas * len(whole)))
        for step, (sample, label) in enumerate(whole):
            for here in range(replicas):
                part, part_label = parts[step * replicas + here]
                start, end = (len(sample) * (share.first + here + i) // total for i in (0, 1))
                np.testing.assert_array_equal(part, sample[start:end])
                np.testing.assert_array_equal(part_label, label[start:end])


@few
@given(index_sets, sizes, seeds, st.integers(1, 3))
def test_a_stream_that_starts_later_continues_as_an_earlier_one(indices, size, seed, first_epoch):
    whole = batches_of(indices, size, seed, epochs=first_epoch + 1)
    later = batches_of(indices, size, seed, 1, first_epoch)
    for (sample, label), (expected, expected_label) in zip(
        later, whole[-len(later) :], strict=True
    ):
        np.testing.assert_array_equal(sample, expected)
        np.testing.assert_array_equal(label, expected_label)


def order(seed: int, epoch: int, size: int = 5) -> list[int]:
    batches = batches_of(np.arange(40), size, seed, 1, epoch)
    return np.concatenate([sample[:, 0] for sample, _ in batches]).tolist()


def test_the_order_changes_with_seed_and_epoch_but_not_with_the_batch_size():
    assert order(seed=0, epoch=0) != list(range(40))
    assert order(seed=0, epoch=1) != order(seed=0, epoch=0)
    assert order(seed=1, epoch=0) != order(seed=0, epoch=0)
    assert order(seed=0, epoch=0, size=7) == order(seed=0, epoch=0)


@few
@given(index_sets, sizes, st.booleans())
def test_evaluation_reads_each_image_once_in_order(indices, size, mirrored):
    indices = indices[::-1]
    stream = evaluation_batches(IndexInputs(), LABELS, indices, CLASSES, size, mirrored)
    samples, labels = zip(*stream.as_numpy_iterator(), strict=True)
    assert len(samples) == steps(indices, size)
    np.testing.assert_array_equal(np.concatenate(samples)[:, 0], indices)
    assert set(np.concatenate(samples)[:, 1]) == {int(mirrored)}
    np.testing.assert_array_equal(np.concatenate(labels), np.eye(CLASSES)[LABELS[indices]])


def test_the_batches_have_static_shapes_but_for_their_size():
    sample, label = evaluation_batches(IndexInputs(), LABELS, np.arange(5), CLASSES, 2).element_spec
    assert (sample.shape.as_list(), label.shape.as_list()) == ([None, 3], [None, CLASSES])
    assert sample.dtype == tf.int64


def test_steps_count_the_smaller_last_batch():
    assert [steps(np.arange(n), 4) for n in (1, 4, 5, 8)] == [1, 1, 2, 2]


@pytest.mark.parametrize("batches", [training_batches, evaluation_batches])
def test_an_undecodable_image_in_a_pipeline_s_thread_is_a_user_error(batches):
    stream = batches(Broken(), LABELS, np.arange(5), CLASSES, 2, 0)
    with pytest.raises(UserError) as caught, user_errors():
        next(iter(stream))
    assert str(caught.value) == "oak/1.png cannot be decoded (it is text); repair or remove it"


def test_other_errors_of_a_pipeline_stay_what_they_are():
    def broken():
        raise ZeroDivisionError
        yield

    stream = tf.data.Dataset.from_generator(broken, output_types=tf.int32)
    with pytest.raises(tf.errors.OpError), user_errors():
        next(iter(stream))


def test_inputs_are_freed_with_their_batches():
    """The runs of a sweep share a process; each must free its descriptors."""
    inputs = IndexInputs()
    batches = evaluation_batches(inputs, LABELS, np.arange(5), CLASSES, 2)
    assert len(list(batches)) == 3
    reference = weakref.ref(inputs)
    del inputs, batches
    gc.collect()
    assert reference() is None
