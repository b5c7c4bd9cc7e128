"""Attentive pooling with few learned queries."""

import keras
from keras import ops

from . import feature_maps
from .arguments import attributes, integer, require


@keras.saving.register_keras_serializable(package="fgvc")
class AttentivePooling(keras.layers.Layer):
    """Pools tokens by the attention of learned queries (Psomas et al. 2025, Efficient Probing).

    With tokens x_n of C channels, queries q_m and a matrix V_m of C x D / M for each of the M
    queries, the output is the concatenation over m of

        V_m' sum_n a_nm x_n,    a_nm = softmax over n of <x_n, q_m> / sqrt(C)

    V is linear, so it is applied to M sums instead of N tokens. Each position's weight, averaged
    over the queries, is what the paper draws as its attention map.

    Args:
        queries: Number of queries M, at least 1. Defaults to `32`.
        output_dim: Length of the output D, a multiple of `queries`. Defaults to `None`, the number
            of channels of the input.
        seed: Integer, the seed of the initial weights. Defaults to `None`, another one each time.
        data_format: `"channels_last"`, `"channels_first"` or `None` for Keras' global setting.
            Defaults to `None`.

    Input shape:
        `(batch, height, width, channels)` or `(batch, positions, channels)`; channels second with
        `data_format="channels_first"`.

    Output shape:
        `(batch, output_dim)`.

    Example:

    >>> tokens = keras.ops.ones((2, 256, 384))
    >>> keras.ops.shape(AttentivePooling(queries=8)(tokens))
    (2, 384)

    Raises:
        ValueError: If an argument is not one of the values above, or the input has another rank or
            a mask.
    """

    def __init__(self, queries=32, output_dim=None, seed=None, data_format=None, **kwargs):
        super().__init__(**kwargs)
        self.queries = integer(queries, "queries", "an integer of at least 1", 1)
        if output_dim is not None:
            integer(output_dim, "output_dim", "None or an integer of at least 1", 1)
        self.output_dim = output_dim
        self.seed = seed
        self.data_format = feature_maps.standardize_data_format(data_format)

    def build(self, input_shape):
        feature_maps.check_feature_shape(input_shape, self)
        channels = input_shape[feature_maps.channel_axis(self.data_format)]
        size = channels if self.output_dim is None else self.output_dim
        requirement = f"`output_dim` must be a multiple of the {self.queries} queries"
        require(size % self.queries == 0, requirement, size)
        self.query_matrix = self.add_weight(
            shape=(channels, self.queries),
            initializer=keras.initializers.RandomNormal(0.0, 0.02, seed=self.seed),
            name="queries",
        )
        values_seed = None if self.seed is None else self.seed + 1
        # Glorot's bound for one dense layer of (channels, size); the queries share its columns.
        bound = (6.0 / (channels + size)) ** 0.5
        self.values = self.add_weight(
            shape=(self.queries, channels, size // self.queries),
            initializer=keras.initializers.RandomUniform(-bound, bound, seed=values_seed),
            name="values",
        )

    def call(self, inputs, mask=None):
        feature_maps.refuse_mask(mask, self)
        x = feature_maps.flatten_positions(inputs, self.data_format)  # (B, N, C)
        x = ops.cast(x, self.compute_dtype)  # Keras casts floating-point inputs only
        scores = ops.matmul(x, self.query_matrix) * x.shape[2] ** -0.5  # (B, N, M)
        pooled = ops.einsum("bnm,bnc->bmc", ops.softmax(scores, axis=1), x)
        output = ops.einsum("bmc,mcd->bmd", pooled, self.values)
        return ops.reshape(output, (-1, self.values.shape[0] * self.values.shape[2]))

    def compute_output_shape(self, input_shape):
        channels = input_shape[feature_maps.channel_axis(self.data_format)]
        return (input_shape[0], channels if self.output_dim is None else self.output_dim)

    def get_config(self):
        arguments = attributes(self, "queries", "output_dim", "seed", "data_format")
        return {**super().get_config(), **arguments}
