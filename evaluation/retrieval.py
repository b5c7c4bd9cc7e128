"""Retrieval metrics: Recall@K, MAP@R and NMI.

Each image is a query for its nearest neighbours among all other images, by Euclidean distance. For
vectors of unit norm, the ranking equals that by cosine similarity. The search is exact. Images of
other classes come first in a tie, so vectors that are all equal retrieve nothing. An image whose
vector is not finite retrieves nothing, and ranks last for the others.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score

from errors import UserError
from evaluation.distances import LAST, centered, distances_to_others

RECALLS = (1, 2, 4, 8)
NEVER = np.iinfo(np.int64).max  # rank of an image that a query does not retrieve


def unit(vectors: np.ndarray) -> np.ndarray:
    """Normalises vectors (n, D) to unit norm; zero vectors stay zero."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1)


def retrieval_metrics(vectors: np.ndarray, labels: np.ndarray, seed: int) -> dict[str, float]:
    """Returns Recall@1, 2, 4 and 8, MAP@R, NMI and the number of images.

    Recall@K is the share of queries with an image of their class among the K nearest. MAP@R
    (Musgrave et al. 2020) is the mean over all queries of the average precision at R, where R is
    the number of other images in the query's class: the sum of the precisions at the relevant ranks
    up to R, divided by R. NMI is the mutual information of the classes and as many k-means
    clusters, divided by the mean of their entropies. An image that is alone in its class is no
    query, but it is among the candidates of the other queries. Images whose vectors are not finite
    are a cluster of their own.

    Args:
        vectors: Embeddings of any real type, (n, D).
        labels: Labels, (n,).
        seed: Seed of k-means.

    Raises:
        ValueError: the shapes are others, or a label is a fraction or NaN.
        UserError: no class has two images.
    """
    ranks = list(ranks_of_own_class(vectors, labels))
    if not ranks:
        raise UserError("no class has two images, so there is nothing to retrieve")
    return {
        **{f"recall_at_{k}": float(np.mean([r[0] <= k for r in ranks])) for k in RECALLS},
        "map_at_r": float(np.mean([_average_precision(r) for r in ranks])),
        "nmi": _nmi(vectors, labels, seed),
        "pictures": len(labels),
    }


def recall_at_1(vectors: np.ndarray, labels: np.ndarray) -> float:
    """Returns the share of queries whose nearest neighbour is of their class."""
    return float(np.mean([ranks[0] == 1 for ranks in ranks_of_own_class(vectors, labels)]))


def ranks_of_own_class(vectors: np.ndarray, labels: np.ndarray) -> Iterator[np.ndarray]:
    """Yields for each query the sorted ranks, from 1, of the other images of its class.

    Images that are alone in their class are skipped.
    """
    labels = _checked(vectors, labels)
    for queries, distances in distances_to_others(vectors):
        for query, to_all in zip(queries, distances, strict=True):
            own = labels == labels[query]
            to_others = np.sort(to_all[~own])
            own[query] = False
            to_own = np.sort(to_all[own])
            if not len(to_own):
                continue
            if float(to_all.min()) >= LAST:
                yield np.full(len(to_own), NEVER)
                continue
            nearer = np.searchsorted(to_others, to_own, side="right")
            yield nearer + np.arange(1, len(to_own) + 1)


def nearest(vectors: np.ndarray, count: int) -> np.ndarray:
    """Returns the indices of each vector's nearest neighbours, nearest first, (n, count).

    Equally near ones are in the order of their indices.
    """
    blocks = (distances for _, distances in distances_to_others(vectors))
    return np.concatenate([np.argsort(d, axis=1, kind="stable")[:, :count] for d in blocks])


def most_similar(
    queries: np.ndarray, batches: Iterable[tuple[np.ndarray, np.ndarray]], count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the vectors with the largest cosine similarity to each query, largest first.

    One batch of vectors is in memory at a time. Equally similar ones are in the order in which they
    come.

    Args:
        queries: float32 of unit norm, (q, D).
        batches: numbers of vectors, (b,), and these vectors, (b, D).
        count: the number of vectors for each query; there may be fewer.

    Returns:
        The numbers of the vectors, (q, count), and their similarities, -1...1, (q, count).
    """
    numbers = np.empty((len(queries), 0), np.int64)
    similarities = np.empty((len(queries), 0), np.float32)
    for batch, vectors in batches:
        numbers = np.concatenate([numbers, np.broadcast_to(batch, (len(queries), len(batch)))], 1)
        similarities = np.concatenate([similarities, queries @ unit(vectors).T], axis=1)
        order = np.argsort(-similarities, axis=1, kind="stable")[:, :count]
        numbers = np.take_along_axis(numbers, order, axis=1)
        similarities = np.take_along_axis(similarities, order, axis=1)
    return numbers, np.clip(similarities, -1, 1)


def _checked(vectors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    labels = np.asarray(labels)
    if vectors.ndim != 2 or labels.shape != vectors.shape[:1]:
        raise ValueError(
            "`vectors` must have the shape (n, D) and `labels` the shape (n,). Received: "
            f"{vectors.shape}, {labels.shape}"
        )
    if labels.dtype.kind == "f" and not (labels == np.rint(labels)).all():
        raise ValueError(f"`labels` must be integers. Received: {labels}")
    return labels


def _average_precision(ranks: np.ndarray) -> float:
    """Returns the average precision at R of a query, from the `ranks` of the R relevant images."""
    precisions = np.arange(1, len(ranks) + 1) / ranks
    return float(precisions[ranks <= len(ranks)].sum() / len(ranks))


def _nmi(vectors: np.ndarray, labels: np.ndarray, seed: int) -> float:
    vectors, finite = centered(vectors)
    if not finite.any():
        return 0.0
    count = min(len(np.unique(labels)), int(finite.sum()))
    clusters = np.full(len(labels), -1)
    points = _reduce_dimensions(vectors if finite.all() else vectors[finite])
    clusters[finite] = KMeans(count, n_init=10, random_state=seed).fit_predict(points)
    return float(normalized_mutual_info_score(labels, clusters))


def _reduce_dimensions(centered: np.ndarray) -> np.ndarray:
    """Returns at most n coordinates with the same distances, because k-means is slow in many."""
    if centered.shape[1] <= len(centered):
        return centered
    values, axes = np.linalg.eigh((centered @ centered.T).astype(np.float64))
    return axes * np.sqrt(np.maximum(values, 0))
