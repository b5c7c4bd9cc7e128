"""The square root of given positive semi-definite matrices."""

import keras

from . import compilation, matrix_functions

METHODS = ("exact", "newton_schulz")


@keras.saving.register_keras_serializable(package="fgvc")
class MatrixSquareRoot(keras.layers.Layer):
    """Takes the square root of positive semi-definite matrices.

        output = (A + epsilon tr(A) I)^(1/2)  or  Newton-Schulz(A)

    Where the matrix is the second moment of a feature map, `SecondOrderPooling(root=...)` gives the
    same root faster and more accurately, because it still knows the features.

    Args:
        method: `"exact"` (an eigendecomposition, with the Lyapunov gradient of Lin and Maji 2017)
            or `"newton_schulz"` (Li et al. 2018). Defaults to `"exact"`.
        iterations: Integer, the number of Newton-Schulz steps. Defaults to `5`.
        epsilon: Float, the ridge of the exact root, relative to the trace. Defaults to `1e-5`.

    Input shape:
        `(batch, channels, channels)`, each matrix symmetric positive semi-definite.

    Output shape:
        `(batch, channels, channels)`.

    Example:

    >>> a = np.diag([4.0, 9.0]).astype("float32")[None]
    >>> root = MatrixSquareRoot(epsilon=0.0)(a)
    >>> np.asarray(root[0]).round(4)
    array([[2., 0.],
           [0., 3.]], dtype=float32)

    Raises:
        ValueError: an unknown `method`, `iterations` below 1, a negative `epsilon`, or an input
            that is no batch of square matrices.
    """

    def __init__(self, method="exact", iterations=5, epsilon=1e-5, **kwargs):
        super().__init__(**kwargs)
        if method not in METHODS:
            raise ValueError(f"`method` must be one of {METHODS}. Received: {method!r}")
        if iterations < 1:
            raise ValueError(f"`iterations` must be at least 1. Received: {iterations}")
        if epsilon < 0:
            raise ValueError(f"`epsilon` must not be negative. Received: {epsilon}")
        self.method = method
        self.iterations = iterations
        self.epsilon = epsilon
        if method == "exact":
            self.supports_jit = compilation.eigendecomposition_supports_jit()

    def build(self, input_shape):
        if len(input_shape) != 3 or input_shape[1] != input_shape[2] or input_shape[1] is None:
            raise ValueError(
                "MatrixSquareRoot takes square matrices of a static size, "
                f"(batch, channels, channels). Received: shape={tuple(input_shape)}"
            )

    def call(self, inputs):
        matrix = inputs
        if keras.backend.standardize_dtype(inputs.dtype) in ("float16", "bfloat16"):
            matrix = keras.ops.cast(inputs, "float32")
        if self.method == "exact":
            compilation.warn_if_decomposing_under_xla(self)
            root = matrix_functions.matrix_root(matrix, self.epsilon)
        else:
            root = matrix_functions.matrix_newton_schulz(matrix, self.iterations)
        return keras.ops.cast(root, inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        config = super().get_config()
        config.update(
            {"method": self.method, "iterations": self.iterations, "epsilon": self.epsilon}
        )
        return config
