"""Bilinear pooling in few dimensions by random projections."""

import keras
import numpy as np

from . import feature_maps
from .arguments import attributes, choice, integer
from .backend import constant, mean
from .precision import in_full_precision

METHODS = ("tensor_sketch", "random_maclaurin")


@keras.saving.register_keras_serializable(package="fgvc")
class CompactBilinearPooling(keras.layers.Layer):
    """Pools a feature map into a short vector whose inner products approximate bilinear pooling's.

    For two images with second moments A and B, <output(A), output(B)> is an unbiased estimate of
    <A, B> (Gao et al. 2016). The output is the mean over the positions, with x the channels at one
    position, of

        random_maclaurin: (W1 x) o (W2 x) / sqrt(output_dim)
        tensor_sketch:    ifft(fft(S1 x) o fft(S2 x))

    W1 and W2 are matrices of random signs, and S1 and S2 are count sketches.

    Args:
        output_dim: Positive integer, the length of the output.
        method: `"tensor_sketch"` or `"random_maclaurin"`. Defaults to `"tensor_sketch"`.
        seed: Integer from 0 to 2**32 - 1, the seed of the projections. The projections of a seed
            never change. `None` draws a seed, which is saved with the layer. Defaults to `None`.
        data_format: `"channels_last"`, `"channels_first"` or `None` for Keras' global setting.
            Defaults to `None`.

    Input shape:
        `(batch, height, width, channels)` or `(batch, positions, channels)`; channels second with
        `data_format="channels_first"`.

    Output shape:
        `(batch, output_dim)`.

    Example:

    >>> keras.ops.shape(CompactBilinearPooling(128, seed=0)(np.ones((2, 7, 7, 64), "float32")))
    (2, 128)

    Raises:
        ValueError: If an argument is not one of the values above, or the input has another rank or
            a mask.
    """

    def __init__(self, output_dim, method="tensor_sketch", seed=None, data_format=None, **kwargs):
        super().__init__(**kwargs)
        self.output_dim = integer(output_dim, "output_dim", "an integer of at least 1", 1)
        self.method = choice(method, METHODS, "method")
        seed = int(np.random.randint(2**31)) if seed is None else seed
        requirement = "None or an integer from 0 to 2**32 - 1"
        self.seed = integer(seed, "seed", requirement, 0, 2**32 - 1)
        self.data_format = feature_maps.standardize_data_format(data_format)

    def build(self, input_shape):
        feature_maps.check_feature_shape(input_shape, self)
        channels = input_shape[feature_maps.channel_axis(self.data_format)]
        # NumPy guarantees the stream of RandomState, but not that of its newer generators.
        random = np.random.RandomState(self.seed)
        if self.method == "random_maclaurin":
            shape = (2, channels, self.output_dim)
            projections = random.choice([-1.0, 1.0], size=shape)
        else:
            projections = self._sketch_spectra(random, channels)
        dtype = "float64" if self.compute_dtype == "float64" else "float32"
        self._projections = [projection.astype(dtype) for projection in projections]

    def call(self, inputs, mask=None):
        feature_maps.refuse_mask(mask, self)
        x = feature_maps.flatten_positions(inputs, self.data_format)
        pool = self._maclaurin if self.method == "random_maclaurin" else self._tensor_sketch
        return in_full_precision(self, pool, x)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.output_dim)

    def get_config(self):
        arguments = attributes(self, "output_dim", "method", "seed", "data_format")
        return {**super().get_config(), **arguments}

    def _project(self, x):
        return [x @ constant(w, x) for w in self._projections]

    def _maclaurin(self, x):
        first, second = self._project(x)  # (B, N, D)
        return mean(first * second, axis=1) / self.output_dim**0.5

    def _tensor_sketch(self, x):
        # The FFT is linear. It is therefore applied once to the sketch matrices instead of to every
        # position, and its inverse once to the mean over positions.
        re1, im1, re2, im2 = self._project(x)  # (B, N, D / 2 + 1)
        real = mean(re1 * re2 - im1 * im2, axis=1)
        imaginary = mean(re1 * im2 + im1 * re2, axis=1)
        return keras.ops.irfft((real, imaginary), fft_length=self.output_dim)

    def _sketch_spectra(self, random, channels):
        """Return the FFTs of the two count sketches as four real (C, D / 2 + 1) matrices."""
        spectra = []
        for _ in range(2):
            sketch = np.zeros((channels, self.output_dim))
            bins = random.randint(self.output_dim, size=channels)
            sketch[np.arange(channels), bins] = random.choice([-1.0, 1.0], size=channels)
            spectrum = np.fft.rfft(sketch, axis=1)
            spectra += [spectrum.real, spectrum.imag]
        return spectra
