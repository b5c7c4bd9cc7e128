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
    size = ops.shape(distances)[0]
    rows = ops.expand_dims(ops.arange(size, dtype="int32"), 1) * size
    # Places in the flat matrix: of the samples of each row, the nearest first, ...
    nearest = rows + ops.cast(ops.argsort(_negatives_first(distances, negative), axis=1), "int32")
    is_negative = ops.cast(_taken(negative, nearest), "int32")
    # ... and of its negatives alone. So many of them are no farther than the k-th nearest sample:
    # the next one is its semi-hard negative, and the last one is where there is no next.
    nearer = ops.cumsum(is_negative, axis=1)
    last = nearer[:, -1:] - 1
    negatives = _summed(nearest * is_negative, rows + ops.maximum(nearer - 1, 0))
    chosen = _taken(negatives, rows + ops.maximum(ops.minimum(nearer, last), 0))
    chosen = ops.where(last >= 0, chosen, nearest[:, :1])
    above = _taken(distances, nearest) - _taken(distances, chosen) + margin > 0
    counts = ops.cast(ops.logical_and(_taken(positive, nearest), above), "int32")
    return _summed(counts, nearest), _summed(counts, chosen)


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
    """The entries (B, B) of a matrix (B, B) at places in its flat form."""
    return ops.take(ops.reshape(matrix, (-1,)), places, axis=0)


def _summed(values, places):
    """A matrix (B, B) with the sum of the values (B, B) that belong to each of its places."""
    size = ops.shape(values)[0]
    flat = ops.reshape(values, (-1,)), ops.reshape(places, (-1,))
    return ops.reshape(ops.segment_sum(*flat, num_segments=size * size), (size, size))
