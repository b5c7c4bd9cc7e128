"""Bilinear pooling of two different feature maps."""

import keras

from . import feature_maps
from .matrices import transpose
from .precision import in_full_precision


@keras.saving.register_keras_serializable(package="fgvc")
class BilinearPooling(keras.layers.Layer):
    """Pools two feature maps of one image into the mean outer product of their channels.

        output = X'Z / N

    X (N x C) and Z (N x D) are the maps of two networks at the same N positions, as in the
    asymmetric bilinear CNN of Lin et al. (2015). The result is not symmetric, so it has no matrix
    square root. To pool one feature map with itself, use `SecondOrderPooling`.

    Args:
        data_format: `"channels_last"`, `"channels_first"` or `None` for Keras' global setting.
            Defaults to `None`.

    Input shape:
        A pair of feature maps with the same positions, each `(batch, height, width, channels)` or
        `(batch, positions, channels)`; channels second with `data_format="channels_first"`.

    Output shape:
        `(batch, first_channels, second_channels)`.

    Example:

    >>> keras.ops.shape(BilinearPooling()([np.ones((2, 7, 7, 8)), np.ones((2, 7, 7, 5))]))
    (2, 8, 5)

    Raises:
        ValueError: If the input is not a pair of feature maps with the same positions, or has a
            mask.
    """

    def __init__(self, data_format=None, **kwargs):
        super().__init__(**kwargs)
        self.data_format = feature_maps.standardize_data_format(data_format)

    def build(self, input_shape):
        if len(input_shape) != 2 or not isinstance(input_shape[0], (tuple, list)):
            raise ValueError(
                f"BilinearPooling takes a pair of feature maps. Received: shape={input_shape}"
            )
        for shape in input_shape:
            feature_maps.check_feature_shape(shape, self)
        self._check_positions(input_shape)

    def _check_positions(self, shapes):
        first, second = (self._positions(shape) for shape in shapes)
        if len(first) != len(second) or any(
            a != b for a, b in zip(first, second, strict=True) if None not in (a, b)
        ):
            raise ValueError(
                "BilinearPooling takes two feature maps of the same positions. "
                f"Received: shape={shapes}"
            )

    def call(self, inputs, mask=None):
        for each in mask if isinstance(mask, (tuple, list)) else [mask]:
            feature_maps.refuse_mask(each, self)
        # Sizes that were unknown in `build` may differ now.
        self._check_positions([tuple(feature_map.shape) for feature_map in inputs])
        x, z = (feature_maps.flatten_positions(each, self.data_format) for each in inputs)
        return in_full_precision(self, self._mean_product, x, z)

    def _mean_product(self, x, z):
        return transpose(x) @ z / keras.ops.cast(keras.ops.shape(x)[1], x.dtype)

    def compute_output_shape(self, input_shape):
        axis = feature_maps.channel_axis(self.data_format)
        first, second = input_shape
        return (first[0], first[axis], second[axis])

    def get_config(self):
        return {**super().get_config(), "data_format": self.data_format}

    def _positions(self, shape):
        return tuple(shape[2:] if self.data_format == "channels_first" else shape[1:-1])
