"""Coordinates in the span of the training samples: an isometry, also for degenerate samples."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from errors import UserError
from training import coordinates
from training.coordinates import Coordinates

TOLERANCE = {np.float64: 1e-9, np.float32: 1e-5}  # relative to the norms of the samples
DTYPES = list(TOLERANCE)


def inner_products(samples: np.ndarray, dtype: type = np.float64) -> np.ndarray:
    return (samples @ samples.T).astype(dtype)


@dataclasses.dataclass
class Samples:
    """Samples in float64, some of which are training samples."""

    all: np.ndarray
    train: np.ndarray
    seed: int

    @property
    def lengths(self) -> np.ndarray:
        """The norm of each sample; for a zero sample that of the longest training sample, or 1."""
        norms = np.linalg.norm(self.all, axis=1)
        return np.where(norms > 0, norms, norms[self.train].max() or 1.0)

    def kernel(self, values: np.ndarray) -> np.ndarray:
        """A kernel of the coordinates that gradient descent can reach."""
        weights = np.random.default_rng(self.seed).normal(size=(len(self.train), 3))
        return values[self.train].T.astype(float) @ (weights / self.lengths[self.train, None])


@st.composite
def made_samples(draw) -> Samples:
    """Well conditioned samples, but for duplicates and zero samples, which are of any length."""
    count = draw(st.integers(1, 24))
    train = np.flatnonzero(draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    train = train if len(train) else np.array([count - 1])
    size = draw(st.integers(4 * count, 200))
    seed = draw(st.integers(0, 2**32))
    rng = np.random.default_rng(seed)
    samples = rng.normal(draw(st.sampled_from([0, 1])), 1, (count, size))
    samples *= 10.0 ** rng.uniform(-draw(st.integers(0, 3)), 0, (count, 1))
    for _ in range(draw(st.integers(0, count))):
        samples[rng.integers(count)] = samples[rng.integers(count)]
    samples[rng.random(count) < draw(st.sampled_from([0, 0.3, 1]))] = 0
    return Samples(samples * 10.0 ** draw(st.integers(-15, 15)), train, seed)


@pytest.mark.parametrize("dtype", DTYPES)
@given(made_samples())
def test_inner_products_with_training_samples_are_kept(dtype, samples):
    values = Coordinates(inner_products(samples.all, dtype), samples.train).values
    assert values.dtype == dtype and values.shape == (len(samples.all), len(samples.train))
    values = values.astype(np.float64)
    products = values @ values[samples.train].T
    expected = samples.all @ samples.all[samples.train].T
    scale = np.outer(samples.lengths, samples.lengths[samples.train])
    np.testing.assert_allclose(products / scale, expected / scale, rtol=0, atol=TOLERANCE[dtype])


@given(made_samples())
def test_other_samples_are_projected_on_the_span_of_the_training_samples(samples):
    values = Coordinates(inner_products(samples.all), samples.train).values
    train = samples.all[samples.train] / samples.lengths[samples.train, None]
    axes, strengths, _ = np.linalg.svd(train.T, full_matrices=False)
    projected = samples.all @ axes[:, strengths > 1e-6]
    np.testing.assert_allclose(
        np.linalg.norm(values, axis=1) / samples.lengths,
        np.linalg.norm(projected, axis=1) / samples.lengths,
        rtol=0,
        atol=1e-6,  # duplicates and zero samples have coordinates of the ridge's square root
    )


@pytest.mark.parametrize("dtype", DTYPES)
@given(made_samples())
def test_the_kernel_of_the_descriptors_gives_the_same_scores(dtype, samples):
    made = Coordinates(inner_products(samples.all, dtype), samples.train)
    kernel = samples.kernel(made.values)
    descriptors_kernel = samples.all[samples.train].T @ made.dual(kernel)
    scores = made.values.astype(np.float64) @ kernel
    lengths = samples.lengths[:, None]
    np.testing.assert_allclose(
        samples.all @ descriptors_kernel / lengths, scores / lengths, rtol=0, atol=TOLERANCE[dtype]
    )


def test_what_a_training_sample_contributes_is_what_gradient_descent_added():
    rng = np.random.default_rng(0)
    samples, contributions = rng.normal(size=(20, 90)), rng.normal(size=(15, 4))
    made = Coordinates(inner_products(samples), np.arange(15))
    kernel = made.values[:15].T @ contributions
    np.testing.assert_allclose(made.dual(kernel), contributions, rtol=1e-9, atol=1e-9)


def test_any_choice_of_training_samples(monkeypatch):
    """The others are computed block by block, between and behind the training samples."""
    samples = np.random.default_rng(0).normal(size=(30, 90))
    train = np.array([1, 4, 5, 22])
    whole = Coordinates(inner_products(samples), train).values
    monkeypatch.setattr(coordinates, "BLOCK", 7)
    in_blocks = Coordinates(inner_products(samples), train).values
    np.testing.assert_allclose(in_blocks, whole, rtol=1e-12)
    np.testing.assert_array_equal(np.triu(whole[train], 1), 0)  # the Cholesky factor


@pytest.mark.parametrize("dtype", DTYPES)
def test_duplicates_differ_by_the_rounding_of_their_inner_products(dtype):
    sample = np.random.default_rng(0).normal(size=50)
    made = Coordinates(inner_products(np.tile(sample, (8, 1)), dtype), np.arange(6))
    differences = np.linalg.norm(made.values - made.values[0], axis=1)
    assert differences.max() / np.linalg.norm(sample) < 4 * np.finfo(dtype).eps ** 0.5


@pytest.mark.parametrize("dtype", DTYPES)
def test_short_samples_are_as_exact_as_long_ones(dtype):
    samples = np.random.default_rng(0).normal(size=(12, 90))
    lengths = np.logspace(-6, 6, 12)
    long = Coordinates(inner_products(samples, dtype), np.arange(12)).values
    scaled = Coordinates(inner_products(samples * lengths[:, None], dtype), np.arange(12)).values
    np.testing.assert_allclose(scaled / lengths[:, None], long, rtol=0, atol=TOLERANCE[dtype] * 10)


# Matrices without a Cholesky factor


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(1, 1), (0, 2)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_training_samples_that_are_not_finite_are_one_line(value, place, dtype):
    gram = inner_products(np.random.default_rng(0).normal(size=(5, 9)), dtype)
    gram[place] = gram[place[::-1]] = value
    with pytest.raises(UserError, match="descriptors of training images are not finite") as caught:
        Coordinates(gram, np.arange(3))
    assert "trainer.precision=float32" in str(caught.value) and "\n" not in str(caught.value)


def test_another_sample_that_is_not_finite_harms_only_itself():
    gram = inner_products(np.random.default_rng(0).normal(size=(6, 9)))
    whole = Coordinates(gram, np.arange(3)).values
    gram[4] = gram[:, 4] = np.nan
    values = Coordinates(gram, np.arange(3)).values
    assert np.isnan(values[4]).all()
    np.testing.assert_array_equal(np.delete(values, 4, axis=0), np.delete(whole, 4, axis=0))


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "matrix", [[[1, 2], [2, 1]], [[0, 1], [1, 0]], [[-1, 0], [0, -1]], [[0, 0], [0, 0]]]
)
def test_a_matrix_that_is_indefinite_is_factorised_too(matrix, dtype, scale):
    values = Coordinates(np.array(matrix, dtype) * dtype(scale), np.arange(2)).values
    assert np.isfinite(values).all()


@given(st.integers(2, 12), st.integers(0, 2**32))
def test_any_symmetric_matrix_is_factorised(count, seed):
    matrix = np.random.default_rng(seed).normal(size=(count, count))
    assert np.isfinite(Coordinates(matrix + matrix.T, np.arange(count - 1)).values).all()
