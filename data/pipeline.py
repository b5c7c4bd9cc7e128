"""Batches for `fit` and `predict` from any of the inputs in `data/inputs.py`."""

import contextlib
import re
import weakref
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from data.augmentation import Augmentation
from data.balanced_batches import BalancedBatches
from data.inputs import Inputs
from errors import UserError


class Share(NamedTuple):
    """The part of each batch that one worker reads: replicas `first` to `first + replicas - 1`.

    A batch is divided among `total` replicas. Their parts differ by one sample at most, and are
    empty if the batch has fewer samples than there are replicas. The worker gets the parts of its
    replicas one after the other.
    """

    first: int
    replicas: int
    total: int


WHOLE = Share(0, 1, 1)


def training_batches(
    inputs: Inputs,
    labels: np.ndarray,
    indices: np.ndarray,
    classes: int | None,
    batch_size: int,
    seed: int,
    first_epoch: int = 0,
    balance: BalancedBatches | None = None,
    share: Share = WHOLE,
    augmentation: Augmentation | None = None,
) -> tf.data.Dataset:
    """Endless batches of (sample, label); an epoch has `steps(indices, batch_size, balance)`.

    Order and crops depend only on seed, epoch and index, and augmentations on seed and the number
    of the batch, so a stream that starts at `first_epoch` continues as an earlier one would have.

    Args:
        inputs: the samples.
        labels: the labels of all images.
        indices: the images to read.
        classes: the length of one-hot labels; `None` for integer labels.
        batch_size: images per batch; an epoch's last batch may be smaller.
        seed: of order and crops.
        first_epoch: the epoch to start with. Default: 0.
        balance: chooses the images of each batch, instead of chance and `batch_size`.
        share: the part of each batch to read. Default: all of it.
        augmentation: changes whole batches. Default: `None`, they stay as they are.
    """

    def one_epoch(epoch):
        if balance is None:
            order = tf.random.experimental.stateless_shuffle(indices, [seed, epoch])
            batches = tf.data.Dataset.from_tensor_slices(order).batch(batch_size)
        else:
            order = tf.numpy_function(balanced, [epoch], tf.int64, stateful=False)
            order.set_shape((None, balance.classes * balance.images))
            batches = tf.data.Dataset.from_tensor_slices(order)
        return batches.map(lambda batch: (batch, epoch))

    def balanced(epoch):
        return balance.batches(indices, labels, seed, int(epoch))

    def read(inputs, batch, epoch):
        return inputs.training(batch, seed, int(epoch))

    order = tf.data.Dataset.counter(first_epoch).flat_map(one_epoch)
    batches = _load(_shared(order, share), read, inputs, labels, classes)
    if augmentation is not None:
        first = first_epoch * steps(indices, batch_size, balance)
        batches = _augmented(batches, augmentation, first, share)
    if share == WHOLE:
        return batches
    # Otherwise the workers would agree before each step whether it is the last.
    return batches.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))


def evaluation_batches(
    inputs: Inputs,
    labels: np.ndarray,
    indices: np.ndarray,
    classes: int | None,
    batch_size: int,
    mirrored: bool = False,
    share: Share = WHOLE,
) -> tf.data.Dataset:
    """Finite batches of (sample, label) in the order of `indices`; see `training_batches`."""

    def read(inputs, batch, _):
        return inputs.evaluation(batch, mirrored)

    order = tf.data.Dataset.from_tensor_slices(np.asarray(indices, np.int64)).batch(batch_size)
    order = order.map(lambda batch: (batch, tf.zeros((), tf.int64)))
    return _load(_shared(order, share), read, inputs, labels, classes)


def steps(indices: np.ndarray, batch_size: int, balance: BalancedBatches | None = None) -> int:
    """The number of batches in an epoch; without balance the last may be smaller."""
    return -(-len(indices) // batch_size) if balance is None else balance.steps(indices)


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """Raises a UserError of a pipeline's thread as itself."""
    try:
        yield
    except tf.errors.OpError as error:
        # TensorFlow turns an exception of numpy_function into text: "UserError: message\n...".
        match = re.search(r"(?:User|Undecodable)Error: (.*)", str(error))
        if match is None:
            raise
        raise UserError(match.group(1)) from error


def _shared(order: tf.data.Dataset, share: Share) -> tf.data.Dataset:
    if share == WHOLE:
        return order

    def divide(batch, epoch):
        def part(replica):
            ends = tf.shape(batch, tf.int64)[0] * tf.stack([replica, replica + 1]) // share.total
            return batch[ends[0] : ends[1]], epoch

        return tf.data.Dataset.range(share.first, share.first + share.replicas).map(part)

    return order.flat_map(divide)


def _augmented(batches, augmentation: Augmentation, first: int, share: Share) -> tf.data.Dataset:
    """Augments each batch; a worker's parts of batch i have the numbers from i * total on."""

    def augment(count, batch):
        number = (first + count // share.replicas) * share.total + share.first
        return augmentation(*batch, number + count % share.replicas)

    augmented = batches.enumerate().map(augment).prefetch(tf.data.AUTOTUNE)
    augmented.inputs = batches.inputs
    return augmented


def _load(order, read, inputs: Inputs, labels, classes: int | None) -> tf.data.Dataset:
    dtype, shape = tf.as_dtype(inputs.dtype), (None, *inputs.shape)
    # TensorFlow keeps each function of numpy_function until the process ends. A weak reference
    # prevents that it keeps the descriptors of all runs of a sweep too.
    alive = weakref.ref(inputs)
    nothing = np.empty((0, *inputs.shape), inputs.dtype)

    def fetch(batch, epoch):
        return read(alive(), batch, epoch) if len(batch) else nothing

    def load(batch, epoch):
        # Not stateful: the same arguments give the same batch, so calls can run in parallel.
        sample = tf.numpy_function(fetch, [batch, epoch], dtype, stateful=False)
        sample.set_shape(shape)
        label = tf.gather(labels, batch)
        return sample, label if classes is None else tf.one_hot(label, classes)

    batches = order.map(load, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    batches.inputs = inputs  # keeps them alive
    return batches
