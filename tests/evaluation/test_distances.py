"""Equal distances, extreme sizes and vectors that are not finite, against exact arithmetic."""

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.distances import distances_to_others
from evaluation.retrieval import nearest, ranks_of_own_class, recall_at_1, retrieval_metrics, unit

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 6, 90)


def exact_ranks(vectors, labels) -> list[list[int]]:
    """The ranks of the images of a query's class, from distances in integers or fractions."""
    exact = [[Fraction(float(value)) for value in vector] for vector in vectors]
    ranks = []
    for q, query in enumerate(exact):
        far = [sum((a - b) ** 2 for a, b in zip(query, each, strict=True)) for each in exact]
        own = sorted(far[i] for i in range(len(far)) if i != q and labels[i] == labels[q])
        others = [far[i] for i in range(len(far)) if labels[i] != labels[q]]
        if own:
            ranks.append([sum(o <= d for o in others) + i for i, d in enumerate(own, 1)])
    return ranks


def ranks(vectors, labels) -> list[list[int]]:
    return [r.tolist() for r in ranks_of_own_class(vectors, labels)]


CODES = {
    "signs": np.sign(RNG.normal(size=(90, 12))),
    "normalised signs": unit(np.sign(RNG.normal(size=(90, 12))).astype(np.float32)),
    "bits": RNG.integers(0, 2, (90, 12)),
    "normalised bits": unit(RNG.integers(0, 2, (90, 6)).astype(np.float32)),
    "counts": RNG.integers(0, 4, (90, 3)),
    "bytes": RNG.integers(0, 256, (90, 40)),
    "quarters": RNG.integers(-4, 5, (90, 3)) / 4,
    "one-hot": np.eye(7)[RNG.integers(0, 7, 90)],
    "signs far from 0": np.sign(RNG.normal(size=(90, 12))) + 1000,
    "duplicates": RNG.normal(size=(30, 12)).astype(np.float32)[RNG.integers(0, 30, 90)],
}
TYPES = (np.float32, np.float16, np.int8, bool)
RARE = (np.float64, ml_dtypes.bfloat16, np.int64, np.uint8)


@pytest.mark.parametrize(
    "dtype",
    [*TYPES, *(pytest.param(dtype, marks=pytest.mark.slow) for dtype in RARE)],
    ids=lambda dtype: np.dtype(dtype).name,
)
@pytest.mark.parametrize("kind", CODES)
def test_equal_distances_of_codes_are_ties(kind, dtype):
    codes = CODES[kind].astype(dtype)
    assert ranks(codes, LABELS) == exact_ranks(codes.astype(np.float64), LABELS)


@settings(max_examples=30)
@given(
    dimensions=st.integers(1, 40),
    largest=st.integers(1, 1000),
    shift=st.sampled_from([0, 0.5, 100]),
    exponent=st.sampled_from([-70, -20, 0, 3, 60]),
    normalised=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_any_integer_codes_in_float32(dimensions, largest, shift, exponent, normalised, seed):
    rng = np.random.default_rng(seed)
    codes = rng.integers(-largest, largest + 1, (30, dimensions))
    vectors = (np.ldexp(codes + shift, exponent)).astype(np.float32)
    if normalised:
        vectors = unit(np.sign(vectors - np.float32(np.ldexp(shift, exponent))))
    labels = rng.integers(0, 3, 30)
    assert ranks(vectors, labels) == exact_ranks(vectors, labels)


@pytest.mark.parametrize("size", [1e-30, 1e-20, 1e20, 1e30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_very_large_and_very_small_vectors(dtype, size):
    vectors = (RNG.normal(size=(90, 8)) * size).astype(dtype)
    assert ranks(vectors, LABELS) == exact_ranks(vectors, LABELS)
    metrics = retrieval_metrics(vectors, LABELS, 0)
    usual = retrieval_metrics((vectors / size).astype(dtype), LABELS, 0)
    assert metrics == pytest.approx(usual)


@pytest.mark.parametrize("size", [300, 3e4])
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_vectors_of_any_size_rank_exactly(dtype, size):
    vectors = unit(RNG.normal(size=(90, 8))) * size
    vectors = vectors.astype(dtype)
    assert ranks(vectors, LABELS) == exact_ranks(vectors.astype(np.float64), LABELS)
    metrics = retrieval_metrics(vectors, LABELS, 0)
    assert metrics == pytest.approx(retrieval_metrics(vectors.astype(np.float64), LABELS, 0))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_vector_that_is_not_finite_fails_alone_and_ranks_last_for_the_others(dtype, value):
    centers = 5 * np.eye(6)[LABELS]
    vectors = (centers + 0.1 * RNG.normal(size=(90, 6))).astype(dtype)
    vectors[7, 2] = value
    metrics = retrieval_metrics(vectors, LABELS, 0)
    assert metrics["recall_at_1"] == metrics["recall_at_8"] == pytest.approx(89 / 90)
    assert metrics["nmi"] > 0.9
    usual = np.where(np.isfinite(vectors), vectors, 1e4)  # farther from all than any other
    both = zip(ranks(vectors, LABELS), ranks(usual, LABELS), strict=True)
    for query, (one, other) in enumerate(both):
        assert one == other if query != 7 else min(one) > 90
    neighbours = nearest(vectors, 89)
    assert (neighbours != np.arange(90)[:, None]).all()
    assert (np.delete(neighbours, 7, axis=0)[:, -1] == 7).all()


def test_vectors_none_of_which_is_finite_retrieve_nothing():
    metrics = retrieval_metrics(np.full((8, 3), np.nan, np.float32), np.arange(8) % 2, 0)
    assert {metrics[name] for name in metrics if name != "pictures"} == {0.0}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_vector_far_from_all_others_does_not_cost_their_precision(dtype):
    vectors = RNG.normal(size=(90, 8)).astype(dtype)
    for size in (1e6, 1e20, 1e30):
        vectors[7] = size
        both = ranks(vectors, LABELS), exact_ranks(vectors, LABELS)
        for query, (one, other) in enumerate(zip(*both, strict=True)):
            assert one == other or query == 7  # from which all others are equally far


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_few_vectors_are_no_special_case(count):
    vectors, labels = np.arange(3.0 * count).reshape(count, 3), np.zeros(count)
    for dtype in (np.float32, np.float64):
        assert ranks(vectors.astype(dtype), labels) == ([[1], [1]] if count == 2 else [])


@pytest.mark.parametrize("shift", [100, 1e4])
def test_a_large_mean_does_not_cost_precision(shift):
    vectors = (RNG.normal(size=(90, 8)) + shift).astype(np.float32)
    assert ranks(vectors, LABELS) == exact_ranks(vectors, LABELS)


def test_exact_copies_of_images_are_ties():
    """Each image has a copy in another class. The copy is nearest, and a tie is a failure."""
    vectors = RNG.normal(size=(300, 64)).astype(np.float32)
    both, labels = np.concatenate([vectors, vectors]), np.repeat([0, 1], 300)
    assert recall_at_1(both, labels) == 0
    for query, distances in enumerate(np.concatenate([d for _, d in distances_to_others(both)])):
        rest = np.delete(np.arange(300), query % 300)
        np.testing.assert_array_equal(distances[rest], distances[rest + 300])


def test_usual_float32_vectors_rank_as_a_plain_float32_product_ranks_them():
    """Published metrics come from this product, and must not change in their last digits."""
    for vectors in (RNG.normal(size=(700, 64)), unit(RNG.normal(size=(700, 512)))):
        vectors = vectors.astype(np.float32)
        centered = vectors - vectors.mean(axis=0)
        squares = np.einsum("nd,nd->n", centered, centered)
        blocks = []
        for start in range(0, 700, 512):
            queries = np.arange(start, min(start + 512, 700))
            blocks.append(squares - 2 * centered[queries] @ centered.T)
            blocks[-1][np.arange(len(queries)), queries] = np.inf
        ours = np.concatenate([distances for _, distances in distances_to_others(vectors)])
        np.testing.assert_array_equal(ours, np.concatenate(blocks))


@pytest.mark.parametrize("labels", [np.zeros(89), np.zeros(1), np.zeros((90, 1)), np.zeros(0)])
def test_another_number_of_labels_is_an_error(labels):
    vectors = RNG.normal(size=(90, 8))
    for metric in (
        lambda: retrieval_metrics(vectors, labels, 0),
        lambda: recall_at_1(vectors, labels),
    ):
        with pytest.raises(ValueError, match=r"the shape \(n,\). Received: \(90, 8\)"):
            metric()


@pytest.mark.parametrize("label", [0.5, np.nan])
def test_a_label_that_is_not_an_integer_is_an_error(label):
    with pytest.raises(ValueError, match="`labels` must be integers"):
        recall_at_1(np.eye(3), np.array([0, 0, label]))
