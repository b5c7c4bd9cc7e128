"""Second-order pooling of a feature map with a function of its eigenvalues."""

import keras

from . import feature_maps, folded_triangle, matrix_functions, methods
from .arguments import attributes, boolean, choice, finite, integer, positive, require
from .folded_triangle import FoldedTriangle
from .full_matrix import FullMatrix
from .precision import in_full_precision
from .spectral_functions import Inverse, MaxExp, Power, Root

FUNCTIONS = ("root", "power", "log", "inverse", "max_exp")
MAX_ETA = 1000


@keras.saving.register_keras_serializable(package="fgvc")
class SpectralPooling(keras.layers.Layer):
    """Pools a feature map into a function of the second moment of its channels.

        A = X'X / N,    B = A + epsilon tr(A) I

        root      B^(1/2)                        improved B-CNN, MPN-COV (Lin and Maji 2017)
        power     B^theta                        Pow-EMLR (Chen et al. 2025, RiemGCP)
        log       log B                          log-Euclidean pooling (Ionescu et al. 2015)
        inverse   B^(-1)                         precision matrix (Rahman et al. 2023, iSICE)
        max_exp   I - (I - A / tr(A))^eta        MaxExp (Koniusz and Zhang 2022)

    X is the N x C matrix of an image's N positions, minus their mean if `centered`. If an image has
    fewer positions than channels, the function is computed from the smaller N x N matrix XX'. The
    gradient is exact and never divides by a difference of eigenvalues; see `matrix_functions`.
    RiemGCP's ScalePow is `power` divided by theta.

    Half precision is pooled in float32, and the result is cast back. A zero map gives a zero matrix
    and a zero gradient, and so does a centered map of constant channels. A sample that is not
    finite gives NaN and does not affect the other samples of the batch. Only the root has second
    derivatives.

    The relative error against float64 is at most 5e-6 if N < C and 3e-5 elsewhere, and that of the
    gradient 1e-4 and 2e-4, for the ranges of `epsilon` and `exponent` below, if the results are in
    the range of float32. log B is close to zero if B is close to the identity, and its error is
    then relative to log(C).

    Args:
        function: `"root"`, `"power"`, `"log"`, `"inverse"` or `"max_exp"`. Defaults to `"root"`.
        exponent: theta of `"power"`, a float above 0 and up to 1, with the bounds above from 0.01,
            or eta of `"max_exp"`, an integer from 1 to 1000. Both need it, and the other functions
            take `None`. Defaults to `None`.
        centered: Boolean, whether to subtract the mean over positions first. Defaults to `False`.
        augmented: Boolean, whether to append a constant channel of 1 to X, which gives the Gaussian
            embedding [[A, m], [m', 1]] with the mean m (Wang et al. 2017, G2DeNet). It needs
            `centered=False`. Defaults to `False`.
        epsilon: Float above 0, the ridge relative to the trace, with the bounds above from 1e-6 to
            1. The root also takes 0. Not used by `"max_exp"`. Defaults to `1e-5`.
        method: `"eigh"`, an eigendecomposition, or `"products"`, matrix products in float64, which
            need no eigendecomposition. Both keep the bounds above. `"products_float32"` is faster
            where float64 is slow, with errors of up to 5e-5 and 1e-3 for the root of maps of
            deficient rank. Products compute the root, `exponent` 0.25 and 0.5, the inverse and
            MaxExp. `"auto"` takes what is fastest where the layer runs; see `methods`. Defaults to
            `"auto"`.
        side: `"auto"`, `"channels"` (C x C) or `"positions"` (N x N), the matrix that the function
            is computed from. The result is the same. `"auto"` takes the smaller one; it decides at
            run time if the number of positions is unknown. Defaults to `"auto"`.
        data_format: `"channels_last"`, `"channels_first"` or `None` for Keras' global setting.
            Defaults to `None`.
        triangular: Boolean, whether to return only one triangle, as a vector in the order of
            `folded_triangle.py`. Defaults to `False`.
        off_diagonal: Positive float, the factor of the triangle's off-diagonal entries. Only used
            with `triangular=True`. Defaults to `2**0.5`, which keeps inner products.

    Input shape:
        `(batch, height, width, channels)` or `(batch, positions, channels)`; with
        `data_format="channels_first"`, `(batch, channels, height, width)` or
        `(batch, channels, positions)`. Batch and spatial sizes may be unknown.

    Output shape:
        `(batch, channels, channels)`, one channel more with `augmented=True`; with
        `triangular=True`, `(batch, channels * (channels + 1) / 2)`, with an odd number of channels
        rounded up to even.

    Example:

    >>> x = np.random.default_rng(0).normal(size=(2, 7, 7, 64)).astype("float32")
    >>> keras.ops.shape(SpectralPooling("log", augmented=True)(x))
    (2, 65, 65)

    Raises:
        ValueError: If an argument is not one of the values above, or the input has another rank or
            a mask.
    """

    def __init__(
        self,
        function="root",
        exponent=None,
        centered=False,
        augmented=False,
        epsilon=1e-5,
        method="auto",
        side="auto",
        data_format=None,
        triangular=False,
        off_diagonal=2**0.5,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.function = choice(function, FUNCTIONS, "function")
        self.exponent = _exponent(function, exponent)
        self.centered = boolean(centered, "centered")
        self.augmented = boolean(augmented, "augmented")
        require(
            not (centered and augmented),
            "`augmented=True` appends the mean, so `centered` must be False",
            centered,
        )
        self.epsilon = finite(epsilon, "epsilon", "a finite number of at least 0", 0)
        require(
            self.epsilon > 0 or function in ("root", "max_exp"),
            f"`epsilon` must be above 0 with function={function!r}",
            epsilon,
        )
        self.side = choice(side, matrix_functions.SIDES, "side")
        self.data_format = feature_maps.standardize_data_format(data_format)
        self.triangular = boolean(triangular, "triangular")
        self.off_diagonal = positive(off_diagonal, "off_diagonal")
        self.method = methods.checked(method, self.of_eigenvalues())
        self.supports_jit = methods.supports_jit(method, self.of_eigenvalues())

    def build(self, input_shape):
        feature_maps.check_feature_shape(input_shape, self)

    def call(self, inputs, mask=None):
        feature_maps.refuse_mask(mask, self)
        features = feature_maps.flatten_positions(inputs, self.data_format)
        return in_full_precision(self, self._pool, features)

    def _pool(self, features):
        form = FoldedTriangle(self.off_diagonal) if self.triangular else FullMatrix()
        x = matrix_functions.center(features) if self.centered else features
        if self.augmented:
            x = keras.ops.concatenate([x, keras.ops.ones_like(x[:, :, :1])], axis=2)
        function = self.of_eigenvalues()
        method = methods.chosen(self.method, function, x, self)
        return matrix_functions.spectral_function(x, function, self.side, form, method)

    def of_eigenvalues(self):
        """Return the function, as an instance of a class of `spectral_functions`."""
        if self.function == "root":
            return Root(self.epsilon)
        if self.function == "inverse":
            return Inverse(self.epsilon)
        if self.function == "max_exp":
            return MaxExp(self.exponent)
        return Power(self.exponent if self.function == "power" else 0.0, self.epsilon)

    def compute_output_shape(self, input_shape):
        channels = input_shape[feature_maps.channel_axis(self.data_format)] + self.augmented
        if self.triangular:
            return (input_shape[0], folded_triangle.size(channels))
        return (input_shape[0], channels, channels)

    def get_config(self):
        pooling = attributes(
            self, "function", "exponent", "centered", "augmented", "epsilon", "method", "side"
        )
        result = attributes(self, "data_format", "triangular", "off_diagonal")
        return {**super().get_config(), **pooling, **result}


def _exponent(function, exponent):
    """Return the argument `exponent`, if `function` has one."""
    if function == "power":
        requirement = "a number above 0 and up to 1, theta of function='power'"
        exponent = finite(exponent, "exponent", requirement, 0, 1)
        require(exponent > 0, f"`exponent` must be {requirement}", exponent)
        return exponent
    if function == "max_exp":
        requirement = f"an integer from 1 to {MAX_ETA}, eta of function='max_exp'"
        return integer(exponent, "exponent", requirement, 1, MAX_ETA)
    require(exponent is None, f"`exponent` must be None with function={function!r}", exponent)
    return None
