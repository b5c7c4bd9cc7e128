"""The triplet loss of every positive pair and a negative that is barely farther."""

import keras
import numpy as np
from keras import ops

from . import pairwise
from .triplet_loss import TripletLoss, share_of


@keras.saving.register_keras_serializable(package="fgvc")
class TripletSemiHardLoss(TripletLoss):
    """Triplet loss with semi-hard mining in the batch (FaceNet, Schroff et al. 2015).

    For each pair (a, p) of a class, n is the nearest sample of another class that is farther from a
    than p is, or, where none is, the farthest of all:

        loss = sum over (a, p) of max(d(a, p) - d(a, n) + margin, 0) / number of pairs (a, p)

    Drop-in for TensorFlow Addons' class of this name. That compares every pair with every sample,
    in O(B^3) memory; here each row of distances is sorted, in O(B^2) memory and O(B^2 log B) time.

    Args:
        margin: Float, the margin. Defaults to `1.0`.
        distance_metric: `"L2"`, `"squared-L2"` or `"angular"` (1 - cosine). Defaults to `"L2"`.
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
    >>> float(TripletSemiHardLoss(margin=0.5)(np.array([0, 0, 1, 1]), embeddings).numpy().round(4))
    0.7744

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

    def _values(self, distances, positive, negative):
        if self.degenerate == "skip":
            positive = ops.logical_and(positive, ops.any(negative, axis=1, keepdims=True))
        # The loss is linear in the distances, with weights that mining chooses and that have no
        # gradient of their own: none flows back through sorting.
        mined = ops.stop_gradient(distances)
        positives, negatives = _mined_weights(mined, positive, negative, self.margin)
        wide = pairwise.wide_dtype()  # a sum of differences cancels
        linear = ops.sum(
            ops.cast(positives - negatives, wide) * ops.cast(distances, wide), axis=1
        )
        values = linear + self.margin * ops.cast(ops.sum(positives, axis=1), wide)
        number = ops.cast(ops.sum(ops.cast(positive, "int32")), distances.dtype)
        if self.degenerate == "skip":
            number = ops.maximum(number, 1.0)
        return share_of(ops.cast(values, distances.dtype), number)


def _mined_weights(distances, positive, negative, margin):
    """How often each distance (B, B) is, in a triplet above 0, that of the positive, and that of
    the negative: two integer matrices (B, B)."""
    order = ops.argsort(_negatives_first(distances, negative), axis=1)
    negatives = ops.argsort(ops.where(negative, distances, float("inf")), axis=1)
    in_order = [ops.take_along_axis(x, order, axis=1) for x in (distances, positive, negative)]
    distance, is_positive, is_negative = in_order
    # So many negatives are no farther than the k-th nearest sample: the next one is its semi-hard
    # negative, and the last one is where there is no next.
    nearer = ops.cumsum(ops.cast(is_negative, "int32"), axis=1)
    last = nearer[:, -1:] - 1
    chosen = ops.take_along_axis(negatives, ops.maximum(ops.minimum(nearer, last), 0), axis=1)
    chosen = ops.where(last >= 0, chosen, order[:, :1])
    difference = distance - ops.take_along_axis(distances, chosen, axis=1)
    counts = ops.cast(ops.logical_and(is_positive, difference + margin > 0), "int32")
    return _counts_at(order, counts), _counts_at(chosen, counts)


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


def _counts_at(columns, counts):
    """Sums counts (B, B) at the columns (B, B) of their row."""
    size = ops.shape(columns)[0]
    rows = ops.expand_dims(ops.arange(size, dtype="int32"), 1)
    flat = ops.reshape(rows * size + ops.cast(columns, "int32"), (-1,))
    sums = ops.segment_sum(ops.reshape(counts, (-1,)), flat, num_segments=size * size)
    return ops.reshape(sums, (size, size))
