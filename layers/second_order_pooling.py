"""Second-order pooling of a feature map, with or without its matrix square root."""

import keras

from . import compilation, feature_maps, folded_triangle, matrices, matrix_functions
from .folded_triangle import FoldedTriangle

ROOTS = (None, "exact", "newton_schulz")
SIDES = ("auto", "channels", "positions")


@keras.saving.register_keras_serializable(package="fgvc")
class SecondOrderPooling(keras.layers.Layer):
    """Pools a feature map into the second moment of its channels, or that moment's square root.

    With X the N x C matrix of one image's N positions, and X minus its mean where `centered`:

        A = X'X / N,    output = A,  (A + epsilon tr(A) I)^(1/2)  or  Newton-Schulz(A)

    The root is exact to float32 ("improved" bilinear pooling, Lin and Maji 2017) or the iteration
    of iSQRT-COV (Li et al. 2018). Where an image has fewer positions than channels, both are
    computed from the N x N matrix XX', at a fraction of the cost; see `matrix_functions`.

    A half-precision input is pooled in float32 and the result is cast back. A zero map gives a zero
    matrix and a zero gradient. Under a root a sample that is not finite gives NaN, and its
    neighbours do not; without one, its products are what they are.

    Args:
        centered: Boolean, whether to subtract the mean over positions first (a covariance instead
            of a second moment). Defaults to `False`.
        root: `None`, `"exact"` or `"newton_schulz"`. Defaults to `None`.
        iterations: Integer, the number of Newton-Schulz steps. Only used with
            `root="newton_schulz"`. Defaults to `5`.
        epsilon: Float, the ridge of the exact root, relative to the trace, so that the result does
            not depend on the scale of the features. Only used with `root="exact"`.
            Defaults to `1e-5`.
        side: `"auto"`, `"channels"` or `"positions"`: the matrix that the root is computed on.
            The result is the same; `"auto"` takes the smaller, at run time where the number of
            positions is not known before. Defaults to `"auto"`.
        data_format: `"channels_last"`, `"channels_first"` or `None` for Keras' global setting.
            Defaults to `None`.
        triangular: Boolean, whether to return one triangle alone, as a vector in the order of
            `folded_triangle.py`: half of the numbers, from fewer products. Defaults to `False`.
        off_diagonal: Float, what off-diagonal entries of the triangle are multiplied by, so that
            inner products are those of the whole matrices: sqrt(2), or 2 where a
            `SignedSquareRoot` follows. Only used with `triangular=True`. Defaults to `2**0.5`.

    Input shape:
        `(batch, height, width, channels)` or `(batch, positions, channels)`; with
        `data_format="channels_first"`, `(batch, channels, height, width)` or
        `(batch, channels, positions)`. Batch and spatial sizes may be unknown.

    Output shape:
        `(batch, channels, channels)`; with `triangular`, `(batch, channels (channels + 1) / 2)`,
        where an odd number of channels counts as one more.

    Example:

    >>> x = np.random.default_rng(0).normal(size=(2, 7, 7, 64)).astype("float32")
    >>> keras.ops.shape(SecondOrderPooling(root="exact")(x))
    (2, 64, 64)

    Raises:
        ValueError: an unknown `root` or `side`, `iterations` below 1, a negative `epsilon`, an
            `off_diagonal` that is not positive, an input of another rank, or a mask.
    """

    def __init__(
        self,
        centered=False,
        root=None,
        iterations=5,
        epsilon=1e-5,
        side="auto",
        data_format=None,
        triangular=False,
        off_diagonal=2**0.5,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if root not in ROOTS:
            raise ValueError(f"`root` must be one of {ROOTS}. Received: {root!r}")
        if side not in SIDES:
            raise ValueError(f"`side` must be one of {SIDES}. Received: {side!r}")
        if iterations < 1:
            raise ValueError(f"`iterations` must be at least 1. Received: {iterations}")
        if epsilon < 0:
            raise ValueError(f"`epsilon` must not be negative. Received: {epsilon}")
        if off_diagonal <= 0:
            raise ValueError(f"`off_diagonal` must be positive. Received: {off_diagonal}")
        self.centered = centered
        self.root = root
        self.iterations = iterations
        self.epsilon = epsilon
        self.side = side
        self.data_format = feature_maps.standardize_data_format(data_format)
        self.triangular = triangular
        self.off_diagonal = off_diagonal
        if root == "exact":
            self.supports_jit = compilation.eigendecomposition_supports_jit()

    def build(self, input_shape):
        feature_maps.check_feature_shape(input_shape, self)

    def call(self, inputs, mask=None):
        feature_maps.refuse_mask(mask, self)
        features = feature_maps.flatten_positions(inputs, self.data_format)
        dtype = features.dtype
        if keras.backend.standardize_dtype(dtype) in ("float16", "bfloat16"):
            features = keras.ops.cast(features, "float32")
        return keras.ops.cast(self._pooled(features), dtype)

    def _pooled(self, features):
        form = FoldedTriangle(self.off_diagonal) if self.triangular else matrices
        if self.root == "exact":
            compilation.warn_if_decomposing_under_xla(self)
            x = matrix_functions.around_mean(features) if self.centered else features
            return matrix_functions.exact_root(x, self.epsilon, self.side, form)
        y = matrix_functions.normalized_positions(features, self.centered)
        if self.root is None:
            return form.product(y, y)
        return matrix_functions.newton_schulz_root(y, self.iterations, self.side, form)

    def compute_output_shape(self, input_shape):
        channels = input_shape[feature_maps.channel_axis(self.data_format)]
        if self.triangular:
            return (input_shape[0], folded_triangle.size(channels))
        return (input_shape[0], channels, channels)

    def get_config(self):
        config = super().get_config()
        config.update(
            {
                "centered": self.centered,
                "root": self.root,
                "iterations": self.iterations,
                "epsilon": self.epsilon,
                "side": self.side,
                "data_format": self.data_format,
                "triangular": self.triangular,
                "off_diagonal": self.off_diagonal,
            }
        )
        return config
