"""The elementwise signed square root, and its L2-normalised form."""

import keras
from keras import ops

from .arguments import attributes, require
from .backend import custom_gradient
from .precision import in_full_precision

TINY = 1e-30  # keeps the reciprocal root of an all-zero sample finite


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
        ValueError: If `epsilon` is not positive.
    """

    def __init__(self, epsilon=1e-8, normalize=False, **kwargs):
        super().__init__(**kwargs)
        require(epsilon > 0, "`epsilon` must be positive", epsilon)
        self.epsilon = epsilon
        self.normalize = normalize

    def call(self, inputs):
        return in_full_precision(self._root, inputs)

    def _root(self, x):
        if not self.normalize:
            return custom_gradient(self._elementwise)(x)
        shape = ops.shape(x)
        flat = ops.reshape(x, (shape[0], -1))
        return ops.reshape(custom_gradient(self._normalized)(flat), shape)

    def _elementwise(self, x):
        """Return sign(x) sqrt(|x|) and its gradient."""
        reciprocal = ops.rsqrt(ops.maximum(ops.abs(x), self.epsilon))
        return x * reciprocal, lambda g: 0.5 * reciprocal * g

    def _normalized(self, x):
        """Return z = sign(x) sqrt(|x| / sum |x|) for each sample of x (B, D), and its gradient.

        With t = <z, g>, the gradient that includes the norm is (g - t z) / (2 sqrt(|x| sum |x|)).
        """
        magnitude = ops.abs(x)
        mean = ops.mean(magnitude, axis=1, keepdims=True)  # (B, 1)
        # TensorFlow broadcasts this sum twice as fast as a maximum, and it is a bound as well.
        reciprocal = ops.rsqrt(magnitude + ops.maximum(self.epsilon * mean, TINY))
        size = ops.cast(ops.shape(x)[1], x.dtype)
        scale = ops.where(mean == 0, 0.0, ops.rsqrt(ops.maximum(size * mean, TINY)))
        z = x * reciprocal * scale

        def gradient(g):
            t = ops.sum(g * z, axis=1, keepdims=True)
            # 0.5 * scale multiplies the sample's scalars, which saves a pass over x.
            half = 0.5 * scale
            return (half * g - (half * t) * z) * reciprocal

        return z, gradient

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), **attributes(self, "epsilon", "normalize")}
