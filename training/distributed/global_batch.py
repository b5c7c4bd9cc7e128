"""Losses and metrics of the whole batch, of which each replica holds a part.

Every replica gathers the outputs of all replicas, which are small compared with the computation
behind them, and computes the loss as a single device would. So parts of different sizes have the
right weights, a triplet can be of any three samples, and each sample counts once. Keras divides the
loss by the number of replicas, and each replica gets the gradient of its own outputs. The sum of
these gradients is the gradient of the batch.
"""

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf

from training.distributed.keras_20585 import PatchedFit


def replicas() -> int:
    """Returns the number of replicas that take part in this step."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def all_gather(values):
    """Returns tensors of the whole batch, given those of this replica's part.

    Outside of a step, or with one replica, the values are returned unchanged.

    Args:
        values: any nest of tensors whose first axis is the batch.
    """
    context = tf.distribute.get_replica_context()
    if context is None or replicas() == 1:
        return values
    # Gathered one by one, since TensorFlow would pack tensors of different types together. Identity
    # gives each a device, without which a worker's only replica cannot gather.
    return tf.nest.map_structure(lambda x: context.all_gather(tf.identity(x), axis=0), values)


@contextlib.contextmanager
def whole_batch_norms(model: keras.Model) -> Iterator[None]:
    """Lets batch normalisation take its statistics over all replicas.

    It is undone at the end, since a model that is saved so would work with TensorFlow alone.
    """
    norms = list(_batch_norms(model))
    for norm in norms:
        norm.synchronized = True
    try:
        yield
    finally:
        for norm in norms:
            norm.synchronized = False


def _batch_norms(model: keras.Model) -> Iterator[keras.layers.BatchNormalization]:
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            yield layer
        elif isinstance(layer, keras.Model):
            yield from _batch_norms(layer)


def outputs_of(call, inputs, training):
    """Returns `call(inputs, training)`, also if a replica's part has no samples.

    Convolutions do not accept an empty batch, so a sample of zeros is computed and dropped.
    """
    if replicas() == 1:
        return call(inputs, training=training)
    size = tf.shape(inputs)[0]
    zeros = tf.zeros([tf.cast(size == 0, tf.int32), *inputs.shape[1:]], inputs.dtype)
    outputs = call(tf.concat([inputs, zeros], axis=0), training=training)
    return tf.nest.map_structure(lambda output: output[:size], outputs)


class GlobalBatchModel(PatchedFit):
    """Trains a model with the losses and metrics of the whole batch."""

    def call(self, inputs, training=None):
        return outputs_of(self.network, inputs, training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        y, y_pred = all_gather([y, y_pred])
        return super().compute_loss(x, y, y_pred, sample_weight, training)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        y, y_pred = all_gather([y, y_pred])
        metrics = super().compute_metrics(x, y, y_pred, sample_weight)
        return metrics | {"loss": _mean(self.metrics[0])} if "loss" in metrics else metrics


def _mean(metric: keras.metrics.Mean):
    """Returns the mean over all replicas, whose own means differ with the sizes of their parts."""
    context = tf.distribute.get_replica_context()
    if context is None or replicas() == 1:
        return metric.result()
    sums = [tf.identity(variable.value) for variable in (metric.total, metric.count)]
    return tf.math.divide_no_nan(*context.all_reduce(tf.distribute.ReduceOp.SUM, sums))
