"""Cross-covariances of groups of channels, the second-order part of Moment Probing."""

import keras
from keras import ops

from . import feature_maps
from .arguments import attributes, integer, require
from .precision import in_full_precision

LEAST_GROUP = 7  # channels; two convolutions of 3 x 3 with stride 2 leave one entry of 7 x 7
TINY = 1e-12


def _normalized_moments(x):
    """Return the cross-covariances with unit columns. (B, N, h, d) -> (B, d, d, h - 1)."""
    x = x - ops.mean(x, axis=1, keepdims=True)
    moments = ops.einsum("bnhi,bnhj->bijh", x[:, :, :-1], x[:, :, 1:])  # N cancels
    squares = ops.sum(ops.square(moments), axis=1, keepdims=True)
    return moments * ops.rsqrt(ops.maximum(squares, TINY**2))


@keras.saving.register_keras_serializable(package="fgvc")
class CrossCovariancePooling(keras.layers.Layer):
    """Pools tokens by multi-head convolutional cross-covariance (Gao et al. 2023, Moment Probing).

    A trained projection of the tokens is split into groups X_1 ... X_h of d channels. Each group is
    layer-normalised. The h - 1 cross-covariances of neighbouring groups, (4) in the paper,

        P_i = X_i' J X_(i+1) / N,    J = I - 11' / N

    get columns of unit L2 norm and become the channels of one d x d image. Two convolutions of
    3 x 3 with stride 2 and a GELU between them shrink it, and it is flattened. There is no matrix
    function.

    The published code subtracts one mean of all entries instead of each channel's mean; this layer
    follows the equations.

    Args:
        channels: Channels after the projection, a multiple of `groups`. Defaults to `512`.
        groups: Number of groups h ("heads" in the paper), at least 2. A group has at least 7
            channels. Defaults to `4`.
        seed: Integer, the seed of the initial weights. Defaults to `None`, another one each time.
        data_format: `"channels_last"`, `"channels_first"` or `None` for Keras' global setting.
            Defaults to `None`.

    Input shape:
        `(batch, height, width, channels)` or `(batch, positions, channels)`; channels second with
        `data_format="channels_first"`.

    Output shape:
        `(batch, s * s * (groups - 1))`. A convolution makes (s - 1) // 2 of s. With the default
        values, s is 31.

    Example:

    >>> tokens = keras.ops.ones((2, 256, 384))
    >>> keras.ops.shape(CrossCovariancePooling()(tokens))
    (2, 2883)

    Raises:
        ValueError: If an argument is not one of the values above, or the input has another rank or
            a mask.
    """

    def __init__(self, channels=512, groups=4, seed=None, data_format=None, **kwargs):
        super().__init__(**kwargs)
        self.groups = integer(groups, "groups", "an integer of at least 2", 2)
        self.channels = integer(channels, "channels", "an integer of at least 14", 14)
        requirement = f"`channels` must be a multiple of the {groups} groups, each of at least 7"
        whole = channels % groups == 0 and channels // groups >= LEAST_GROUP
        require(whole, requirement, channels)
        self.seed = seed
        self.data_format = feature_maps.standardize_data_format(data_format)
        policy, glorot = self.dtype_policy, keras.initializers.GlorotUniform
        self.projection = keras.layers.Dense(
            channels, kernel_initializer=glorot(seed), dtype=policy, name="projection"
        )
        self.norm = keras.layers.LayerNormalization(epsilon=1e-5, dtype=policy, name="norm")
        self.convolutions = [
            keras.layers.Conv2D(
                groups - 1,
                3,
                strides=2,
                use_bias=False,
                activation=activation,
                data_format="channels_last",
                kernel_initializer=glorot(None if seed is None else seed + number),
                dtype=policy,
                name=f"convolution_{number}",
            )
            for number, activation in enumerate(("gelu", None), 1)
        ]

    def build(self, input_shape):
        feature_maps.check_feature_shape(input_shape, self)
        size = self.channels // self.groups
        channels = input_shape[feature_maps.channel_axis(self.data_format)]
        self.projection.build((None, None, channels))
        self.norm.build((None, None, self.groups, size))
        for convolution in self.convolutions:
            convolution.build((None, size, size, self.groups - 1))
            size = (size - 1) // 2

    def call(self, inputs, mask=None):
        feature_maps.refuse_mask(mask, self)
        x = self.projection(feature_maps.flatten_positions(inputs, self.data_format))
        batch, positions = ops.shape(x)[:2]
        size = self.channels // self.groups
        x = self.norm(ops.reshape(x, (batch, positions, self.groups, size)))
        moments = in_full_precision(self, _normalized_moments, x)
        for convolution in self.convolutions:
            moments = convolution(moments)
        return ops.reshape(moments, (batch, self._output_size()))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self._output_size())

    def get_config(self):
        arguments = attributes(self, "channels", "groups", "seed", "data_format")
        return {**super().get_config(), **arguments}

    def _output_size(self):
        side = ((self.channels // self.groups - 1) // 2 - 1) // 2
        return side * side * (self.groups - 1)
