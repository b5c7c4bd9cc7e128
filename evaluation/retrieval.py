"""How well vectors find pictures of their own class: Recall@K, MAP@R, NMI.

Each picture asks for its nearest neighbours among all the others, by Euclidean distance, which for
vectors of unit norm ranks as the cosine does. Nothing is approximate, and of equally far pictures
those of other classes count as nearer: vectors that are all the same find nothing.
"""

from collections.abc import Iterator

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score

from errors import UserError

BLOCK = 512  # queries at a time: their distances to all pictures are what is in memory at once
RECALLS = (1, 2, 4, 8)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Each vector over its norm; a vector of zeros stays as it is."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1)


def retrieval_metrics(vectors: np.ndarray, labels: np.ndarray, seed: int) -> dict[str, float]:
    """Recall@1, 2, 4 and 8, MAP@R, NMI, and the number of pictures.

    Recall@K is the share of pictures with one of their class among their K nearest. MAP@R (Musgrave
    et al. 2020) is the mean, over pictures with R others of their class, of 1/R times the sum of
    the precisions at those of the first R places that are right. NMI is the mutual information of
    classes and as many k-means clusters, over the mean of their entropies. A picture that is alone
    in its class asks nothing, but is there to be found.

    Args:
        vectors: of shape (n, D).
        labels: classes, of shape (n,).
        seed: of k-means.

    Raises:
        UserError: no class has two pictures.
    """
    ranks = list(ranks_of_own_class(vectors, labels))
    if not ranks:
        raise UserError("no class has two pictures, so that one could find the other")
    recalls = {f"recall_at_{k}": float(np.mean([r[0] <= k for r in ranks])) for k in RECALLS}
    return {
        **recalls,
        "map_at_r": float(np.mean([_average_precision(r) for r in ranks])),
        "nmi": _nmi(vectors, labels, seed),
        "pictures": len(labels),
    }


def recall_at_1(vectors: np.ndarray, labels: np.ndarray) -> float:
    """The share of pictures whose nearest other one is of their class."""
    return float(np.mean([ranks[0] == 1 for ranks in ranks_of_own_class(vectors, labels)]))


def ranks_of_own_class(vectors: np.ndarray, labels: np.ndarray) -> Iterator[np.ndarray]:
    """For each picture that is not alone in its class: the places, from 1, at which the others of
    its class come among all others, sorted."""
    for queries, distances in _distances(vectors):
        for query, to_all in zip(queries, distances, strict=True):
            own = labels == labels[query]
            own[query] = False
            to_own = np.sort(to_all[own])
            if not len(to_own):
                continue
            nearer = np.searchsorted(np.sort(to_all), to_own, side="right")
            nearer_own = np.searchsorted(to_own, to_own, side="right")
            yield nearer - nearer_own + np.arange(1, len(to_own) + 1)


def nearest(vectors: np.ndarray, count: int) -> np.ndarray:
    """The positions of each vector's nearest others, the nearest first, (n, count)."""
    found = [
        np.argsort(distances, axis=1, kind="stable")[:, :count]
        for _, distances in _distances(vectors)
    ]
    return np.concatenate(found)


def _distances(vectors: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of queries, and their squared distances to all vectors but a constant of each query;
    that to itself is infinite."""
    centered = vectors - vectors.mean(axis=0)  # or a large common part would cost precision
    squares = np.einsum("nd,nd->n", centered, centered)
    for start in range(0, len(vectors), BLOCK):
        queries = np.arange(start, min(start + BLOCK, len(vectors)))
        distances = squares - 2 * centered[queries] @ centered.T
        distances[np.arange(len(queries)), queries] = np.inf
        yield queries, distances


def _average_precision(ranks: np.ndarray) -> float:
    """Of the ranks of all R others of a class: precision at each one's place, where within R."""
    precisions = np.arange(1, len(ranks) + 1) / ranks
    return float(precisions[ranks <= len(ranks)].sum() / len(ranks))


def _nmi(vectors: np.ndarray, labels: np.ndarray, seed: int) -> float:
    classes = len(np.unique(labels))
    points = _in_their_own_span(vectors)
    clusters = KMeans(classes, n_init=10, random_state=seed).fit_predict(points)
    return float(normalized_mutual_info_score(labels, clusters))


def _in_their_own_span(vectors: np.ndarray) -> np.ndarray:
    """The same distances in as few coordinates as vectors, where they have more: k-means is slow in
    many."""
    centered = vectors - vectors.mean(axis=0)
    if vectors.shape[1] <= len(vectors):
        return centered
    values, axes = np.linalg.eigh((centered @ centered.T).astype(np.float64))
    return axes * np.sqrt(np.maximum(values, 0))
