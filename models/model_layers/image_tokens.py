"""Selects the tokens of a vision transformer that stand for an image."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="fgvc")
class ImageTokens(keras.layers.Layer):
    """Drops register tokens, and shapes patch tokens as a feature map.

    Args:
        side: Number of patches along each side of the square image.
        prefix: Number of tokens before the patches: class token, registers. Default: `0`.
        class_token: Whether the first token is a class token. It is kept. Default: `False`.

    Input shape:
        (B, prefix + side * side, C). The patches are in row-major order.

    Output shape:
        (B, side, side, C) without a class token, else (B, 1 + side * side, C), the class token
        first.

    Example:

    >>> tokens = keras.ops.ones((2, 1 + 4 + 9, 8))  # class token, 4 registers, 3 x 3 patches
    >>> ImageTokens(3, prefix=5, class_token=True)(tokens).shape
    TensorShape([2, 10, 8])
    """

    def __init__(self, side: int, prefix: int = 0, class_token: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.side = side
        self.prefix = prefix
        self.class_token = class_token

    def call(self, tokens):
        patches = tokens[:, self.prefix :]
        if self.class_token:
            return ops.concatenate([tokens[:, :1], patches], axis=1)
        return ops.reshape(patches, (-1, self.side, self.side, tokens.shape[-1]))

    def compute_output_shape(self, input_shape):
        # Not from the number of tokens: the symbolic one of some KerasHub layers is wrong.
        batch, channels = input_shape[0], input_shape[-1]
        if self.class_token:
            return (batch, 1 + self.side**2, channels)
        return (batch, self.side, self.side, channels)

    def get_config(self):
        own = {"side": self.side, "prefix": self.prefix, "class_token": self.class_token}
        return {**super().get_config(), **own}
