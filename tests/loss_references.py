"""Reference losses as plain loops in float64 NumPy."""

import numpy as np


def distance(a, b, metric):
    """Return the distance of two vectors, rounded to float32, as the losses compare distances."""
    a, b = np.asarray(a, "float64"), np.asarray(b, "float64")
    if metric == "angular":
        norms = [np.linalg.norm(v) or 1.0 for v in (a, b)]
        cosine = a @ b / norms[0] / norms[1]
        return np.float64(np.float32(0.0 if cosine > 1 - 1e-14 else 1 - cosine))
    squared = np.sum((a - b) ** 2)
    return np.float64(np.float32(squared if metric == "squared-L2" else np.sqrt(squared)))


def triplet_hard(labels, x, margin=1.0, soft=False, metric="L2"):
    """Return the mean over the anchors that have a positive and a negative; 0 without any."""
    values = []
    for a in range(len(x)):
        positives, negatives = _others(labels, x, a, metric)
        if positives and negatives:
            difference = max(positives) - min(negatives)
            values.append(np.logaddexp(0, difference) if soft else max(difference + margin, 0))
    return np.mean(values) if values else 0.0


def triplet_semi_hard(labels, x, margin=1.0, metric="L2"):
    """Return the mean over the positive pairs whose anchor has a negative; 0 without any."""
    values = []
    for a in range(len(x)):
        positives, negatives = _others(labels, x, a, metric)
        for d in positives if negatives else ():
            farther = [n for n in negatives if n > d]
            chosen = min(farther) if farther else max(negatives)
            values.append(max(d - chosen + margin, 0))
    return np.mean(values) if values else 0.0


def _others(labels, x, a, metric):
    """Return the distances of sample `a` from the others of its class, and from the rest."""
    others = [
        (labels[i] == labels[a], distance(x[a], x[i], metric)) for i in range(len(x)) if i != a
    ]
    return [d for same, d in others if same], [d for same, d in others if not same]


def compactness(x):
    """Compare each sample with the mean of the others, one by one."""
    x = np.asarray(x, "float64")
    others = [np.delete(x, i, axis=0).mean(axis=0) for i in range(len(x))]
    return np.sum((x - others) ** 2) / x.size
