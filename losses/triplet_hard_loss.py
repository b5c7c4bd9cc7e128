"""The triplet loss of each anchor's hardest positive and hardest negative."""

import keras
from keras import ops

from . import pairwise
from .triplet_loss import TripletLoss, share_of


@keras.saving.register_keras_serializable(package="fgvc")
class TripletHardLoss(TripletLoss):
    """Triplet loss with hard mining in the batch (Hermans et al. 2017, "batch hard").

    For each anchor a, with the farthest p of its class and the nearest n of another:

        loss_a = max(d(a, p) - d(a, n) + margin, 0)    or, soft,    log(1 + exp(d(a, p) - d(a, n)))

    Drop-in for TensorFlow Addons' class of this name, in float64 inside, so that neither an offset
    that all embeddings share nor duplicates spoil the distances, and without its overflow.

    Args:
        margin: Float, the margin; not used where `soft`. Defaults to `1.0`.
        soft: Boolean, whether to use the soft margin. Defaults to `False`.
        distance_metric: `"L2"`, `"squared-L2"`, `"angular"` (1 - cosine), or a function from
            embeddings `(batch, dimensions)` to distances `(batch, batch)`. Defaults to `"L2"`.
        degenerate: what an anchor without a positive or without a negative counts. `"skip"`: it is
            left out, and the mean is over the others; 0 with a zero gradient where none is left.
            `"original"`: as TensorFlow Addons has it, with its row's smallest distance for a
            positive (that to itself, 0) and its largest for a negative. Defaults to `"skip"`.
        name: Optional name of the loss.
        reduction: of the anchors' values. The values are scaled so that their mean over the batch
            is the mean over the anchors that count. Defaults to `"sum_over_batch_size"`.

    Input shape:
        Integer labels `(batch,)` or `(batch, 1)`, below 2^24, and embeddings `(batch, dimensions)`.

    Output shape:
        A number in float32, or `(batch,)` with `reduction=None`.

    Example:

    >>> embeddings = np.array([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0], [0.0, 1.0]], "float32")
    >>> round(float(TripletHardLoss(margin=0.5)(np.array([0, 0, 1, 1]), embeddings)), 4)
    4.7991

    Raises:
        ValueError: an unknown `distance_metric` or `degenerate`, or inputs of another shape.
    """

    def __init__(
        self,
        margin=1.0,
        soft=False,
        distance_metric="L2",
        degenerate="skip",
        name="triplet_hard_loss",
        reduction="sum_over_batch_size",
    ):
        super().__init__(margin, distance_metric, degenerate, name, reduction)
        self.soft = soft

    def _values(self, distances, labels, dtype):
        distances = ops.cast(distances, dtype)
        positive, negative = pairwise.pairs(labels)
        has_positive = ops.any(positive, axis=1)
        has_negative = ops.any(negative, axis=1)
        farthest = ops.max(ops.where(positive, distances, -1.0), axis=1)
        nearest = ops.min(ops.where(negative, distances, float("inf")), axis=1)
        if self.degenerate == "original":
            farthest = ops.where(has_positive, farthest, ops.min(distances, axis=1))
            nearest = ops.where(has_negative, nearest, ops.max(distances, axis=1))
            return self._margin_loss(farthest - nearest)
        counts = ops.logical_and(has_positive, has_negative)
        values = self._margin_loss(ops.where(counts, farthest - nearest, 0.0))
        number = ops.maximum(ops.sum(ops.cast(counts, values.dtype)), 1.0)
        return share_of(ops.where(counts, values, 0.0), number)

    def _margin_loss(self, difference):
        if self.soft:
            return ops.softplus(difference)
        return ops.relu(difference + self.margin)

    def get_config(self):
        return {**super().get_config(), "soft": self.soft}
