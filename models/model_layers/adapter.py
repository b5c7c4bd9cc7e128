"""A low-rank linear adapter, initialised to the identity."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="fgvc")
class LowRankAdapter(keras.layers.Layer):
    """Adds a learned low-rank linear function of each vector to it.

        y = x + (x down) up

    `up` is initialised to zero, so the layer starts as the identity. `down` holds the directions
    that the layer reads. It is zero, and its gradient vanishes, until directions are assigned.

    Args:
        rank: Number of directions, at least 1.
        name: Optional name of the layer.

    Input shape:
        (B, D).

    Output shape:
        (B, D).

    Example:

    >>> LowRankAdapter(2)(keras.ops.ones((1, 3))).numpy()
    array([[1., 1., 1.]], dtype=float32)
    """

    def __init__(self, rank: int, **kwargs):
        super().__init__(**kwargs)
        self.rank = rank

    def build(self, input_shape):
        size = input_shape[-1]
        self.down = self.add_weight(shape=(size, self.rank), initializer="zeros", name="down")
        self.up = self.add_weight(shape=(self.rank, size), initializer="zeros", name="up")

    def call(self, inputs):
        return inputs + ops.matmul(ops.matmul(inputs, self.down), self.up)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "rank": self.rank}
