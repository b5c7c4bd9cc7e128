"""Checks of a feature map, and its reshaping to (batch, positions, channels)."""

import keras

from .arguments import choice

DATA_FORMATS = ("channels_last", "channels_first")


def standardize_data_format(data_format):
    """Return `data_format`, or Keras' global setting if it is `None`."""
    if data_format is None:
        data_format = keras.config.image_data_format()
    return choice(data_format, DATA_FORMATS, "data_format", " or None")


def refuse_mask(mask, layer):
    """Raise if there is a mask: pooling ignores it, so padding would count as positions."""
    if mask is not None:
        raise ValueError(
            f"{layer.__class__.__name__} does not support masks: every position counts the same. "
            f"Drop the masked positions first. Received: mask={mask}"
        )


def check_feature_shape(shape, layer):
    """Raise unless `shape` is (batch, positions, channels) or (batch, height, width, channels)."""
    if len(shape) not in (3, 4):
        raise ValueError(
            f"{layer.__class__.__name__} takes a feature map of rank 4 (batch and two spatial axes "
            f"and channels) or tokens of rank 3 (batch, positions, channels). Received: "
            f"shape={tuple(shape)}"
        )
    if shape[channel_axis(layer.data_format)] is None:
        raise ValueError(
            f"{layer.__class__.__name__} needs a static number of channels. Received: "
            f"shape={tuple(shape)}"
        )


def channel_axis(data_format):
    """Return the axis of the channels, which is the same for rank 3 and rank 4."""
    return 1 if data_format == "channels_first" else -1


def flatten_positions(inputs, data_format):
    """Return a feature map of rank 3 or 4, in `data_format`, as (B, N, C)."""
    shape = keras.ops.shape(inputs)
    if data_format == "channels_first":
        if len(inputs.shape) == 4:  # with -1 the number of positions would not be static
            inputs = keras.ops.reshape(inputs, (shape[0], inputs.shape[1], shape[2] * shape[3]))
        return keras.ops.transpose(inputs, (0, 2, 1))
    if len(inputs.shape) == 3:
        return inputs
    return keras.ops.reshape(inputs, (shape[0], shape[1] * shape[2], inputs.shape[-1]))
