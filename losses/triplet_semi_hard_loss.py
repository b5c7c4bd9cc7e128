"""The triplet loss of every positive pair and a negative that is barely farther."""

import keras
import numpy as np
from keras import ops

from . import pairwise
from .triplet_loss import TripletLoss, share_of

FEW = 32  # positives of an anchor up to which comparing them all is faster than sorting


@keras.saving.register_keras_serializable(package="fgvc")
class TripletSemiHardLoss(TripletLoss):
    """Triplet loss with semi-hard mining in the batch (FaceNet, Schroff et al. 2015).

    For each pair (a, p) of a class, n is the nearest sample of another class that is farther from a
    than p is, or, where none is, the farthest of all:

        loss = sum over (a, p) of max(d(a, p) - d(a, n) + margin, 0) / number of pairs (a, p)

    Drop-in for TensorFlow Addons' class of this name. That compares every pair with every sample at
    once, in O(B^3) memory; here in O(B^2). Where classes are small, as in a balanced batch, one
    positive of every anchor is compared after the other; else each row of distances is sorted, in
    O(B^2 log B) time.

    Args:
        margin: Float, the margin. Defaults to `1.0`.
        distance_metric: `"L2"`, `"squared-L2"`, `"angular"` (1 - cosine), or a function from
            embeddings `(batch, dimensions)` to distances `(batch, batch)`. Defaults to `"L2"`.
        degenerate: what a batch without positives or negatives gives. `"skip"`: 0 with a zero
            gradient. `"original"`: as TensorFlow Addons has it, NaN without positives; without
            negatives the row's smallest distance (that to itself, 0). Defaults to `"skip"`.
        name: Optional name of the loss.
        reduction: of the anchors' values. An anchor's value is its sum over its positives, scaled
            so that the mean over the batch is the mean over pairs. Defaults to
            `"sum_over_batch_size"`.

    Input shape:
        Integer labels `(batch,)` or `(batch, 1)`, below 2^24, and embeddings `(batch, dimensions)`.

    Output shape:
        A number in float32, or `(batch,)` with `reduction=None`.

    Example:

    >>> embeddings = np.array([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0], [0.0, 1.0]], "float32")
    >>> round(float(TripletSemiHardLoss(margin=0.5)(np.array([0, 0, 1, 1]), embeddings)), 4)
    1.4942

    Raises:
        ValueError: an unknown `distance_metric` or `degenerate`, or inputs of another shape.
    """

    def __init__(
        self,
        margin=1.0,
        distance_metric="L2",
        degenerate="skip",
        name="triplet_semi_hard_loss",
        reduction="sum_over_batch_size",
    ):
        super().__init__(margin, distance_metric, degenerate, name, reduction)

    def _values(self, distances, labels, dtype):
        # The loss is linear in the distances, with weights that mining chooses and that have no
        # gradient of their own: none flows back through it.
        mined = ops.cast(ops.stop_gradient(distances), dtype)
        positive, negative = pairwise.pairs(labels)
        number = ops.sum(ops.cast(positive, "int32"), axis=1)  # of positives of each anchor
        if self.degenerate == "skip":
            number = ops.where(number < ops.shape(labels)[0] - 1, number, 0)
        weights, counts = pairwise.either(
            ops.max(number) <= FEW,
            lambda: _compared(mined, labels, negative, number, self.margin),
            lambda: _sorted(mined, positive, negative, self.margin),
        )
        linear = ops.sum(ops.cast(weights, distances.dtype) * distances, axis=1)
        values = linear + self.margin * ops.cast(counts, distances.dtype)
        total = ops.cast(ops.sum(number), dtype)
        if self.degenerate == "skip":
            total = ops.maximum(total, 1.0)
        return share_of(ops.cast(values, dtype), total)


def _compared(distances, labels, negative, number, margin):
    """The weights by comparing the positives of all anchors with their negatives, in turn.

    Returns:
        How often each distance (B, B) is, in a triplet above 0, that of the positive, minus how
        often that of the negative; and the triplets above 0 of each anchor (B,).
    """
    partners = _partners(labels)
    rows = _row_starts(distances)
    nearest = _taken(distances, rows + partners)  # (B, FEW)
    negatives = ops.where(negative, distances, float("inf"))
    steps = ops.arange(FEW, dtype="int32")

    def compare(chosen, step):
        nearer = ops.take(nearest, step, axis=1)[:, None]
        farther = ops.where(negatives > nearer, negatives, float("inf"))
        found = ops.cast(ops.argmin(farther, axis=1), "int32")[:, None]
        return ops.where(steps == step, found, chosen)

    # The distances' shape: the labels' static one may be known where the loop's is not.
    start = ops.zeros_like(nearest, dtype="int32")
    chosen = pairwise.repeated(ops.max(number), compare, start)
    # Where no negative is farther, what was found is none of them, or one that is not.
    found = _taken(negatives, rows + chosen)
    found = ops.logical_and(found > nearest, found < float("inf"))
    chosen = ops.where(found, chosen, _farthest(distances, negative))
    counted = steps < number[:, None]
    return _weights(distances, rows + partners, rows + chosen, counted, margin)


def _partners(labels):
    """Of each sample (B, FEW) others of its class, in turn; they repeat where there are fewer."""
    order = ops.cast(ops.argsort(labels), "int32")
    grouped = ops.take(labels, order)
    first = ops.cast(ops.searchsorted(grouped, labels), "int32")
    size = ops.cast(ops.searchsorted(grouped, labels, side="right"), "int32") - first
    place = ops.cast(ops.argsort(order), "int32")
    shifts = ops.arange(1, FEW + 1, dtype="int32")
    shifted = (place - first)[:, None] + shifts
    return ops.take(order, first[:, None] + ops.mod(shifted, size[:, None]))


def _sorted(distances, positive, negative, margin):
    """What `_compared` returns, by sorting each row."""
    rows = _row_starts(distances)
    # Places in the flat matrix: of the samples of each row, the nearest first, ...
    nearest = rows + ops.cast(ops.argsort(_negatives_first(distances, negative), axis=1), "int32")
    is_negative = ops.cast(_taken(negative, nearest), "int32")
    # ... and of its negatives alone. So many of them are no farther than the k-th nearest sample:
    # the next one is its semi-hard negative.
    nearer = ops.cumsum(is_negative, axis=1)
    negatives = _summed(nearest * is_negative, rows + ops.maximum(nearer - 1, 0))
    last = nearer[:, -1:] - 1
    chosen = _taken(negatives, rows + ops.maximum(ops.minimum(nearer, last), 0))
    chosen = ops.where(nearer <= last, chosen, rows + _farthest(distances, negative))
    return _weights(distances, nearest, chosen, _taken(positive, nearest), margin)


def _weights(distances, positives, negatives, counted, margin):
    """What `_compared` returns, for triplets by the places of their positives and negatives."""
    above = _taken(distances, positives) - _taken(distances, negatives) + margin > 0
    counts = ops.cast(ops.logical_and(counted, above), "int32")
    weights = _summed(
        ops.concatenate([counts, -counts], axis=1), ops.concatenate([positives, negatives], axis=1)
    )
    return weights, ops.sum(counts, axis=1)


def _farthest(distances, negative):
    """The column (B, 1) of each row's farthest negative, or without any of its smallest."""
    keys = ops.where(negative, distances, -distances)
    return ops.cast(ops.argmax(keys, axis=1), "int32")[:, None]


def _row_starts(matrix):
    """The places (B, 1) in the flat form of a matrix (B, B) at which its rows begin."""
    size = ops.shape(matrix)[0]
    return ops.arange(size, dtype="int32")[:, None] * size


def _negatives_first(distances, negative):
    """Keys that sort by distance, and among equal distances the negatives before the others.

    Others are raised by less than float32 resolves, where there is a wider type to do it in, or
    else by the least that can be told.
    """
    wide = pairwise.wide_dtype()
    keys = ops.cast(distances, wide)
    limits = np.finfo(wide)
    narrow = keras.backend.standardize_dtype(distances.dtype) != wide
    step = 1e-10 if narrow else float(limits.eps)
    return ops.where(negative, keys, keys * (1.0 + step) + float(limits.tiny))


def _taken(matrix, places):
    """The entries of a matrix (B, B) at places (B, N) in its flat form."""
    return ops.take(ops.reshape(matrix, (-1,)), places, axis=0)


def _summed(values, places):
    """A matrix (B, B) with the sum of the values (B, N) that belong to each of its places."""
    size = ops.shape(values)[0]
    flat = ops.reshape(values, (-1,)), ops.reshape(places, (-1,))
    return ops.reshape(ops.segment_sum(*flat, num_segments=size * size), (size, size))
