import itertools

import keras
import numpy as np
import pytest
from layer_references import compiled

from layers import CrossCovariancePooling


def tokens(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def values_of(output):
    return keras.ops.convert_to_numpy(output)  # on PyTorch, without its gradient


def convolved(image, kernel):
    """3 x 3 convolution with stride 2, of (d, d, h), as loops."""
    side = (image.shape[0] - 1) // 2
    output = np.zeros((side, side, kernel.shape[3]))
    for row, column in np.ndindex(side, side):
        patch = image[2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
        output[row, column] = np.tensordot(patch, kernel, axes=3)
    return output


def gelu(x):
    """By the error function, with Abramowitz and Stegun 7.1.26; its error is 1.5e-7."""
    z = np.abs(x) / np.sqrt(2)
    t = 1 / (1 + 0.3275911 * z)
    powers = t ** np.arange(1, 6)[:, None, None, None]
    coefficients = [0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429]
    erf = np.sign(x) * (1 - np.tensordot(coefficients, powers, axes=1) * np.exp(-z * z))
    return x * (1 + erf) / 2


def reference(layer, x):
    """Equations 4 to 7 of Gao et al. 2023, one image and one pair of groups at a time."""
    weights = {each.path.split("/", 1)[-1]: np.float64(values_of(each)) for each in layer.weights}
    kernels = [weights[f"convolution_{number}/kernel"] for number in (1, 2)]
    output = []
    for image in np.float64(x):
        projected = image @ weights["projection/kernel"] + weights["projection/bias"]
        groups = np.split(projected, layer.groups, axis=1)
        normed = []
        for group in groups:
            mean, variance = group.mean(axis=1, keepdims=True), group.var(axis=1, keepdims=True)
            scaled = (group - mean) / np.sqrt(variance + 1e-5)
            normed.append(scaled * weights["norm/gamma"] + weights["norm/beta"])
        count = len(image)
        centring = np.eye(count) - np.ones((count, count)) / count
        pairs = itertools.pairwise(normed)
        moments = [first.T @ centring @ second / count for first, second in pairs]
        moments = [each / np.linalg.norm(each, axis=0) for each in moments]
        shrunk = gelu(convolved(np.stack(moments, axis=2), kernels[0]))
        output.append(convolved(shrunk, kernels[1]).ravel())
    return np.array(output)


def test_it_equals_the_equations_of_the_paper():
    layer, x = CrossCovariancePooling(channels=48, groups=4, seed=0), tokens(2, 10, 6)
    layer.build(x.shape)
    layer.norm.gamma.assign(np.linspace(0.5, 1.5, 12))
    layer.norm.beta.assign(np.linspace(-1, 1, 12))
    np.testing.assert_allclose(values_of(layer(x)), reference(layer, x), rtol=1e-4, atol=1e-5)


def test_the_mean_of_a_channel_has_no_influence_behind_the_norm():
    """The covariance is centred: a constant added to every token's normalised group cancels."""
    layer, x = CrossCovariancePooling(channels=28, groups=2, seed=0), tokens(2, 10, 6)
    before = values_of(layer(x))
    layer.norm.beta.assign(np.linspace(-3, 3, 14))
    np.testing.assert_allclose(values_of(layer(x)), before, rtol=1e-3, atol=1e-5)


def test_the_published_size():
    assert CrossCovariancePooling().compute_output_shape((None, 256, 384)) == (None, 2883)


@pytest.mark.parametrize(("channels", "groups"), [(14, 2), (24, 3), (60, 4)])
def test_shapes(channels, groups):
    layer, x = CrossCovariancePooling(channels, groups, seed=0), tokens(2, 5, 6)
    assert tuple(layer(x).shape) == layer.compute_output_shape(x.shape)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_a_feature_map_is_its_positions(data_format):
    maps = tokens(2, 3, 4, 6)
    layer = CrossCovariancePooling(28, 2, seed=0, data_format=data_format)
    given = maps if data_format == "channels_last" else np.moveaxis(maps, 3, 1)
    same = CrossCovariancePooling(28, 2, seed=0, data_format="channels_last")
    np.testing.assert_allclose(
        values_of(layer(given)), values_of(same(maps.reshape(2, 12, 6))), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("dtype", ["float32", "float16", "mixed_float16"])
def test_a_zero_map_gives_finite_values(dtype):
    x = np.zeros((1, 4, 6), "float32")
    layer = CrossCovariancePooling(28, 2, seed=0, dtype=dtype)
    assert np.isfinite(values_of(layer(x))).all()


def test_the_convolutions_start_with_kernels_of_their_own():
    layer = CrossCovariancePooling(28, 2, seed=0)
    layer.build((None, 4, 6))
    first, second = (values_of(each.kernel) for each in layer.convolutions)
    assert not np.allclose(first, second)


def test_unknown_numbers_of_images_and_tokens():
    layer = CrossCovariancePooling(28, 2, seed=0)
    model = keras.Sequential([keras.Input((None, 6)), layer])
    for count in (2, 7):
        x = tokens(3, count, 6)
        np.testing.assert_allclose(
            values_of(compiled(model)(x)), values_of(layer(x)), rtol=1e-3, atol=1e-5
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": 1}, "`groups` must be an integer of at least 2. Received: 1"),
        ({"channels": 13}, "`channels` must be an integer of at least 14. Received: 13"),
        ({"channels": 30, "groups": 4}, "must be a multiple of the 4 groups, each of at least 7"),
        ({"channels": 24, "groups": 4}, "each of at least 7. Received: 24"),
    ],
)
def test_arguments_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        CrossCovariancePooling(**options)
