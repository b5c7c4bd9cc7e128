"""A folded triangle has the entries of a symmetric matrix, from fewer products."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops
from layer_references import value_and_gradient

from layers import SecondOrderPooling, SignedSquareRoot
from layers.folded_triangle import FoldedTriangle, order, size
from layers.full_matrix import FullMatrix

ROOT2 = 2**0.5
FOLDED = FoldedTriangle(ROOT2)
FULL = FullMatrix()


def random(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def symmetric(seed, channels):
    a = random(seed, 2, channels, channels)
    return a + np.swapaxes(a, 1, 2)


def test_the_order_never_changes():
    """The weights of saved classifiers depend on it. Never change this test."""
    a = np.array([[[0, 1, 2, 3], [1, 4, 5, 6], [2, 5, 7, 8], [3, 6, 8, 9]]], "float32")
    r = ROOT2
    expected = [[2 * r, 3 * r, 5 * r, 6 * r, 0, 1 * r, 8 * r, 4, 7, 9]]
    np.testing.assert_allclose(FOLDED.fold(a), expected, rtol=1e-6)


@given(channels=st.integers(1, 12))
def test_unfolding_reverses_folding(channels):
    a = symmetric(channels, channels)
    folded = FOLDED.fold(a)
    assert folded.shape == (2, size(channels))
    np.testing.assert_allclose(FOLDED.unfold(folded, channels), a, rtol=1e-5, atol=1e-6)


def test_the_order_as_rows_and_columns():
    a = symmetric(0, 6)
    rows, columns = order(6)
    weights = np.where(rows == columns, 1, ROOT2)
    np.testing.assert_allclose(FOLDED.fold(a), a[:, rows, columns] * weights, rtol=1e-6)


@given(channels=st.integers(1, 12))
def test_folding_keeps_inner_products(channels):
    one, other = symmetric(1, channels), symmetric(2, channels)
    folded = np.asarray(FOLDED.fold(one)) * np.asarray(FOLDED.fold(other))
    np.testing.assert_allclose(folded.sum(1), (one * other).sum((1, 2)), rtol=1e-4, atol=1e-4)


@given(
    positions=st.integers(1, 6),
    channels=st.integers(1, 9),
    weight=st.sampled_from([1.0, ROOT2, 2.0]),
)
def test_the_product_is_the_folded_full_product(positions, channels, weight):
    shapes = (2, positions, channels), (2, positions), (2, 1)
    a, row_weights, ridge = (ops.convert_to_tensor(random(3, *shape)) for shape in shapes)
    folded = FoldedTriangle(weight)
    expected = folded.fold(FULL.product(a, a, row_weights, ridge))
    product = folded.product(a, a, row_weights, ridge)
    np.testing.assert_allclose(product, expected, rtol=1e-4, atol=1e-5)


@given(channels=st.integers(1, 9), weight=st.sampled_from([1.0, ROOT2, 2.0]))
def test_the_gradient_product_is_that_of_the_full_matrix(channels, weight):
    """It is P times the symmetrised gradient of <fold(R), g> with respect to R."""
    folded = FoldedTriangle(weight)
    p, g = random(6, 2, 4, channels), random(7, 2, size(channels))
    _, full_gradient = value_and_gradient(folded.fold, symmetric(8, channels), g)
    p, g, full_gradient = (ops.convert_to_tensor(array) for array in (p, g, full_gradient))
    expected, expected_trace = FULL.gradient_product(p, full_gradient)
    product, trace = (weight * result for result in folded.gradient_product(p, g))
    np.testing.assert_allclose(product, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(trace, expected_trace, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(9, 20), (9, 21), (30, 12), (30, 13)])
@pytest.mark.parametrize("root", [None, "exact", "newton_schulz"])
@pytest.mark.parametrize("centered", [False, True])
def test_triangular_pooling_is_pooling_folded(shape, root, centered):
    x, upstream = random(9, 2, *shape), random(10, 2, size(shape[1]))
    full = SecondOrderPooling(centered, root)
    triangle = SecondOrderPooling(centered, root, triangular=True)
    value, gradient = value_and_gradient(triangle, x, upstream)
    expected, expected_gradient = value_and_gradient(lambda x: FOLDED.fold(full(x)), x, upstream)
    assert value.shape == triangle.compute_output_shape(x.shape)
    np.testing.assert_allclose(value, expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-3, atol=1e-4)


def test_the_signed_root_of_a_triangle_is_that_of_its_matrix():
    x = random(11, 2, 5, 8)
    full = SecondOrderPooling(root="exact")(x)
    signed = ops.reshape(SignedSquareRoot(normalize=True)(ops.reshape(full, (2, -1))), (2, 8, 8))
    triangle = SecondOrderPooling(root="exact", triangular=True, off_diagonal=2.0)(x)
    np.testing.assert_allclose(
        SignedSquareRoot(normalize=True)(triangle), FOLDED.fold(signed), rtol=1e-3, atol=1e-5
    )
