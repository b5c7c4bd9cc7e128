"""Recall@K, MAP@R and NMI, against loops that follow the definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics.pairwise import cosine_similarity

from errors import UserError
from evaluation import distances, retrieval
from evaluation.retrieval import most_similar, nearest, recall_at_1, retrieval_metrics, unit


def neighbours(vectors: np.ndarray, labels: np.ndarray, query: int) -> list[bool]:
    """Whether the neighbours are of the query's class, nearest first; in ties, those are last."""
    others = [i for i in range(len(labels)) if i != query]
    far = {i: float(((vectors[i] - vectors[query]) ** 2).sum()) for i in others}
    others.sort(key=lambda i: (far[i], labels[i] == labels[query]))
    return [bool(labels[i] == labels[query]) for i in others]


def recall(vectors, labels, k: int) -> float:
    relevant = [neighbours(vectors, labels, q) for q in range(len(labels))]
    return float(np.mean([any(hits[:k]) for hits in relevant if any(hits)]))


def map_at_r(vectors, labels) -> float:
    values = []
    for query in range(len(labels)):
        hits = neighbours(vectors, labels, query)
        if r := sum(hits):
            precisions = [sum(hits[: i + 1]) / (i + 1) for i in range(r) if hits[i]]
            values.append(sum(precisions) / r)
    return float(np.mean(values))


def clusters(n: int = 60, classes: int = 4, size: int = 3, spread: float = 1.0):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, n)
    return rng.normal(size=(classes, size))[labels] + spread * rng.normal(size=(n, size)), labels


@st.composite
def small_integers(draw):
    """Vectors with many exact ties and labels, at least two of which are equal."""
    n = draw(st.integers(2, 12))
    vectors = draw(arrays.arrays(np.float64, (n, 2), elements=st.integers(-2, 2)))
    labels = draw(arrays.arrays(np.int64, n, elements=st.integers(0, 2)))
    labels[1] = labels[0]
    return vectors, labels


@settings(max_examples=25)
@given(small_integers())
def test_ties_count_against_the_class_of_the_query(case):
    vectors, labels = case
    metrics = retrieval_metrics(vectors, labels, 0)
    for k in retrieval.RECALLS:
        assert metrics[f"recall_at_{k}"] == pytest.approx(recall(vectors, labels, k))
    assert metrics["map_at_r"] == pytest.approx(map_at_r(vectors, labels))
    assert recall_at_1(vectors, labels) == metrics["recall_at_1"]


@pytest.mark.parametrize("block", [7, 60, 512])
@pytest.mark.parametrize("size", [3, 100])
def test_metrics_follow_their_definitions_for_every_block_size(block, size, monkeypatch):
    monkeypatch.setattr(distances, "BLOCK", block)
    vectors, labels = clusters(size=size, spread=3.0)
    metrics = retrieval_metrics(vectors, labels, 0)
    for k in retrieval.RECALLS:
        assert metrics[f"recall_at_{k}"] == pytest.approx(recall(vectors, labels, k))
    assert metrics["map_at_r"] == pytest.approx(map_at_r(vectors, labels))
    assert metrics["pictures"] == 60


def test_float32_with_a_large_mean_ranks_like_float64():
    vectors, labels = clusters(spread=2.0)
    metrics = retrieval_metrics((vectors + 100).astype(np.float32), labels, 0)
    assert metrics["recall_at_1"] == pytest.approx(recall(vectors, labels, 1))


def test_a_worked_example():
    """Class a at 0 and 1, b at 3 and 10. For b at 10, the other b is nearest; for b at 3, last."""
    metrics = retrieval_metrics(np.array([[0.0], [1.0], [3.0], [10.0]]), np.array([0, 0, 1, 1]), 0)
    assert (metrics["recall_at_1"], metrics["recall_at_2"], metrics["recall_at_4"]) == (
        0.75,
        0.75,
        1.0,
    )
    assert metrics["map_at_r"] == 0.75


@pytest.mark.parametrize("size", [2, 200])
def test_separate_clusters_have_an_nmi_of_one_and_noise_has_almost_none(size):
    vectors, labels = clusters(spread=0.01, size=size)
    assert retrieval_metrics(vectors, labels, 0)["nmi"] == pytest.approx(1.0)
    noise = np.random.default_rng(1).normal(size=(600, size))
    assert retrieval_metrics(noise, np.arange(600) % 3, 0)["nmi"] < 0.05


def test_nmi_does_not_depend_on_constant_dimensions():
    vectors, labels = clusters(spread=0.7)
    wide = np.concatenate([vectors, np.zeros((60, 200))], axis=1)
    assert retrieval_metrics(wide, labels, 0)["nmi"] == pytest.approx(
        retrieval_metrics(vectors, labels, 0)["nmi"]
    )


def test_a_collapsed_embedding_retrieves_nothing():
    metrics = retrieval_metrics(np.ones((8, 3)), np.arange(8) % 2, 0)
    assert metrics["recall_at_1"] == metrics["map_at_r"] == 0.0


def test_nan_vectors_retrieve_nothing():
    assert recall_at_1(np.full((6, 2), np.nan), np.arange(6) % 2) == 0.0


def test_an_image_alone_in_its_class_is_no_query_but_a_candidate():
    vectors, labels = np.array([[0.0], [1.0], [1.5]]), np.array([0, 0, 1])
    assert retrieval_metrics(vectors, labels, 0)["recall_at_1"] == 0.5
    with pytest.raises(UserError, match="no class has two images"):
        retrieval_metrics(vectors, np.arange(3), 0)


def test_nearest_neighbours_exclude_the_image_itself():
    np.testing.assert_array_equal(
        nearest(np.array([[0.0], [1.0], [3.0]]), 2), [[1, 2], [0, 2], [1, 0]]
    )


def test_unit_keeps_zero_vectors():
    np.testing.assert_allclose(unit(np.array([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0, 0]])


@pytest.mark.parametrize("batch", [1, 7, 50, 80])
@pytest.mark.parametrize("count", [1, 5, 60])
def test_the_most_similar_vectors_of_all_batches(batch, count):
    rng = np.random.default_rng(0)
    queries, vectors = rng.normal(size=(9, 6)), rng.normal(size=(50, 6)).astype(np.float32)
    vectors[3] = 0  # it has no direction: similarity 0
    numbers = np.arange(100, 150)
    parts = [(numbers[i : i + batch], vectors[i : i + batch]) for i in range(0, 50, batch)]
    chosen, similarities = most_similar(unit(queries).astype(np.float32), iter(parts), count)
    expected = cosine_similarity(queries, vectors)
    order = np.argsort(-expected, axis=1)[:, :count]
    np.testing.assert_array_equal(chosen, numbers[order])
    np.testing.assert_allclose(similarities, np.take_along_axis(expected, order, axis=1), atol=1e-6)


def test_equally_similar_vectors_keep_their_order():
    vectors = np.ones((6, 3), np.float32)
    parts = [(np.arange(i, i + 2), vectors[i : i + 2]) for i in (0, 2, 4)]
    chosen, similarities = most_similar(unit(vectors[:1]), parts, 4)
    assert chosen.tolist() == [[0, 1, 2, 3]] and similarities.max() <= 1
