from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax_cases import examples
from layer_references import (
    HAS_FLOAT64,
    compiled,
    newton_schulz,
    relative_error,
    relu_features,
    root,
    second_moment,
    value_and_gradient,
    with_singular_values,
)

from layers import SecondOrderPooling, SignedSquareRoot

GOLDEN = Path(__file__).parents[1] / "golden" / "isqrt_cov.npz"
ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
EPSILON = SecondOrderPooling().epsilon
# Without float64, as on JAX by default, the smallest modes are less accurate.
SLACK = 1 if HAS_FLOAT64 else 12


def low_rank(rng, positions, channels, rank, batch=2):
    return rng.normal(size=(batch, positions, rank)) @ rng.normal(size=(batch, rank, channels))


def of_spectrum(values):
    """Return a function that makes maps with the singular values `values(rank)`, of full rank."""
    return lambda rng, n, c: with_singular_values(rng, n, c, values(min(n, c)))


def duplicated_channels(rng, positions, channels):
    x = relu_features(rng, positions, channels)
    half = channels // 2
    x[:, :, half : 2 * half] = x[:, :, :half]
    return x


SPECTRA = {
    "full rank": relu_features,
    "deficient rank": lambda rng, n, c: low_rank(rng, n, c, max(1, min(n, c) // 3)),
    "rank one": lambda rng, n, c: low_rank(rng, n, c, 1),
    "all eigenvalues equal": of_spectrum(np.ones),
    "two eigenvalues": of_spectrum(lambda rank: np.where(np.arange(rank) % 2, 1, 0.1)),
    "decaying to 1e-4": of_spectrum(lambda rank: np.geomspace(1, 1e-4, rank)),
    "decaying to 1e-8": of_spectrum(lambda rank: np.geomspace(1, 1e-8, rank)),
    "power law": of_spectrum(lambda rank: 1 / np.arange(1, rank + 1)),
    "duplicated channels": duplicated_channels,
    "constant": lambda rng, n, c: np.ones((2, n, 1)) * relu_features(rng, 1, c),
}


def assert_meets_the_contract(x, upstream, **options):
    layer = SecondOrderPooling(root="exact", **options)
    x = x.astype("float32")
    value, gradient = value_and_gradient(layer, x, upstream.astype("float32"))
    true_value, true_gradient = root(x, upstream, layer.epsilon, layer.centered)
    wide = x.shape[1] < x.shape[2]
    assert relative_error(value, true_value) <= SLACK * (5e-6 if wide else 3e-5)
    assert relative_error(gradient, true_gradient) <= SLACK * (1e-4 if wide else 2e-4)


# Basics


@pytest.mark.parametrize("kind", [None, "exact", "newton_schulz"])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 12, 5)])
def test_shape(kind, shape):
    layer = SecondOrderPooling(root=kind)
    assert np.shape(layer(np.ones(shape, "float32"))) == (2, 5, 5)
    assert layer.compute_output_shape(shape) == (2, 5, 5)
    assert not layer.weights


def test_config_round_trip():
    layer = SecondOrderPooling(
        True, "newton_schulz", 3, 1e-4, "channels", "channels_first", True, 2.0
    )
    config = layer.get_config()
    assert SecondOrderPooling.from_config(config).get_config() == config


@pytest.mark.parametrize(
    "options",
    [
        {"root": "svd"},
        {"side": "left"},
        {"iterations": 0},
        {"epsilon": -1},
        {"off_diagonal": 0},
        {"data_format": "NHWC"},
    ],
)
def test_an_error_ends_with_the_value_received(options):
    (value,) = options.values()
    with pytest.raises(ValueError, match=f"Received: {value!r}$"):
        SecondOrderPooling(**options)


def test_inputs_of_another_rank_are_refused():
    with pytest.raises(ValueError, match=r"rank 4 .* Received: shape=\(2, 5\)"):
        SecondOrderPooling()(np.ones((2, 5), "float32"))


def test_a_mask_is_refused():
    tokens = keras.layers.Embedding(9, 4, mask_zero=True)(np.array([[1, 2, 0]]))
    with pytest.raises(ValueError, match="does not support masks"):
        SecondOrderPooling()(tokens)


# Correctness


@pytest.mark.parametrize("centered", [False, True])
def test_without_a_root_it_is_the_second_moment(centered):
    x = np.random.default_rng(0).normal(1, 1, (2, 3, 4, 5)).astype("float32")
    expected = second_moment(x.reshape(2, 12, 5), centered)
    np.testing.assert_allclose(SecondOrderPooling(centered)(x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("shape", [(49, 128), (96, 48), (64, 64), (8, 16)])
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_contract(spectrum, shape, centered):
    if centered and spectrum == "constant":
        pytest.skip("a centered constant map contains only rounding errors")
    rng = np.random.default_rng(0)
    x = SPECTRA[spectrum](rng, *shape)
    assert_meets_the_contract(x, rng.normal(size=(2, shape[1], shape[1])), centered=centered)


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1e3, 1e6])
@pytest.mark.parametrize("shape", [(12, 40), (40, 12)])
def test_contract_at_other_scales(scale, shape):
    rng = np.random.default_rng(1)
    for spectrum in ("full rank", "deficient rank"):
        x = SPECTRA[spectrum](rng, *shape) * scale
        assert_meets_the_contract(x, rng.normal(size=(2, shape[1], shape[1])))


@pytest.mark.parametrize("shape", [(49, 512), (196, 512), (256, 400), (300, 200), (784, 512)])
def test_contract_at_the_sizes_of_vgg16(shape):
    if not HAS_FLOAT64 and shape in ((256, 400), (784, 512)):
        pytest.skip("float32 is not accurate enough for a power law of this size")
    rng = np.random.default_rng(2)
    for spectrum in ("full rank", "rank one", "constant", "decaying to 1e-8", "power law"):
        x = SPECTRA[spectrum](rng, *shape)
        assert_meets_the_contract(x, rng.normal(size=(2, shape[1], shape[1])))


def one_outlying_position(rng, positions, channels):
    x = relu_features(rng, positions, channels)
    x[:, positions // 2] *= 1000
    return x


def large_channel_means(rng, positions, channels):
    return rng.normal(size=(2, positions, channels)) + 30 * rng.normal(size=(2, 1, channels))


def lognormal_channel_scales(rng, positions, channels):
    return rng.normal(size=(2, positions, channels)) * np.exp(3 * rng.normal(size=channels))


HARD = (one_outlying_position, large_channel_means, lognormal_channel_scales)


@pytest.mark.skipif(not HAS_FLOAT64, reason="float32 is not accurate enough")
@pytest.mark.parametrize(
    "shape, side",
    [
        ((140, 160), "auto"),
        ((160, 140), "auto"),
        ((160, 140), "positions"),
        ((7, 320), "channels"),
        ((120, 125), "auto"),
        pytest.param((196, 512), "auto", marks=pytest.mark.slow),
        pytest.param((300, 320), "auto", marks=pytest.mark.slow),
        pytest.param((784, 512), "auto", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("spectrum", HARD)
def test_contract_if_a_few_modes_outweigh_the_rest(spectrum, shape, side):
    rng = np.random.default_rng(20)
    x = spectrum(rng, *shape)
    assert_meets_the_contract(x, rng.normal(size=(2, shape[1], shape[1])), side=side)


@pytest.mark.skipif(not HAS_FLOAT64, reason="float32 is not accurate enough")
@pytest.mark.parametrize("scale", [1e-15, 1e15])
@pytest.mark.parametrize("shape", [(140, 160), (160, 140), (12, 40)])
def test_contract_at_scales_whose_squares_overflow(scale, shape):
    rng = np.random.default_rng(21)
    for spectrum in (relu_features, one_outlying_position):
        x = spectrum(rng, *shape) * scale
        assert_meets_the_contract(x, rng.normal(size=(2, shape[1], shape[1])))


@pytest.mark.parametrize("shape", [(4, 9), (150, 160)])
def test_without_a_ridge_rounding_errors_are_left_out(shape):
    x = SPECTRA["constant"](np.random.default_rng(5), *shape).astype("float32")
    ones = np.ones((2, shape[1], shape[1]), "float32")
    value, gradient = value_and_gradient(SecondOrderPooling(root="exact", epsilon=0.0), x, ones)
    # The moment has rank one, and the root of vv' is vv' / |v|.
    v = x[:, 0].astype("float64")
    expected = v[:, :, None] * v[:, None] / np.linalg.norm(v, axis=1)[:, None, None]
    assert relative_error(value, expected) <= SLACK * 5e-6
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() < 100


@examples(60)
@given(
    positions=st.integers(1, 24),
    channels=st.integers(1, 24),
    rank=st.integers(1, 24),
    decay=st.floats(0, 8),
    exponent=st.integers(-6, 6),
    centered=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_contract_holds_for_any_map(positions, channels, rank, decay, exponent, centered, seed):
    rng = np.random.default_rng(seed)
    values = np.zeros(min(positions, channels))
    kept = min(rank, len(values))
    values[:kept] = np.geomspace(1, 10.0**-decay, kept)
    x = with_singular_values(rng, positions, channels, values) * 10.0**exponent
    centered = centered and positions > 1
    if centered:
        # The error of the centered map in float32 is relative to the map, not to the centered map.
        spread = np.linalg.norm(x - x.mean(1, keepdims=True), axis=(1, 2))
        centered = bool(np.all(spread > 0.1 * np.linalg.norm(x, axis=(1, 2))))
    assert_meets_the_contract(x, rng.normal(size=(2, channels, channels)), centered=centered)


@pytest.mark.parametrize("epsilon", [0.0, 1e-3])
@pytest.mark.parametrize("shape", [(9, 20), (20, 9)])
def test_other_epsilons(epsilon, shape):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(2, *shape))
    assert_meets_the_contract(x, rng.normal(size=(2, shape[1], shape[1])), epsilon=epsilon)


@pytest.mark.parametrize("kind", ["exact", "newton_schulz"])
@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("shape", [(9, 20), (20, 9), (12, 12)])
def test_both_sides_agree(shape, centered, kind):
    rng = np.random.default_rng(4)
    x = relu_features(rng, *shape).astype("float32")
    upstream = rng.normal(size=(2, shape[1], shape[1])).astype("float32")
    one, other = (
        value_and_gradient(SecondOrderPooling(centered, kind, side=side), x, upstream)
        for side in ("channels", "positions")
    )
    assert relative_error(one[0], other[0]) < 1e-5
    assert relative_error(one[1], other[1]) < 1e-4


@pytest.mark.skipif(not HAS_FLOAT64, reason="this backend computes in float32")
@pytest.mark.parametrize("kind", ["exact", "newton_schulz"])
@pytest.mark.parametrize("side", ["channels", "positions"])
@pytest.mark.parametrize("shape", [(6, 11), (11, 6)])
def test_gradient_by_finite_differences(shape, side, kind):
    rng = np.random.default_rng(5)
    x, direction = rng.normal(size=(2, 2, *shape))
    upstream = rng.normal(size=(2, shape[1], shape[1]))
    layer = SecondOrderPooling(True, kind, side=side, epsilon=1e-3, dtype="float64")
    _, gradient = value_and_gradient(layer, x, upstream)
    step = 1e-5
    ahead, behind = (np.asarray(layer(x + sign * step * direction)) for sign in (1, -1))
    expected = np.sum(upstream * (ahead - behind)) / (2 * step)
    np.testing.assert_allclose(np.sum(gradient * direction), expected, rtol=1e-7)


@pytest.mark.parametrize("side", ["auto", "channels", "positions"])
@pytest.mark.parametrize(
    "case, iterations",
    [
        ("wide_c64_hw16_it5", 5),
        ("tall_c16_hw49_it5", 5),
        ("signed_c24_hw36_it3", 3),
        ("single_c8_hw9_it7", 7),
    ],
)
def test_newton_schulz_reproduces_isqrt_cov(case, iterations, side):
    """The golden values and gradients are those of the authors' code (fast-MPN-COV)."""
    golden = np.load(GOLDEN)
    layer = SecondOrderPooling(True, "newton_schulz", iterations, side=side)
    upstream = golden[f"{case}/upstream"]
    value, gradient = value_and_gradient(layer, golden[f"{case}/x_bhwc"], upstream)
    assert relative_error(value, golden[f"{case}/root"]) < 2e-6
    assert relative_error(gradient, golden[f"{case}/grad_x_bhwc"]) < 5e-6


def test_newton_schulz_against_float64():
    x = relu_features(np.random.default_rng(6), 10, 30).astype("float32")
    for iterations in (1, 2, 8):
        value = SecondOrderPooling(root="newton_schulz", iterations=iterations)(x)
        assert relative_error(value, newton_schulz(second_moment(x), iterations)) < 5e-6


# Maps that break other implementations


@pytest.mark.parametrize("epsilon", [0.0, EPSILON])
@pytest.mark.parametrize("kind", ["exact", "newton_schulz"])
@pytest.mark.parametrize("side", ["channels", "positions"])
def test_a_zero_map_gives_zero_and_a_zero_gradient(side, kind, epsilon):
    layer = SecondOrderPooling(root=kind, side=side, epsilon=epsilon)
    upstream = np.ones((2, 6, 6), "float32")
    value, gradient = value_and_gradient(layer, np.zeros((2, 4, 6), "float32"), upstream)
    np.testing.assert_array_equal(value, 0)
    np.testing.assert_array_equal(gradient, 0)


# Blank maps: after centering, a channel that is constant but for rounding is exactly 0.


@pytest.mark.parametrize("triangular", [False, True])
@pytest.mark.parametrize("kind", [None, "exact", "newton_schulz"])
@pytest.mark.parametrize("side", ["channels", "positions"])
@pytest.mark.parametrize("positions", [1, 196])
def test_a_blank_map_gives_zero_and_a_zero_gradient(positions, side, kind, triangular):
    scales = np.array([1e-15, 1e-6, 0.1, 1e3, 1e6, 1e15])[:, None, None]
    values = scales * np.random.default_rng(16).uniform(-3, 3, (6, 1, 8))
    x = values.astype("float32").repeat(positions, 1)
    pooling = SecondOrderPooling(True, kind, side=side, triangular=triangular)
    normalizations = [SignedSquareRoot(normalize=True), SignedSquareRoot()]
    if ON_TENSORFLOW:  # elsewhere, Keras' gradient of it at zero is NaN
        normalizations.append(keras.layers.UnitNormalization())
    for normalization in normalizations:
        layer = keras.Sequential([pooling, normalization])
        upstream = np.ones(keras.ops.shape(layer(x)), "float32")
        value, gradient = value_and_gradient(layer, x, upstream)
        np.testing.assert_array_equal(value, 0)
        np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("kind", [None, "exact", "newton_schulz"])
def test_rounding_between_the_positions_of_a_blank_map_is_left_out(kind):
    """A convolution may round the border of a blank image in another way than its interior."""
    rng = np.random.default_rng(17)
    x = np.full((2, 49, 8), 0.7, "float32")
    x = x * (1 + rng.integers(-2, 3, x.shape) * np.finfo("float32").eps).astype("float32")
    layer = keras.Sequential([SecondOrderPooling(True, kind), SignedSquareRoot(normalize=True)])
    value, gradient = value_and_gradient(layer, x, np.ones((2, 8, 8), "float32"))
    np.testing.assert_array_equal(value, 0)
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("kind", [None, "exact", "newton_schulz"])
def test_a_blank_map_in_half_precision_gives_zero(kind, dtype):
    x = keras.ops.cast(np.full((2, 49, 8), 0.1), dtype)
    value = SecondOrderPooling(True, kind, dtype=dtype)(x)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(keras.ops.cast(value, "float32")), 0)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6])
@pytest.mark.parametrize("shape", [(9, 6), (6, 9)])
def test_a_blank_channel_among_others_has_no_moment_and_the_right_gradient(shape, constant):
    rng = np.random.default_rng(18)
    x = relu_features(rng, *shape).astype("float32")
    x[:, :, 2] = constant
    upstream = rng.normal(size=(2, shape[1], shape[1]))
    assert_meets_the_contract(x, upstream, centered=True)
    value = np.asarray(SecondOrderPooling(True)(x))
    np.testing.assert_array_equal(value[:, 2], 0)


@pytest.mark.parametrize("mean", [1e-10, 1.0, -1e3, 1e6])
@pytest.mark.parametrize("contrast", [1e-3, 1e-4])
def test_a_weak_signal_on_a_large_mean_is_kept(contrast, mean):
    rng = np.random.default_rng(19)
    x = (mean * (1 + contrast * rng.normal(size=(2, 49, 6)))).astype("float32")
    value = np.asarray(SecondOrderPooling(True)(x)) / mean**2
    expected = second_moment(x, centered=True) / mean**2
    np.testing.assert_allclose(value, expected, rtol=0.05, atol=1e-3 * contrast**2)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("kind", [None, "exact", "newton_schulz"])
@pytest.mark.parametrize("side", ["channels", "positions"])
def test_nan_stays_in_its_sample(side, kind, bad):
    rng = np.random.default_rng(7)
    x = rng.normal(size=(3, 7, 9)).astype("float32")
    upstream = rng.normal(size=(3, 9, 9)).astype("float32")
    layer = SecondOrderPooling(root=kind, side=side)
    clean = value_and_gradient(layer, x, upstream)
    x[1, 2, 3] = bad
    for result, expected in zip(value_and_gradient(layer, x, upstream), clean, strict=True):
        np.testing.assert_allclose(result[[0, 2]], expected[[0, 2]], rtol=1e-4, atol=1e-6)
    value, gradient = value_and_gradient(layer, x, upstream)
    assert not np.isfinite(value[1]).all()
    if kind is not None:
        assert np.isnan(value[1]).all() and np.isnan(gradient[1]).any()


# Formats, precisions, unknown sizes, XLA


@pytest.mark.parametrize("kind", [None, "exact", "newton_schulz"])
def test_channels_first(kind):
    x = np.random.default_rng(8).normal(size=(2, 3, 4, 5)).astype("float32")
    last = SecondOrderPooling(True, kind, data_format="channels_last")
    first = SecondOrderPooling(True, kind, data_format="channels_first")
    upstream = np.random.default_rng(9).normal(size=(2, 5, 5)).astype("float32")
    value, gradient = value_and_gradient(last, x, upstream)
    other, other_gradient = value_and_gradient(first, np.moveaxis(x, 3, 1).copy(), upstream)
    np.testing.assert_allclose(other, value, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.moveaxis(other_gradient, 1, 3), gradient, rtol=1e-3, atol=1e-4)
    tokens = np.moveaxis(x.reshape(2, 12, 5), 2, 1).copy()
    np.testing.assert_allclose(first(tokens), value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype, tolerance", [("bfloat16", 8e-3), ("float16", 1e-3)])
@pytest.mark.parametrize("side", ["channels", "positions"])
def test_half_precision_is_rounded_once(side, dtype, tolerance):
    x = keras.ops.cast(relu_features(np.random.default_rng(10), 9, 16).astype("float32"), dtype)
    layer = SecondOrderPooling(root="exact", side=side, dtype=dtype)
    value = layer(x)
    assert keras.backend.standardize_dtype(value.dtype) == dtype
    x = keras.ops.convert_to_numpy(keras.ops.cast(x, "float32"))
    expected, _ = root(x, np.zeros((2, 16, 16)), layer.epsilon)
    value = keras.ops.convert_to_numpy(keras.ops.cast(value, "float32"))
    assert relative_error(value, expected) < tolerance


def test_mixed_precision_policy():
    x = relu_features(np.random.default_rng(11), 9, 16).astype("float32")
    layer = SecondOrderPooling(root="exact", dtype="mixed_float16")
    value, gradient = value_and_gradient(layer, x, np.ones((2, 16, 16), "float16"))
    assert value.dtype == "float16" and np.isfinite(value).all()
    assert gradient.dtype == "float32" and np.isfinite(gradient).all()


@pytest.mark.parametrize("triangular", [False, True])
@pytest.mark.parametrize("kind", [None, "exact", "newton_schulz"])
@pytest.mark.parametrize(
    ("data_format", "shape"),
    [
        ("channels_last", (None, None, 4)),
        ("channels_first", (4, None, None)),
        ("channels_first", (4, 3, 5)),
        ("channels_first", (4, 2)),
    ],
)
def test_it_is_trained_whatever_is_unknown(data_format, shape, kind, triangular):
    """The batch always is: seven samples in batches of three."""
    inputs = keras.Input(shape)
    layer = SecondOrderPooling(
        root=kind, triangular=triangular, data_format=data_format, name="pooling"
    )
    scale = keras.layers.Rescaling(0.5)(inputs)
    trained = (
        keras.layers.Dense(4, use_bias=False)
        if data_format == "channels_last"
        else (keras.layers.PReLU(shared_axes=list(range(2, len(shape) + 1))))
    )
    pooled = keras.layers.Flatten()(layer(trained(scale)))
    model = keras.Model(inputs, keras.layers.Dense(1)(pooled))
    model.compile("sgd", "mse")
    x = np.random.default_rng(15).normal(size=(7, *(size or 3 for size in shape)))
    before = model.layers[2].get_weights()[0].copy()
    model.fit(x.astype("float32"), np.ones(7), batch_size=3, verbose=0)
    after = model.layers[2].get_weights()[0]
    assert np.isfinite(after).all() and not np.array_equal(after, before)


@pytest.mark.parametrize("kind", [None, "exact", "newton_schulz"])
def test_unknown_batch_and_spatial_sizes(kind):
    inputs = keras.Input((None, None, 12))
    model = keras.Model(inputs, SecondOrderPooling(True, kind)(inputs))
    assert model.output_shape == (None, 12, 12)
    rng = np.random.default_rng(12)
    for shape in [(1, 2, 3), (3, 2, 3), (2, 5, 4)]:  # below and above 12 positions
        x = rng.normal(size=(*shape, 12)).astype("float32")
        expected = SecondOrderPooling(True, kind)(x)
        np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not ON_TENSORFLOW, reason="only TensorFlow traces unknown sizes")
@pytest.mark.parametrize("triangular", [False, True])
@pytest.mark.parametrize("kind", [None, "exact", "newton_schulz"])
@pytest.mark.parametrize("positions", [5, 20])
def test_the_gradient_at_unknown_sizes(positions, kind, triangular):
    import tensorflow as tf

    rng = np.random.default_rng(13)
    x = rng.normal(size=(2, positions, 12)).astype("float32")
    layer = SecondOrderPooling(root=kind, triangular=triangular)
    upstream = rng.normal(size=layer.compute_output_shape(x.shape)).astype("float32")
    dynamic = tf.function(layer, input_signature=[tf.TensorSpec((None, None, 12))])
    for result, expected in zip(
        value_and_gradient(dynamic, x, upstream),
        value_and_gradient(layer, x, upstream),
        strict=True,
    ):
        np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("ignore:.*eigendecomposition")
@pytest.mark.parametrize("kind", [None, "exact", "newton_schulz"])
@pytest.mark.parametrize("shape", [(6, 10), (10, 6)])
def test_xla_gives_the_same(shape, kind):
    rng = np.random.default_rng(14)
    x = rng.normal(size=(2, *shape)).astype("float32")
    upstream = rng.normal(size=(2, shape[1], shape[1])).astype("float32")
    layer = SecondOrderPooling(root=kind)
    value, gradient = value_and_gradient(compiled(layer), x, upstream)
    expected, expected_gradient = value_and_gradient(layer, x, upstream)
    assert relative_error(value, expected) < 5e-6
    assert relative_error(gradient, expected_gradient) < 1e-4
