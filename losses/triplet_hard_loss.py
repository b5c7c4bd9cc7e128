"""The triplet loss of each anchor's hardest positive and hardest negative."""

import keras
from keras import ops

from .arguments import boolean
from .pairwise import pairs
from .triplet_loss import TripletLoss, rescale_mean


@keras.saving.register_keras_serializable(package="fgvc")
class TripletHardLoss(TripletLoss):
    """Triplet loss with hard mining in the batch (Hermans et al. 2017, "batch hard").

    For each anchor a, p is the farthest sample of its class and n the nearest of another class:

        loss_a = max(d(a, p) - d(a, n) + margin, 0)    or, soft,    log(1 + exp(d(a, p) - d(a, n)))

    This is a drop-in replacement for TensorFlow Addons' class of this name. It computes distances
    in float64, so they stay accurate if all embeddings share an offset or some are duplicates. The
    soft margin does not overflow.

    Args:
        margin: Float, the margin. Not used with `soft=True`. Defaults to `1.0`.
        soft: Boolean, whether to use the soft margin. Defaults to `False`.
        distance_metric: `"L2"`, `"squared-L2"`, `"angular"` (1 - cosine), or a function from
            embeddings `(batch, dimensions)` to distances `(batch, batch)`. Defaults to `"L2"`.
        degenerate: The rule for an anchor without a positive or without a negative. `"skip"`
            excludes it from the mean; without any anchor, the loss is 0 with a zero gradient.
            `"original"` does as TensorFlow Addons: the anchor's smallest distance, which is that to
            itself, replaces a missing positive, and its largest a missing negative. Under both
            rules, the loss of an empty batch is 0. Defaults to `"skip"`.
        name: Optional name of the loss. Defaults to `"triplet_hard_loss"`.
        reduction: The reduction of the values of the anchors. The values are scaled so that their
            mean over the batch is the mean over the anchors that are not excluded. Defaults to
            `"sum_over_batch_size"`.

    Input shape:
        Integer labels `(batch,)` or `(batch, 1)`, below 2^24, and embeddings `(batch, dimensions)`.

    Output shape:
        A float32 scalar, or `(batch,)` with `reduction=None`.

    Example:

    >>> embeddings = np.array([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0], [0.0, 1.0]], "float32")
    >>> round(float(TripletHardLoss(margin=0.5)(np.array([0, 0, 1, 1]), embeddings)), 4)
    4.7991

    Raises:
        ValueError: If `margin` is not a finite number, `soft` is not a Boolean, `distance_metric`
            or `degenerate` is unknown, or an input has another shape. Outside of a graph, also if a
            label is not such an integer.
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
        self.soft = boolean(soft, "soft")

    def _values(self, distances, labels, dtype):
        distances = ops.cast(distances, dtype)
        positive, negative = pairs(labels)
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
        return rescale_mean(ops.where(counts, values, 0.0), number)

    def _margin_loss(self, difference):
        if self.soft:
            return ops.softplus(difference)
        return ops.relu(difference + self.margin)

    def get_config(self):
        return {**super().get_config(), "soft": self.soft}
