"""The triplet loss of every positive pair and its semi-hard negative."""

import keras
import numpy as np
from keras import ops

from .backend import widest_float
from .control_flow import cond, fori_loop
from .pairwise import pairs
from .triplet_loss import TripletLoss, rescale_mean

MAX_COMPARED_POSITIVES = 32  # up to this number, comparing all positives is faster than sorting


@keras.saving.register_keras_serializable(package="fgvc")
class TripletSemiHardLoss(TripletLoss):
    """Triplet loss with semi-hard mining in the batch (FaceNet, Schroff et al. 2015).

    For each pair (a, p) of a class, n is the nearest sample of another class that is farther from a
    than p, or the farthest of all if none is:

        loss = sum over (a, p) of max(d(a, p) - d(a, n) + margin, 0) / number of pairs (a, p)

    This is a drop-in replacement for TensorFlow Addons' class of this name, with O(B^2) memory
    instead of O(B^3). If every anchor has at most 32 positives, they are compared one after the
    other; otherwise the distances of each anchor are sorted, in O(B^2 log B) time.

    Args:
        margin: Float, the margin. Defaults to `1.0`.
        distance_metric: `"L2"`, `"squared-L2"`, `"angular"` (1 - cosine), or a function from
            embeddings `(batch, dimensions)` to distances `(batch, batch)`. Defaults to `"L2"`.
        degenerate: The rule for a batch without positives or without negatives. `"skip"` gives 0
            with a zero gradient. `"original"` does as TensorFlow Addons: NaN without positives, and
            the anchor's smallest distance, which is that to itself, in place of a missing negative.
            Under both rules, the loss of an empty batch is 0. Defaults to `"skip"`.
        name: Optional name of the loss. Defaults to `"triplet_semi_hard_loss"`.
        reduction: The reduction of the values of the anchors. An anchor's value is its sum over its
            positives, scaled so that the mean over the batch is the mean over all pairs. Defaults
            to `"sum_over_batch_size"`.

    Input shape:
        Integer labels `(batch,)` or `(batch, 1)`, below 2^24, and embeddings `(batch, dimensions)`.

    Output shape:
        A float32 scalar, or `(batch,)` with `reduction=None`.

    Example:

    >>> embeddings = np.array([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0], [0.0, 1.0]], "float32")
    >>> round(float(TripletSemiHardLoss(margin=0.5)(np.array([0, 0, 1, 1]), embeddings)), 4)
    1.4942

    Raises:
        ValueError: If `margin` is not a finite number, `distance_metric` or `degenerate` is
            unknown, or an input has another shape. Outside of a graph, also if a label is not such
            an integer.
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
        # The loss is linear in the distances. Mining chooses the weights, without a gradient.
        mined = ops.cast(ops.stop_gradient(distances), dtype)
        positive, negative = pairs(labels)
        positives = ops.sum(ops.cast(positive, "int32"), axis=1)  # the number for each anchor
        if self.degenerate == "skip":
            positives = ops.where(positives < ops.shape(labels)[0] - 1, positives, 0)
        weights, counts = cond(
            ops.max(positives) <= MAX_COMPARED_POSITIVES,
            lambda: _mine_by_comparing(mined, labels, negative, positives, self.margin),
            lambda: _mine_by_sorting(mined, positive, negative, self.margin),
        )
        linear = ops.sum(ops.cast(weights, distances.dtype) * distances, axis=1)
        values = linear + self.margin * ops.cast(counts, distances.dtype)
        total = ops.cast(ops.sum(positives), dtype)
        if self.degenerate == "skip":
            total = ops.maximum(total, 1.0)
        return rescale_mean(ops.cast(values, dtype), total)


# In the functions below, the entry of anchor a and sample b in a (B, B) matrix has the flat index
# a * B + b, at which `ops.take` without an axis reads. P is MAX_COMPARED_POSITIVES.


def _mine_by_comparing(distances, labels, negative, positives, margin):
    """Compare the k-th positive of all anchors with all their negatives, for each k.

    Returns:
        A matrix (B, B) that counts, over the triplets with a loss above 0, how often each distance
        is that of the positive, minus how often it is that of the negative; and the number (B,) of
        these triplets for each anchor.
    """
    partners = _partners(labels)
    offsets = _anchor_offsets(distances)
    positive_distances = ops.take(distances, offsets + partners)  # (B, P)
    negatives = ops.where(negative, distances, float("inf"))
    keys = _with_last_column(negatives, float("inf"))
    steps = ops.arange(MAX_COMPARED_POSITIVES, dtype="int32")

    def compare(step, chosen):
        threshold = ops.take(positive_distances, step, axis=1)[:, None]
        farther = ops.where(keys > threshold, keys, float("inf"))
        nearest = ops.cast(ops.argmin(farther, axis=1), "int32")[:, None]
        return ops.where(steps == step, nearest, chosen)

    # The labels' static shape may be known where that of the loop's result is not, so the start has
    # the shape of the distances.
    start = ops.zeros_like(positive_distances, dtype="int32")
    chosen = fori_loop(ops.max(positives), compare, start)
    # If no negative is farther, `argmin` chose a sample that is not a semi-hard negative.
    chosen_distances = ops.take(negatives, offsets + chosen)
    farther = chosen_distances > positive_distances
    is_semi_hard = ops.logical_and(farther, chosen_distances < float("inf"))
    chosen = ops.where(is_semi_hard, chosen, _farthest(distances, negative))
    counted = steps < positives[:, None]
    return _weights(distances, offsets + partners, offsets + chosen, counted, margin)


def _partners(labels):
    """Return other samples (B, P) of each sample's class. They repeat if there are fewer than P."""
    order = ops.cast(ops.argsort(labels), "int32")
    grouped = ops.take(labels, order)
    first = ops.cast(ops.searchsorted(grouped, labels), "int32")
    size = ops.cast(ops.searchsorted(grouped, labels, side="right"), "int32") - first
    place = ops.cast(ops.argsort(order), "int32")
    shifts = ops.arange(1, MAX_COMPARED_POSITIVES + 1, dtype="int32")
    shifted = (place - first)[:, None] + shifts
    return ops.take(order, first[:, None] + ops.mod(shifted, size[:, None]))


def _mine_by_sorting(distances, positive, negative, margin):
    """Return the same as `_mine_by_comparing`, by sorting the distances of each anchor."""
    offsets = _anchor_offsets(distances)
    keys = _negatives_first(distances, negative)
    # The flat indices of each anchor's samples, nearest first, and of its negatives alone.
    nearest = offsets + ops.cast(ops.argsort(keys, axis=1), "int32")
    is_negative = ops.cast(ops.take(negative, nearest), "int32")
    nearer = ops.cumsum(is_negative, axis=1)  # the number of negatives up to the k-th nearest
    negatives = _sum_flat(nearest * is_negative, offsets + ops.maximum(nearer - 1, 0))
    # The next negative after the k-th nearest sample is that sample's semi-hard negative.
    last = nearer[:, -1:] - 1
    chosen = ops.take(negatives, offsets + ops.maximum(ops.minimum(nearer, last), 0))
    chosen = ops.where(nearer <= last, chosen, offsets + _farthest(distances, negative))
    return _weights(distances, nearest, chosen, ops.take(positive, nearest), margin)


def _weights(distances, positives, negatives, counted, margin):
    """Return the same as `_mine_by_comparing`, for the flat indices of positives and negatives."""
    above = ops.take(distances, positives) - ops.take(distances, negatives) + margin > 0
    counts = ops.cast(ops.logical_and(counted, above), "int32")
    indices = ops.concatenate([positives, negatives], axis=1)
    weights = _sum_flat(ops.concatenate([counts, -counts], axis=1), indices)
    return weights, ops.sum(counts, axis=1)


def _farthest(distances, negative):
    """Return the index (B, 1) of each anchor's farthest negative, or else of its nearest sample."""
    keys = _with_last_column(ops.where(negative, distances, -distances), -float("inf"))
    return ops.cast(ops.argmax(keys, axis=1), "int32")[:, None]


def _with_last_column(matrix, value):
    """Return the matrix with another column, so that an empty batch has a smallest entry too."""
    return ops.pad(matrix, [[0, 0], [0, 1]], constant_values=value)


def _anchor_offsets(matrix):
    """Return the flat index (B, 1) of each anchor's first entry in a matrix (B, B)."""
    size = ops.shape(matrix)[0]
    return ops.arange(size, dtype="int32")[:, None] * size


def _negatives_first(distances, negative):
    """Return keys that sort by distance, and at equal distances put negatives first.

    The keys of other samples are raised by less than the resolution of float32 if there is a wider
    type, and otherwise by the smallest possible amount.
    """
    wide = widest_float()
    keys = ops.cast(distances, wide)
    limits = np.finfo(wide)
    narrow = keras.backend.standardize_dtype(distances.dtype) != wide
    step = 1e-10 if narrow else float(limits.eps)
    return ops.where(negative, keys, keys * (1.0 + step) + float(limits.tiny))


def _sum_flat(values, indices):
    """Return a matrix (B, B) with the sum of the values (B, N) at each flat index (B, N)."""
    size = ops.shape(values)[0]
    flat = ops.reshape(values, (-1,)), ops.reshape(indices, (-1,))
    return ops.reshape(ops.segment_sum(*flat, num_segments=size * size), (size, size))
