"""A trained change of low rank, which begins as no change at all."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="fgvc")
class LowRankAdapter(keras.layers.Layer):
    """Adds to each vector a learned linear function of a few of its directions.

        y = x + (x down) up

    `up` begins as zero, and so y as x: whatever is learned starts from the vectors as they are,
    however many dimensions they have. `down` holds the directions; as long as nobody has assigned
    them it is zero too, and nothing is learned.

    Args:
        rank: how many directions are changed.
        name: optional name of the layer.

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
