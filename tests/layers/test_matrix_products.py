"""Functions of matrices by products, compared with those of the eigenvalues in float64."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax_cases import examples
from layer_references import HAS_FLOAT64, relative_error

from layers.matrix_products import by_products, coupled_roots, lyapunov, quintics
from layers.spectral_functions import Inverse, MaxExp, Power, Root

FUNCTIONS = [Root(1e-5), Root(1e-3), Power(0.5, 1e-4), Power(0.25, 1e-5), Inverse(1e-5), MaxExp(20)]
PUBLISHED = [  # the first steps for e = 1e-5
    (8.376717014, -24.7384416, 18.33523587),
    (4.032616899, -3.003828111, 0.5686483788),
    (3.474737031, -2.604065559, 0.5231547699),
    (2.454836376, -1.80412176, 0.4335264473),
    (1.911669577, -1.290167321, 0.3790388656),
    (15 / 8, -10 / 8, 3 / 8),
]
needs_float64 = pytest.mark.skipif(not HAS_FLOAT64, reason="JAX computes in float32")


def moved(m, steps):
    """Return where the steps move the roots of eigenvalues."""
    for a, b, c in steps:
        m = a * m + b * m**3 + c * m**5
    return m


def smallest(epsilon):
    return (epsilon / (1 + epsilon)) ** 0.5


def test_the_coefficients_are_those_of_polar_express():
    np.testing.assert_allclose(quintics(smallest(1e-5)), PUBLISHED, rtol=2e-6)


@given(st.floats(-8, 0))
def test_the_steps_move_all_roots_to_one(exponent):
    low = smallest(10.0**exponent)
    m = np.geomspace(low, 1, 1000)
    assert np.abs(moved(m, quintics(low)) - 1).max() <= 2e-7
    assert np.abs(moved(m, quintics(low, tolerance=1e-12)) - 1).max() <= 1e-12


def test_coefficients_of_another_epsilon_do_not_suffice():
    assert abs(moved(smallest(1e-6), quintics(smallest(1e-5))) - 1) > 0.01


def spectrum_and_modes(rng, size, decay):
    """Return eigenvalues of sum 1, and orthogonal modes."""
    eigenvalues = np.geomspace(1, 10.0**-decay, size) * rng.uniform(0.5, 1, size)
    return eigenvalues / eigenvalues.sum(), np.linalg.qr(rng.normal(size=(size, size)))[0]


def close(value, expected):
    return np.linalg.norm(value - expected) <= 2e-6 * np.linalg.norm(expected) + 1e-14


@needs_float64
@examples(20)
@given(st.sampled_from(FUNCTIONS), st.integers(1, 16), st.floats(0, 12), st.integers(0, 2**31))
def test_functions_and_derivatives_are_those_of_the_eigenvalues(function, size, decay, seed):
    rng = np.random.default_rng(seed)
    eigenvalues, u = spectrum_and_modes(rng, size, decay)
    h = rng.normal(size=(size, size))
    h = h + h.T
    batch = keras.ops.convert_to_tensor(eigenvalues[None])

    def with_modes(diagonal):
        return (u * np.asarray(diagonal) @ u.T)[None]

    def derivative(differences):
        return (u @ (u.T @ h @ u * np.asarray(differences)) @ u.T)[None]

    g = np.asarray(function.slope(batch))[0]
    slope, value = with_modes(g), with_modes(function.at_zero + eigenvalues * g)
    products = by_products(function)
    k, direction = (
        keras.ops.convert_to_tensor(each) for each in (with_modes(eigenvalues), h[None])
    )
    computed_slope, kept_slope = products.slope(k)
    computed_value, kept_value = products.value(k)
    upstream = slope @ h @ slope if products.from_t else h[None]
    slope_derivative = products.slope_derivative(keras.ops.convert_to_tensor(upstream), *kept_slope)
    value_derivative = products.value_derivative(direction, *kept_value)
    assert close(computed_slope, slope)
    assert close(computed_value, value)
    # In the gradient it is multiplied by Y, and for power it is accurate only with that factor.
    expected = derivative(np.asarray(function.slope_difference(batch))[0])
    assert close(np.asarray(slope_derivative) @ np.asarray(k), expected @ np.asarray(k))
    expected = derivative(np.asarray(function.difference(batch))[0])
    assert close(value_derivative, expected)


@needs_float64
def test_coupled_roots_and_the_lyapunov_equation():
    rng = np.random.default_rng(0)
    steps = quintics(smallest(1e-6))
    eigenvalues, u = spectrum_and_modes(rng, 12, 6)
    matrix = (u * (eigenvalues + 1e-6) / (1 + 1e-6) @ u.T)[None]
    y, z = (np.asarray(each) for each in coupled_roots(keras.ops.convert_to_tensor(matrix), steps))
    assert relative_error(y @ y, matrix) < 1e-6
    assert relative_error(y @ z, np.eye(12)[None]) < 1e-6
    h = rng.normal(size=(1, 12, 12))
    h = h + np.swapaxes(h, 1, 2)
    x = np.asarray(lyapunov(*(keras.ops.convert_to_tensor(each) for each in (y, h)), steps))
    assert relative_error(y @ x + x @ y, h) < 1e-6


@pytest.mark.parametrize("function", [Root(0.0), Power(0.3, 1e-5), Power(0.0, 1e-5)])
def test_other_functions_need_an_eigendecomposition(function):
    assert by_products(function) is None
