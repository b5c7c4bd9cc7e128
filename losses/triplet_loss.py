"""The base class of the triplet losses."""

import keras
from keras import ops

from .inputs import at_least_float32, check_embeddings, label_vector, require
from .pairwise import METRICS, pairwise_distances

RULES = ("skip", "original")


class TripletLoss(keras.losses.Loss):
    """Checks the inputs and computes the distances for a triplet loss.

    A subclass implements `_values(distances, labels, dtype)`, which returns a value for each
    anchor. The arguments are those of `TripletHardLoss` and `TripletSemiHardLoss`.
    """

    def __init__(self, margin, distance_metric, degenerate, name, reduction):
        super().__init__(name=name, reduction=reduction, dtype="float32")
        if isinstance(distance_metric, dict):  # a function in a saved model
            distance_metric = keras.saving.deserialize_keras_object(distance_metric)
        if not callable(distance_metric):
            requirement = f"`distance_metric` must be one of {METRICS}, or a function"
            require(distance_metric in METRICS, requirement, distance_metric)
        require(degenerate in RULES, f"`degenerate` must be one of {RULES}", degenerate)
        self.margin = margin
        self.distance_metric = distance_metric
        self.degenerate = degenerate

    def call(self, y_true, y_pred):
        x = at_least_float32(y_pred)
        check_embeddings(x.shape, self)
        labels = label_vector(y_true, self)
        return self._values(self._distances(x), labels, x.dtype)

    def _distances(self, x):
        if not callable(self.distance_metric):
            return pairwise_distances(x, self.distance_metric)
        distances = self.distance_metric(x)
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
