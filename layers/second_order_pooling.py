"""Second-order pooling of a feature map, with or without its matrix square root."""

import keras

from . import feature_maps, folded_triangle, matrix_functions, methods
from .arguments import attributes, boolean, choice, finite, integer, positive
from .folded_triangle import FoldedTriangle
from .full_matrix import FullMatrix
from .precision import in_full_precision
from .spectral_functions import Root

ROOTS = (None, "exact", "newton_schulz")


@keras.saving.register_keras_serializable(package="fgvc")
class SecondOrderPooling(keras.layers.Layer):
    """Pools a feature map into the second moment of its channels, or the root of that moment.

        A = X'X / N,    output = A,  (A + epsilon tr(A) I)^(1/2)  or  Newton-Schulz(A)

    X is the N x C matrix of an image's N positions, minus their mean if `centered`. The exact root
    is that of "improved" bilinear pooling (Lin and Maji 2017), accurate to float32, and
    Newton-Schulz is the iteration of iSQRT-COV (Li et al. 2018). If an image has fewer positions
    than channels, both are computed from the smaller N x N matrix XX'; see `matrix_functions`.

    Any input is cast to the layer's compute dtype; half precision is pooled in float32, and the
    result is cast back. A zero map gives a zero matrix and a zero gradient. With `centered`, a
    channel whose values differ only by rounding counts as constant (see `matrix_functions.center`),
    so a map of constant channels is a zero map. With a root, a sample that is not finite gives NaN
    and does not affect the other samples of the batch.

    Args:
        centered: Boolean, whether to subtract the mean over positions first, which gives a
            covariance instead of a second moment. Defaults to `False`.
        root: `None`, `"exact"` or `"newton_schulz"`. Defaults to `None`.
        iterations: Integer of at least 1, the number of Newton-Schulz steps. Only used with
            `root="newton_schulz"`. Defaults to `5`.
        epsilon: Float of at least 0, the ridge of the exact root, relative to the trace, so that
            the result does not depend on the scale of the features. Only used with `root="exact"`.
            Defaults to `1e-5`.
        side: `"auto"`, `"channels"` (C x C) or `"positions"` (N x N), the matrix that the root is
            computed from. The result is the same. `"auto"` takes the smaller one; it decides at run
            time if the number of positions is unknown. Defaults to `"auto"`.
        data_format: `"channels_last"`, `"channels_first"` or `None` for Keras' global setting.
            Defaults to `None`.
        triangular: Boolean, whether to return only one triangle, as a vector in the order of
            `folded_triangle.py`. It has half the entries and takes fewer products.
            Defaults to `False`.
        off_diagonal: Positive float, the factor of the triangle's off-diagonal entries. With
            sqrt(2), two vectors have the inner product of their matrices; use 2 if a
            `SignedSquareRoot` follows. Only used with `triangular=True`. Defaults to `2**0.5`.

    Input shape:
        `(batch, height, width, channels)` or `(batch, positions, channels)`; with
        `data_format="channels_first"`, `(batch, channels, height, width)` or
        `(batch, channels, positions)`. Batch and spatial sizes may be unknown.

    Output shape:
        `(batch, channels, channels)`; with `triangular=True`,
        `(batch, channels * (channels + 1) / 2)`, with an odd number of channels rounded up to even.

    Example:

    >>> x = np.random.default_rng(0).normal(size=(2, 7, 7, 64)).astype("float32")
    >>> keras.ops.shape(SecondOrderPooling(root="exact")(x))
    (2, 64, 64)

    Raises:
        ValueError: If an argument is not one of the values above, or the input has another rank or
            a mask.
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
        self.centered = boolean(centered, "centered")
        self.root = choice(root, ROOTS, "root")
        self.iterations = integer(iterations, "iterations", "an integer of at least 1", 1)
        self.epsilon = finite(epsilon, "epsilon", "a finite number of at least 0", 0)
        self.side = choice(side, matrix_functions.SIDES, "side")
        self.data_format = feature_maps.standardize_data_format(data_format)
        self.triangular = boolean(triangular, "triangular")
        self.off_diagonal = positive(off_diagonal, "off_diagonal")
        if root == "exact":
            self.supports_jit = methods.supports_jit("auto", Root(self.epsilon))

    def build(self, input_shape):
        feature_maps.check_feature_shape(input_shape, self)

    def call(self, inputs, mask=None):
        feature_maps.refuse_mask(mask, self)
        features = feature_maps.flatten_positions(inputs, self.data_format)
        return in_full_precision(self, self._pool, features)

    def _pool(self, features):
        form = FoldedTriangle(self.off_diagonal) if self.triangular else FullMatrix()
        if self.root == "exact":
            x = matrix_functions.center(features) if self.centered else features
            function = Root(self.epsilon)
            method = methods.chosen("auto", function, x, self)
            return matrix_functions.spectral_function(x, function, self.side, form, method)
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
        pooling = attributes(self, "centered", "root", "iterations", "epsilon", "side")
        result = attributes(self, "data_format", "triangular", "off_diagonal")
        return {**super().get_config(), **pooling, **result}
