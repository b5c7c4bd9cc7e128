"""The elementwise signed square root, and its L2-normalised form."""

import keras
import numpy as np
from keras import ops

from .arguments import attributes, boolean, positive
from .backend import custom_gradient, maximum, mean
from .precision import in_full_precision

TINY = float(np.finfo("float32").tiny)  # the smallest number with a finite reciprocal root


def _elementwise_gradient(g, inputs, outputs):
    """Return g / (2 sqrt(max(|x|, epsilon)))."""
    _, reciprocal = outputs
    return (0.5 * reciprocal * g,)


def _normalized_gradient(g, inputs, outputs):
    """Return the gradient that includes the norm, (g - t z) / (2 sqrt(|x| sum |x|)), t = <z, g>."""
    z, reciprocal, scale = outputs
    t = ops.sum(g * z, axis=1, keepdims=True)
    # 0.5 * scale multiplies the sample's scalars, which saves a pass over x.
    half = 0.5 * scale
    return ((half * g - (half * t) * z) * reciprocal,)


@keras.saving.register_keras_serializable(package="fgvc")
class SignedSquareRoot(keras.layers.Layer):
    """Takes the square root of magnitudes and keeps signs, with a gradient bounded at zero.

        output = sign(x) sqrt(|x|),    d output / dx = 1 / (2 sqrt(max(|x|, epsilon)))

    For |x| below `epsilon` the output is linear in x. With `normalize`, each sample's output is
    also divided by its L2 norm, and `epsilon` is relative to the sample's mean |x|, so that the
    output does not depend on the scale of the input. The norm is sqrt(sum |x|), so `normalize`
    takes hardly any more time.

    Args:
        epsilon: Positive float, the magnitude (with `normalize`, relative to the sample's mean
            magnitude) at which the gradient stops growing. Defaults to `1e-8`.
        normalize: Boolean, whether to divide each sample by its L2 norm. Defaults to `False`.

    Input shape:
        Arbitrary, with the batch axis first.

    Output shape:
        Same shape as the input.

    Example:

    >>> x = np.array([[-4.0, 0.0, 9.0]], "float32")
    >>> np.asarray(SignedSquareRoot()(x)).round(4)
    array([[-2.,  0.,  3.]], dtype=float32)
    >>> np.asarray(SignedSquareRoot(normalize=True)(x)).round(4)
    array([[-0.5547,  0.    ,  0.8321]], dtype=float32)

    Raises:
        ValueError: If `epsilon` is not a positive finite number, or `normalize` not a Boolean.
    """

    def __init__(self, epsilon=1e-8, normalize=False, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = positive(epsilon, "epsilon")
        self.normalize = boolean(normalize, "normalize")

    def call(self, inputs):
        return in_full_precision(self, self._root, inputs)

    def _root(self, x):
        if not self.normalize:
            return custom_gradient(self._elementwise, _elementwise_gradient)(x)
        shape = ops.shape(x)
        flat = ops.reshape(x, (shape[0], -1))
        return ops.reshape(custom_gradient(self._normalized, _normalized_gradient)(flat), shape)

    def _elementwise(self, x):
        """Return sign(x) sqrt(|x|), and 1 / sqrt(|x|) for its gradient."""
        reciprocal = ops.rsqrt(maximum(ops.abs(x), max(self.epsilon, TINY)))
        return x * reciprocal, reciprocal

    def _normalized(self, x):
        """Return z = sign(x) sqrt(|x| / sum |x|) for each sample of x (B, D).

        Also return 1 / sqrt(|x|) and 1 / sqrt(sum |x|) for its gradient.
        """
        magnitude = ops.abs(x)
        average = mean(magnitude, axis=1, keepdims=True)  # (B, 1)
        safe = ops.where(average == 0, 1.0, average)
        # TensorFlow broadcasts this sum twice as fast as a maximum, and it is a bound as well.
        reciprocal = ops.rsqrt(magnitude + maximum(self.epsilon * safe, TINY))
        size = ops.cast(ops.shape(x)[1], x.dtype)
        scale = ops.where(average == 0, 0.0, ops.rsqrt(size * safe))
        z = x * reciprocal * scale
        return z, reciprocal, scale

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), **attributes(self, "epsilon", "normalize")}
