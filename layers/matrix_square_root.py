"""The square root of given positive semi-definite matrices."""

import keras

from . import compilation, matrices, matrix_functions
from .arguments import attributes, choice, finite, integer
from .precision import in_full_precision

METHODS = ("exact", "newton_schulz")


@keras.saving.register_keras_serializable(package="fgvc")
class MatrixSquareRoot(keras.layers.Layer):
    """Takes the square root of positive semi-definite matrices.

        output = (A + epsilon tr(A) I)^(1/2)  or  Newton-Schulz(A)

    The exact root is an eigendecomposition with the Lyapunov gradient of Lin and Maji (2017), and
    Newton-Schulz is the iteration of Li et al. (2018). For the second moment of a feature map,
    `SecondOrderPooling(root=...)` gives the same root faster and more accurately, because it starts
    from the features.

    Args:
        method: `"exact"` or `"newton_schulz"`. Defaults to `"exact"`.
        iterations: Integer of at least 1, the number of Newton-Schulz steps. Only used with
            `method="newton_schulz"`. Defaults to `5`.
        epsilon: Float of at least 0, the ridge of the exact root, relative to the trace. Only used
            with `method="exact"`. Defaults to `1e-5`.

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
        ValueError: If an argument is not one of the values above, or the input is not a batch of
            square matrices.
    """

    def __init__(self, method="exact", iterations=5, epsilon=1e-5, **kwargs):
        super().__init__(**kwargs)
        self.method = choice(method, METHODS, "method")
        self.iterations = integer(iterations, "iterations", "an integer of at least 1", 1)
        self.epsilon = finite(epsilon, "epsilon", "a finite number of at least 0", 0)
        if method == "exact":
            self.supports_jit = compilation.eigendecomposition_supports_jit()

    def build(self, input_shape):
        matrices.check_square(input_shape, self)

    def call(self, inputs):
        return in_full_precision(self, self._root, inputs)

    def _root(self, matrix):
        if self.method == "exact":
            compilation.warn_if_decomposing_under_xla(self)
            return matrix_functions.matrix_root(matrix, self.epsilon)
        return matrix_functions.matrix_newton_schulz(matrix, self.iterations)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), **attributes(self, "method", "iterations", "epsilon")}
