import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax_cases import examples
from layer_references import (
    HAS_FLOAT64,
    compiled,
    relative_error,
    relu_features,
    second_derivative,
    value_and_gradient,
    with_singular_values,
)
from spectral_references import (
    CASES,
    EPSILON,
    MAPS,
    assert_equal_at_unknown_sizes,
    assert_meets_the_contract,
    outlying_position,
)

from layers import SecondOrderPooling, SpectralPooling

ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
RARE = (("power", 0.7), ("max_exp", 1), ("max_exp", 25))
EACH = [pytest.param(*case, marks=[pytest.mark.slow] * (case in RARE)) for case in CASES]


# Basics


@pytest.mark.parametrize("function, exponent", EACH)
def test_shape(function, exponent):
    for shape in [(2, 3, 4, 5), (2, 12, 5)]:
        layer = SpectralPooling(function, exponent)
        assert np.shape(layer(np.ones(shape, "float32"))) == (2, 5, 5)
        assert layer.compute_output_shape(shape) == (2, 5, 5)
    layer = SpectralPooling(function, exponent, augmented=True, triangular=True)
    assert np.shape(layer(np.ones(shape, "float32"))) == layer.compute_output_shape(shape)


def test_the_references_have_the_default_epsilon():
    assert SpectralPooling().epsilon == EPSILON


def test_config_round_trip():
    layer = SpectralPooling(
        "power", 0.25, True, False, 1e-4, "products", "channels", "channels_first", True, 2.0
    )
    config = layer.get_config()
    assert SpectralPooling.from_config(config).get_config() == config


@pytest.mark.parametrize(
    "options, value",
    [
        ({"function": "svd"}, "'svd'"),
        ({"function": "power"}, "None"),
        ({"function": "power", "exponent": 1.5}, "1.5"),
        ({"function": "max_exp", "exponent": 0}, "0"),
        ({"function": "max_exp", "exponent": 2.5}, "2.5"),
        ({"function": "log", "exponent": 0.5}, "0.5"),
        ({"function": "log", "epsilon": 0}, "0"),
        ({"function": "root", "epsilon": -1}, "-1"),
        ({"centered": True, "augmented": True}, "True"),
        ({"side": "left"}, "'left'"),
        ({"method": "qr"}, "'qr'"),
    ],
)
def test_an_error_ends_with_the_value_received(options, value):
    with pytest.raises(ValueError, match=f"Received: {value}$"):
        SpectralPooling(**options)


# Correctness


@pytest.mark.parametrize(
    "shape, side",
    [
        ((9, 20), "auto"),
        ((20, 9), "auto"),
        pytest.param((12, 12), "auto", marks=pytest.mark.slow),
        ((20, 9), "positions"),
        ((9, 20), "channels"),
    ],
)
@pytest.mark.parametrize("function, exponent", EACH)
def test_contract(function, exponent, shape, side):
    rng = np.random.default_rng(0)
    for make in MAPS.values():
        assert_meets_the_contract(SpectralPooling(function, exponent, side=side), make(rng, *shape))


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(196, 256), (160, 140)])
@pytest.mark.parametrize("function, exponent", CASES[1:])
def test_contract_beyond_128_modes(function, exponent, shape):
    rng = np.random.default_rng(1)
    for make in (relu_features, outlying_position):
        assert_meets_the_contract(SpectralPooling(function, exponent), make(rng, *shape))


@pytest.mark.parametrize("shape", [(9, 20), (20, 9)])
@pytest.mark.parametrize(
    "function, exponent, epsilon",
    [
        pytest.param("root", None, 1.0, marks=pytest.mark.slow),
        ("power", 0.01, 1e-6),
        *(
            pytest.param("power", theta, e, marks=pytest.mark.slow)
            for theta, e in [(0.01, 1.0), (0.5, 1e-6), (0.5, 1.0), (1.0, 1e-6), (1.0, 1.0)]
        ),
        *((function, None, e) for function in ("log", "inverse") for e in (1e-6, 1.0)),
        ("max_exp", 1000, 1e-5),
    ],
)
def test_contract_at_the_ends_of_the_ranges(function, exponent, epsilon, shape):
    rng = np.random.default_rng(2)
    layer = SpectralPooling(function, exponent, epsilon=epsilon)
    for make in MAPS.values():
        assert_meets_the_contract(layer, make(rng, *shape))


@examples(30)
@given(
    case=st.sampled_from(CASES),
    positions=st.integers(1, 24),
    channels=st.integers(2, 24),
    rank=st.integers(1, 24),
    decay=st.floats(0, 8),
    scale=st.integers(-3, 3),
    epsilon=st.floats(-6, 0),
    seed=st.integers(0, 2**31),
)
def test_contract_holds_for_any_map(case, positions, channels, rank, decay, scale, epsilon, seed):
    rng = np.random.default_rng(seed)
    values = np.geomspace(1, 10.0**-decay, min(rank, positions, channels)) * 10.0**scale
    x = with_singular_values(rng, positions, channels, values)
    assert_meets_the_contract(SpectralPooling(*case, epsilon=10.0**epsilon), x)


@pytest.mark.skipif(not HAS_FLOAT64, reason="this backend computes in float32")
@pytest.mark.parametrize("side", ["channels", "positions"])
@pytest.mark.parametrize("function, exponent", EACH)
def test_gradient_by_finite_differences(function, exponent, side):
    rng = np.random.default_rng(5)
    for shape in [(6, 11), (11, 6)]:
        x, direction = rng.normal(size=(2, 2, *shape))
        upstream = rng.normal(size=(2, shape[1], shape[1]))
        layer = SpectralPooling(
            function, exponent, centered=True, side=side, epsilon=1e-3, dtype="float64"
        )
        _, gradient = value_and_gradient(layer, x, upstream)
        ahead, behind = (np.asarray(layer(x + sign * 1e-5 * direction)) for sign in (1, -1))
        expected = np.sum(upstream * (ahead - behind)) / 2e-5
        np.testing.assert_allclose(np.sum(gradient * direction), expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(8, 12), (30, 12)])
def test_formulas_of_the_papers(shape):
    """RiemGCP (Chen et al. 2025) and MaxExp (Koniusz and Zhang 2022)."""
    x = np.random.default_rng(6).normal(size=(1, *shape)).astype("float32")
    y = x[0].astype("float64")
    covariance = (y - y.mean(0)).T @ (y - y.mean(0)) / len(y)
    identity = np.eye(12)
    s = covariance + EPSILON * np.trace(covariance) * identity
    eigenvalues, u = np.linalg.eigh(s)

    def pooled(*options):
        return np.asarray(SpectralPooling(*options, centered=True)(x))[0].astype("float64")

    for theta in (0.25, 0.5, 1.0):
        power = u * eigenvalues**theta @ u.T
        ours = pooled("power", theta)
        for value, expected in [
            (ours, power),  # Pow-EMLR
            (ours / theta, power / theta),  # ScalePow-EMLR
            ((ours - identity) / theta, (power - identity) / theta),  # Pow-TMLR
        ]:
            assert relative_error(value[None], expected[None]) < 1e-5
    assert relative_error(pooled("log")[None], (u * np.log(eigenvalues) @ u.T)[None]) < 1e-5
    normalized = covariance / np.trace(covariance)
    for eta in (2, 9):
        expected = identity - np.linalg.matrix_power(identity - normalized, eta)
        assert relative_error(pooled("max_exp", eta)[None], expected[None]) < 1e-5


def test_the_gaussian_embedding_has_the_moment_and_the_mean():
    x = np.random.default_rng(7).normal(1, 1, size=(2, 9, 5)).astype("float32")
    value = np.asarray(SpectralPooling(augmented=True, epsilon=0.0)(x)).astype("float64")
    mean = x.astype("float64").mean(1)
    square = value @ value
    np.testing.assert_allclose(square[:, :5, :5], np.swapaxes(x, 1, 2) @ x / 9, atol=1e-5)
    np.testing.assert_allclose(square[:, 5, :5], mean, atol=1e-5)
    np.testing.assert_allclose(square[:, 5, 5], 1, atol=1e-5)


def test_the_root_is_that_of_second_order_pooling():
    x = relu_features(np.random.default_rng(8), 9, 14).astype("float32")
    upstream = np.ones((2, 14, 14), "float32")
    for one, other in zip(
        value_and_gradient(SpectralPooling(centered=True), x, upstream),
        value_and_gradient(SecondOrderPooling(True, "exact"), x, upstream),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("side", ["channels", "positions"])
@pytest.mark.parametrize("function, exponent", EACH)
def test_a_triangle_has_the_entries_and_the_gradient_of_the_matrix(function, exponent, side):
    rng = np.random.default_rng(9)
    x = rng.normal(size=(2, 6, 4)).astype("float32")
    matrix, triangle = (
        SpectralPooling(function, exponent, side=side, triangular=triangular, off_diagonal=2.0**0.5)
        for triangular in (False, True)
    )

    def norm(layer):
        return lambda x: keras.ops.sum(layer(x) ** 2, axis=tuple(range(1, layer(x).ndim)))

    one, other = (value_and_gradient(norm(layer), x, np.ones(2)) for layer in (matrix, triangle))
    np.testing.assert_allclose(one[0], other[0], rtol=1e-5)
    assert relative_error(other[1], one[1]) < 1e-4


# Maps that break other implementations


@pytest.mark.parametrize("side", ["channels", "positions"])
@pytest.mark.parametrize("function, exponent", EACH)
def test_a_zero_map_gives_zero_and_a_zero_gradient(function, exponent, side):
    layer = SpectralPooling(function, exponent, side=side)
    x = np.zeros((2, 4, 6), "float32")
    value, gradient = value_and_gradient(layer, x, np.ones((2, 6, 6), "float32"))
    np.testing.assert_array_equal(value, 0)
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("side", ["channels", "positions"])
@pytest.mark.parametrize("function, exponent", EACH)
def test_nan_stays_in_its_sample(function, exponent, side):
    rng = np.random.default_rng(10)
    x = rng.normal(size=(3, 7, 9)).astype("float32")
    upstream = rng.normal(size=(3, 9, 9)).astype("float32")
    layer = SpectralPooling(function, exponent, side=side)
    clean = value_and_gradient(layer, x, upstream)
    x[1, 2, 3] = np.nan
    broken = value_and_gradient(layer, x, upstream)
    for result, expected in zip(broken, clean, strict=True):
        assert relative_error(result[[0, 2]], expected[[0, 2]]) < 1e-5
    assert np.isnan(broken[0][1]).all() and np.isnan(broken[1][1]).any()


# Precisions, unknown sizes, compilation


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("function, exponent", EACH)
def test_half_precision_is_rounded_once(function, exponent, dtype):
    x = keras.ops.cast(np.random.default_rng(11).normal(size=(2, 5, 8)), dtype)
    layer = SpectralPooling(function, exponent, epsilon=1e-3, dtype=dtype)
    full = SpectralPooling(function, exponent, epsilon=1e-3)(keras.ops.cast(x, "float32"))
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(keras.ops.cast(layer(x), "float32")),
        keras.ops.convert_to_numpy(keras.ops.cast(keras.ops.cast(full, dtype), "float32")),
    )


@pytest.mark.skipif(not ON_TENSORFLOW, reason="only TensorFlow traces unknown sizes")
@pytest.mark.parametrize("function, exponent", EACH)
@pytest.mark.parametrize("positions", [5, 20])
def test_the_gradient_at_unknown_sizes(positions, function, exponent):
    x = np.random.default_rng(13).normal(size=(2, positions, 12)).astype("float32")
    assert_equal_at_unknown_sizes(SpectralPooling(function, exponent, epsilon=1e-3), x)


@pytest.mark.filterwarnings("ignore:.*eigendecomposition")
@pytest.mark.parametrize("function, exponent", EACH)
def test_compiled_it_gives_the_same(function, exponent):
    rng = np.random.default_rng(14)
    x = rng.normal(size=(2, 6, 10)).astype("float32")
    upstream = rng.normal(size=(2, 10, 10)).astype("float32")
    layer = SpectralPooling(function, exponent)
    value, gradient = value_and_gradient(compiled(layer), x, upstream)
    expected, expected_gradient = value_and_gradient(layer, x, upstream)
    assert relative_error(value, expected) < 5e-6
    assert relative_error(gradient, expected_gradient) < 1e-4


def test_second_derivatives_are_refused():
    if keras.backend.backend() == "torch":
        pytest.skip("PyTorch asks for them only with create_graph")
    x = np.random.default_rng(15).normal(size=(1, 3, 4))
    layer = SpectralPooling("log", dtype="float64")
    with pytest.raises(NotImplementedError, match="Only the root"):
        second_derivative(layer, x, np.ones((1, 4, 4)), x)
