"""The base class of the triplet losses."""

import keras
from keras import ops

from .arguments import choice, finite
from .embedding_loss import EmbeddingLoss
from .inputs import at_least_float32, label_vector
from .pairwise import METRICS, pairwise_distances

RULES = ("skip", "original")


class TripletLoss(EmbeddingLoss):
    """Checks the labels and computes the distances for a triplet loss.

    A subclass implements `_values(distances, labels, dtype)`, which returns a value for each
    anchor. The arguments are those of `TripletHardLoss` and `TripletSemiHardLoss`.
    """

    def __init__(self, margin, distance_metric, degenerate, name, reduction):
        super().__init__(name, reduction)
        if isinstance(distance_metric, dict):  # a function in a saved model
            distance_metric = keras.saving.deserialize_keras_object(distance_metric)
        if not callable(distance_metric):
            choice(distance_metric, METRICS, "distance_metric", " or a function")
        self.margin = finite(margin, "margin")
        self.distance_metric = distance_metric
        self.degenerate = choice(degenerate, RULES, "degenerate")

    def _batch_values(self, y_true, x):
        labels = label_vector(y_true, x, self)
        return self._values(self._distances(x), labels, x.dtype)

    def _distances(self, x):
        if not callable(self.distance_metric):
            return pairwise_distances(x, self.distance_metric)
        distances = at_least_float32(self.distance_metric(x))
        size = x.shape[0]
        if len(distances.shape) != 2 or not {size, None}.issuperset(distances.shape):
            raise ValueError(
                "`distance_metric` must return distances of shape (batch, batch). Received: "
                f"shape={tuple(distances.shape)} for embeddings of shape={tuple(x.shape)}"
            )
        # Mining assumes that no distance is negative. A shift does not change the losses, which
        # depend on differences.
        return distances - ops.stop_gradient(ops.minimum(ops.min(distances), 0))

    def get_config(self):
        return {
            **super().get_config(),
            "margin": self.margin,
            "distance_metric": keras.saving.serialize_keras_object(self.distance_metric),
            "degenerate": self.degenerate,
        }


def rescale_mean(values, count):
    """Scale `values` (B,) so that their mean over the batch is their sum divided by `count`."""
    return values * (ops.cast(ops.shape(values)[0], values.dtype) / count)
