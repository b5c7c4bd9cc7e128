"""The elementwise signed square root, and its L2-normalised form."""

import keras
from keras import ops

TINY = 1e-30  # keeps the reciprocal root of an all-zero sample finite


@keras.saving.register_keras_serializable(package="fgvc")
class SignedSquareRoot(keras.layers.Layer):
    """Takes the square root of magnitudes and keeps signs, with a gradient bounded at zero.

        output = sign(x) sqrt(|x|),    d output / dx = 1 / (2 sqrt(max(|x|, epsilon)))

    and the output is linear in x below `epsilon`. With `normalize`, each sample's output is also
    divided by its L2 norm. As that norm is sqrt(sum |x|), the two together take hardly more time
    than the square root alone, and `epsilon` is relative to the sample's mean |x|, so that the
    output does not depend on the scale of the input.

    Args:
        epsilon: Positive float, the magnitude (with `normalize`, relative to the sample's mean
            magnitude) at which the gradient stops growing. Defaults to `1e-8`.
        normalize: Boolean, whether to divide each sample by its L2 norm. Defaults to `False`.

    Input shape:
        Arbitrary, the batch first.

    Output shape:
        The same as the input's.

    Example:

    >>> x = np.array([[-4.0, 0.0, 9.0]], "float32")
    >>> np.asarray(SignedSquareRoot()(x)).round(4)
    array([[-2.,  0.,  3.]], dtype=float32)
    >>> np.asarray(SignedSquareRoot(normalize=True)(x)).round(4)
    array([[-0.5547,  0.    ,  0.8321]], dtype=float32)

    Raises:
        ValueError: an `epsilon` that is not positive.
    """

    def __init__(self, epsilon=1e-8, normalize=False, **kwargs):
        super().__init__(**kwargs)
        if epsilon <= 0:
            raise ValueError(f"`epsilon` must be positive. Received: {epsilon}")
        self.epsilon = epsilon
        self.normalize = normalize

    def call(self, inputs):
        x = inputs
        if keras.backend.standardize_dtype(inputs.dtype) in ("float16", "bfloat16"):
            x = ops.cast(inputs, "float32")
        if not self.normalize:
            return ops.cast(_signed_square_root(x, self.epsilon), inputs.dtype)
        shape = ops.shape(inputs)
        flat = _normalized_signed_square_root(ops.reshape(x, (shape[0], -1)), self.epsilon)
        return ops.cast(ops.reshape(flat, shape), inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        config = super().get_config()
        config.update({"epsilon": self.epsilon, "normalize": self.normalize})
        return config


def _signed_square_root(x, epsilon):
    @ops.custom_gradient
    def root(x):
        reciprocal = ops.rsqrt(ops.maximum(ops.abs(x), epsilon))

        def gradient(*args, upstream=None):
            g = args[0] if upstream is None else upstream
            return 0.5 * reciprocal * g

        return x * reciprocal, gradient

    return root(x)


def _normalized_signed_square_root(x, epsilon):
    """z = sign(x) sqrt(|x| / sum |x|) of each row of x (B, D), in five passes over it and back.

    With t = <z, g>, the gradient of the norm is folded in: dL/dx = (g - t z) dz/dx.
    """

    @ops.custom_gradient
    def root(x):
        magnitude = ops.abs(x)
        mean = ops.mean(magnitude, axis=1, keepdims=True)  # (B, 1)
        # A sum, not a maximum: TensorFlow broadcasts it twice as fast, and it bounds as well.
        reciprocal = ops.rsqrt(magnitude + ops.maximum(epsilon * mean, TINY))
        size = ops.cast(ops.shape(x)[1], x.dtype)
        scale = ops.where(mean == 0, 0.0, ops.rsqrt(ops.maximum(size * mean, TINY)))
        z = x * reciprocal * scale

        def gradient(*args, upstream=None):
            g = args[0] if upstream is None else upstream
            t = ops.sum(g * z, axis=1, keepdims=True)
            # 0.5 * scale goes in through the row's scalars, not as a pass of its own.
            half = 0.5 * scale
            return (half * g - (half * t) * z) * reciprocal

        return z, gradient

    return root(x)
