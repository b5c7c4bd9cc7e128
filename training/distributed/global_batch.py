"""Losses and metrics of the whole batch, where each replica has but a part of it.

Every replica gathers the outputs of all, which are small beside what it took to compute them, and
looks at the batch as a single device would: a part of another size weighs what it should, a triplet
may be of any three samples, and each sample counts once. Keras divides the loss by the number of
replicas, and gathering hands each the gradient of its own outputs: the replicas' gradients add up
to that of the batch.
"""

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf

from training.distributed.keras_20585 import MendedFit


def replicas() -> int:
    """How many replicas go through this step together."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def all_gather(values):
    """Tensors of the whole batch, from those of this replica's part; any nest of them.

    Outside of a step there are no parts, and the values are returned as they are.
    """
    context = tf.distribute.get_replica_context()
    if context is None or replicas() == 1:
        return values

    def gather(value):  # each on its own: TensorFlow would pack those of several types together
        # Identity gives the tensor a device, without which a worker's only replica cannot gather.
        return context.all_gather(tf.identity(value), axis=0)

    return tf.nest.map_structure(gather, values)


@contextlib.contextmanager
def whole_batch_norms(model: keras.Model) -> Iterator[None]:
    """Has batch norm take its statistics over all replicas, as long as the model is trained: saved
    so, it would be TensorFlow's alone."""
    norms = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    for norm in norms:
        norm.synchronized = True
    try:
        yield
    finally:
        for norm in norms:
            norm.synchronized = False


def outputs_of(call, inputs, training):
    """`call(inputs, training)`; for a part without samples too, which no convolution takes."""
    if replicas() == 1:
        return call(inputs, training=training)
    size = tf.shape(inputs)[0]
    stand_in = tf.zeros([tf.cast(size == 0, tf.int32), *inputs.shape[1:]], inputs.dtype)
    outputs = call(tf.concat([inputs, stand_in], axis=0), training=training)
    return tf.nest.map_structure(lambda output: output[:size], outputs)


class GlobalBatchModel(MendedFit):
    """A functional model whose losses and metrics are those of the whole batch."""

    def call(self, inputs, training=None):
        return outputs_of(super().call, inputs, training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        y, y_pred = all_gather([y, y_pred])
        return super().compute_loss(x, y, y_pred, sample_weight, training)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        y, y_pred = all_gather([y, y_pred])
        found = super().compute_metrics(x, y, y_pred, sample_weight)
        return found | {"loss": _of_all(self.metrics[0])} if "loss" in found else found


def _of_all(mean: keras.metrics.Mean):
    """What a mean is so far: replicas whose parts had other sizes each have another one."""
    context = tf.distribute.get_replica_context()
    if context is None or replicas() == 1:
        return mean.result()
    sums = [tf.identity(variable.value) for variable in (mean.total, mean.count)]
    return tf.math.divide_no_nan(*context.all_reduce(tf.distribute.ReduceOp.SUM, sums))
