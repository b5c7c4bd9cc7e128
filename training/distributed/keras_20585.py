"""Works around keras#20585: `fit` fails under `MultiWorkerMirroredStrategy`.

Keras 3.15 averages a batch over the replicas to learn its shape, although the parts of the replicas
can have different shapes. It also averages each step's metrics along an axis, which scalars do not
have. When tests/training/distributed/test_keras_20585.py fails because `keras.Model` no longer
does, Keras has fixed both, and this file can be deleted.
"""

import keras
import tensorflow as tf


class PatchedFit(keras.Model):
    """Trains `network` like `keras.Model`, also with several workers.

    The network is an attribute: of a model class that is built functionally, as in
    `PatchedFit(inputs, outputs)`, Keras changes the bases for the rest of the process.
    """

    def __init__(self, network: keras.Model):
        super().__init__()
        self.network = network
        self.built = True

    def checkpointed(self) -> keras.Model:
        """Returns the model whose weights a checkpoint holds, on one device as on several."""
        return self.network

    def call(self, inputs, training=None):
        return self.network(inputs, training=training)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        if self.distribute_strategy.num_replicas_in_sync == 1:
            return super()._maybe_symbolic_build(iterator, data_batch)
        if iterator is not None and not self._compile_loss.built:
            _, _, batches = next(iter(iterator))
            parts = self.distribute_strategy.experimental_local_results
            data_batch = tf.nest.map_structure(lambda value: parts(value)[0], next(batches))
        with self.distribute_strategy.scope():
            return self._symbolic_build(data_batch=data_batch)

    def train_step(self, data):
        return self._with_an_axis(super().train_step(data))

    def test_step(self, data):
        return self._with_an_axis(super().test_step(data))

    def _with_an_axis(self, metrics: dict) -> dict:
        if not isinstance(self.distribute_strategy, tf.distribute.MultiWorkerMirroredStrategy):
            return metrics
        return {name: tf.reshape(value, (1,)) for name, value in metrics.items()}
