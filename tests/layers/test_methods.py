"""The choice between eigendecomposition and products, and the bounds of `method`."""

import warnings

import keras
import numpy as np
import pytest
from layer_references import (
    HAS_FLOAT64,
    compiled,
    relative_error,
    relu_features,
    value_and_gradient,
    with_singular_values,
)
from spectral_references import (
    CASES,
    MAPS,
    assert_equal_at_unknown_sizes,
    assert_meets_the_contract,
    reference,
)

from layers import SecondOrderPooling, SpectralPooling, matrix_functions

ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
BY_PRODUCTS = [
    ("root", None),
    ("power", 0.25),
    ("power", 0.5),
    ("inverse", None),
    ("max_exp", 1),
    ("max_exp", 20),
]
RARE = (("power", 0.5), ("max_exp", 1))
EACH = [pytest.param(*case, marks=[pytest.mark.slow] * (case in RARE)) for case in BY_PRODUCTS]


@pytest.mark.parametrize(
    "shape, side",
    [((9, 20), "positions"), ((20, 9), "channels"), ((20, 9), "positions"), ((9, 20), "channels")],
)
@pytest.mark.parametrize("function, exponent", EACH)
def test_products_meet_the_contract(function, exponent, shape, side):
    rng = np.random.default_rng(0)
    layer = SpectralPooling(function, exponent, side=side, method="products")
    for make in MAPS.values():
        assert_meets_the_contract(layer, make(rng, *shape))


@pytest.mark.skipif(not HAS_FLOAT64, reason="the ends need float64")
@pytest.mark.parametrize("side", ["positions", "channels"])
@pytest.mark.parametrize(
    "function, exponent, epsilon",
    [
        *((f, e, 1e-6) for f, e in BY_PRODUCTS[:4] if e != 0.5),
        ("max_exp", 1000, 1e-5),
        *(pytest.param(f, e, 1.0, marks=pytest.mark.slow) for f, e in BY_PRODUCTS[:4]),
    ],
)
def test_products_meet_the_contract_at_the_ends_of_the_ranges(function, exponent, epsilon, side):
    rng = np.random.default_rng(1)
    layer = SpectralPooling(function, exponent, epsilon=epsilon, side=side, method="products")
    for make in MAPS.values():
        for shape in [(9, 20), (20, 9)]:
            assert_meets_the_contract(layer, make(rng, *shape))


@pytest.mark.skipif(not HAS_FLOAT64, reason="float32 is not accurate enough")
@pytest.mark.parametrize("epsilon, shape", [(1e-5, (3, 5)), (1e-5, (3, 12)), (1e-6, (3, 40))])
@pytest.mark.parametrize("method", ["auto", "products"])
def test_a_mode_near_epsilon_beside_a_large_one_and_few_null_directions(method, epsilon, shape):
    """Where T of the inverse is largest, relative to f(0) in the null space."""
    rng = np.random.default_rng(3)
    values = np.array([1.0, 2 * epsilon**0.5, epsilon**0.5])  # of singular values
    layer = SpectralPooling("inverse", epsilon=epsilon, method=method)
    for _ in range(20):
        x = with_singular_values(rng, *shape, values).astype("float32")
        assert_meets_the_contract(layer, x)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(196, 256), (160, 140)])
@pytest.mark.parametrize("function, exponent", BY_PRODUCTS)
def test_products_of_many_modes_meet_the_contract(function, exponent, shape):
    rng = np.random.default_rng(2)
    layer = SpectralPooling(function, exponent, method="products")
    for make in MAPS.values():
        assert_meets_the_contract(layer, make(rng, *shape))


@pytest.mark.parametrize("side", ["positions", "channels"])
@pytest.mark.parametrize("function, exponent", [("root", None), ("max_exp", 20)])
def test_products_in_float32_meet_looser_bounds(function, exponent, side):
    rng = np.random.default_rng(3)
    layer = SpectralPooling(function, exponent, side=side, method="products_float32")
    for make in MAPS.values():
        x = make(rng, 9, 20).astype("float32")
        upstream = rng.normal(size=(2, 20, 20)).astype("float32")
        value, gradient = value_and_gradient(layer, x, upstream)
        expected = reference(x, upstream, function, exponent)
        assert relative_error(value, expected[0]) <= 5e-5
        assert relative_error(gradient, expected[1]) <= 1e-3


@pytest.mark.parametrize("method", ["products", "products_float32"])
@pytest.mark.parametrize("side", ["positions", "channels"])
@pytest.mark.parametrize("function, exponent", [("root", None), ("max_exp", 20)])
def test_a_zero_map_gives_zero_and_nan_stays_in_its_sample(function, exponent, side, method):
    x = np.random.default_rng(4).normal(size=(3, 7, 9)).astype("float32")
    x[0], x[1, 2, 3] = 0, np.nan
    layer = SpectralPooling(function, exponent, side=side, method=method)
    upstream = np.ones((3, 9, 9), "float32")
    value, gradient = value_and_gradient(layer, x, upstream)
    clean = value_and_gradient(layer, x[2:], upstream[2:])
    np.testing.assert_array_equal(value[0], 0)
    np.testing.assert_array_equal(gradient[0], 0)
    assert np.isnan(value[1]).all() and np.isnan(gradient[1]).any()
    assert relative_error(value[2:], clean[0]) < 5e-5
    assert relative_error(gradient[2:], clean[1]) < 1e-3


@pytest.mark.parametrize("scale", [1e-15, 1e-6, 1e6, 1e15])
@pytest.mark.parametrize("function, exponent", [("root", None), ("power", 0.25), ("max_exp", 20)])
def test_products_at_any_scale(function, exponent, scale):
    x = relu_features(np.random.default_rng(5), 9, 20)
    layer = SpectralPooling(function, exponent, method="products")
    assert_meets_the_contract(layer, scale * x)


@pytest.mark.parametrize(
    "options, requirement",
    [
        ({"function": "log"}, "must be 'auto' or 'eigh'"),
        ({"function": "power", "exponent": 0.3}, "must be 'auto' or 'eigh'"),
        ({"epsilon": 0.0}, "epsilon above 0"),
    ],
)
def test_functions_without_products_refuse_them(options, requirement):
    with pytest.raises(ValueError, match=f"{requirement}.*Received: 'products'$"):
        SpectralPooling(**options, method="products")


@pytest.mark.parametrize(
    "options", [{"epsilon": 1e-6}, {"function": "inverse"}, {"function": "power", "exponent": 0.25}]
)
def test_functions_that_need_float64_refuse_float32(options):
    with pytest.raises(ValueError, match=r"at least 1e-5.*Received: 'products_float32'$"):
        SpectralPooling(**options, method="products_float32")


def calls_of_eigh(monkeypatch):
    """Count the decompositions that are traced or computed."""
    calls = []
    eigh = matrix_functions._eigh
    monkeypatch.setattr(matrix_functions, "_eigh", lambda *args: calls.append(1) or eigh(*args))
    return calls


COMPILED = [  # compiling takes seconds
    pytest.param(*case, marks=[pytest.mark.slow] * (case not in (("root", None), ("max_exp", 20))))
    for case in BY_PRODUCTS
]
X = np.random.default_rng(6).normal(size=(2, 4, 6)).astype("float32")


@pytest.mark.parametrize("function, exponent", CASES)
def test_an_eigendecomposition_is_chosen_on_a_cpu_for_all_but_the_inverse(
    function, exponent, monkeypatch
):
    calls = calls_of_eigh(monkeypatch)
    SpectralPooling(function, exponent)(X)
    assert bool(calls) == (function != "inverse")


@pytest.mark.skipif(not ON_TENSORFLOW, reason="other backends decompose as fast under XLA")
@pytest.mark.parametrize("function, exponent", COMPILED)
def test_products_are_chosen_under_xla(function, exponent, monkeypatch):
    calls = calls_of_eigh(monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiled(SpectralPooling(function, exponent))(X)
        compiled(SecondOrderPooling(root="exact"))(X)
    assert not calls


@pytest.mark.skipif(not ON_TENSORFLOW, reason="other backends compile every layer")
@pytest.mark.parametrize("function, exponent", [*COMPILED, ("log", None), ("power", 0.7)])
@pytest.mark.filterwarnings("ignore:Model doesn't support `jit_compile=True`")
def test_a_model_with_any_function_compiles_with_xla(function, exponent):
    layer = SpectralPooling(function, exponent, triangular=True)
    model = keras.Sequential([keras.Input((4, 6)), layer, keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=True)
    assert layer.supports_jit == ((function, exponent) in BY_PRODUCTS)
    history = model.fit(X, np.ones((2, 1)), verbose=0)
    assert np.isfinite(history.history["loss"]).all()


@pytest.mark.skipif(not ON_TENSORFLOW, reason="only TensorFlow traces unknown sizes")
@pytest.mark.parametrize("function, exponent", EACH)
@pytest.mark.parametrize("positions", [5, 20])
def test_products_at_unknown_sizes(positions, function, exponent):
    x = relu_features(np.random.default_rng(13), positions, 12).astype("float32")
    layer = SpectralPooling(function, exponent, epsilon=1e-3, method="products")
    assert_equal_at_unknown_sizes(layer, x)
