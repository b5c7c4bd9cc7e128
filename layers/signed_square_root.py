"""The elementwise signed square root."""

import keras


@keras.saving.register_keras_serializable(package="fgvc")
class SignedSquareRoot(keras.layers.Layer):
    """Takes the square root of magnitudes and keeps signs, with a gradient bounded at zero.

        output = x / sqrt(|x| + epsilon)

    which is sign(x) sqrt(|x|) for |x| well above `epsilon` and has the slope 1 / sqrt(epsilon) at
    zero, where the plain function has an infinite one.

    Args:
        epsilon: Positive float, the magnitude below which the function turns linear.
            Defaults to `1e-10`.

    Input shape:
        Arbitrary.

    Output shape:
        The same as the input's.

    Example:

    >>> SignedSquareRoot()(np.array([-4.0, 0.0, 9.0], "float32")).numpy()
    array([-2.,  0.,  3.], dtype=float32)

    Raises:
        ValueError: an `epsilon` that is not positive.
    """

    def __init__(self, epsilon=1e-10, **kwargs):
        super().__init__(**kwargs)
        if epsilon <= 0:
            raise ValueError(f"`epsilon` must be positive. Received: {epsilon}")
        self.epsilon = epsilon
        self.supports_masking = True

    def call(self, inputs):
        dtype = inputs.dtype
        x = inputs
        if keras.backend.standardize_dtype(dtype) == "float16":
            x = keras.ops.cast(x, "float32")  # epsilon and its gradient need the exponent's range
        return keras.ops.cast(x * keras.ops.rsqrt(keras.ops.abs(x) + self.epsilon), dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        config = super().get_config()
        config.update({"epsilon": self.epsilon})
        return config
