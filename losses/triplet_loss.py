"""What the two triplet losses have in common."""

import keras
from keras import ops

from . import pairwise


class TripletLoss(keras.losses.Loss):
    """Base of the triplet losses with online mining: checks, distances, pairs.

    Args: see the losses.
    """

    def __init__(self, margin, distance_metric, degenerate, name, reduction):
        super().__init__(name=name, reduction=reduction, dtype="float32")
        if not callable(distance_metric) and distance_metric not in pairwise.METRICS:
            raise ValueError(
                f"`distance_metric` must be one of {pairwise.METRICS}, or a function. "
                f"Received: {distance_metric!r}"
            )
        if degenerate not in pairwise.RULES:
            raise ValueError(
                f"`degenerate` must be one of {pairwise.RULES}. Received: {degenerate!r}"
            )
        self.margin = margin
        self.distance_metric = distance_metric
        self.degenerate = degenerate

    def call(self, y_true, y_pred):
        x = pairwise.at_least_float32(y_pred)
        pairwise.check_embeddings(x.shape, self)
        labels = pairwise.label_vector(y_true, self)
        return self._values(self._distances(x), labels, x.dtype)

    def _distances(self, x):
        if not callable(self.distance_metric):
            return pairwise.pairwise_distances(x, self.distance_metric)
        distances = self.distance_metric(x)
        # The losses are of differences, and mining takes it that nothing is below 0.
        return distances - ops.stop_gradient(ops.minimum(ops.min(distances), 0))

    def get_config(self):
        config = super().get_config()
        config.update(
            {
                "margin": self.margin,
                "distance_metric": keras.saving.serialize_keras_object(self.distance_metric),
                "degenerate": self.degenerate,
            }
        )
        return config

    @classmethod
    def from_config(cls, config):
        if "distance_metric" in config:
            metric = keras.saving.deserialize_keras_object(config["distance_metric"])
            config = {**config, "distance_metric": metric}
        return cls(**config)


def share_of(values, total):
    """`values` (B,) scaled so that their mean over the batch is their sum over `total`."""
    return values * (ops.cast(ops.shape(values)[0], values.dtype) / total)
