"""loss=softmax_center: softmax loss of the logits plus weighted center loss of the embeddings."""

import keras

from conf.schema import Config, Loss
from losses import CenterLoss
from training.distributed.global_batch import GlobalBatchModel, all_gather, replicas


class SoftmaxCenterModel(GlobalBatchModel):
    """A model with logits and embeddings, trained on softmax loss + `weight` x center loss.

    Each term has its own curve: "softmax_loss" and "center_loss".

    Args:
        network: a model from samples to [logits, embeddings].
        center_loss: a built layer; its centers keep their values.
        weight: weight of the center loss.
    """

    def __init__(self, network: keras.Model, center_loss: CenterLoss, weight: float):
        super().__init__(network)
        self.center_loss, self.weight = center_loss, weight
        self.softmax_term = keras.metrics.Mean(name="softmax_loss")
        self.center_term = keras.metrics.Mean(name="center_loss")
        center_loss.reset_accumulation()  # an earlier stage may have ended between two steps

    def checkpointed(self) -> keras.Model:
        return self  # with the centers

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        logits, embeddings = y_pred
        softmax = super().compute_loss(x, y, logits, sample_weight, training)
        labels = keras.ops.argmax(y, axis=-1)
        alone = replicas() == 1
        all_embeddings, all_labels = all_gather([embeddings, labels])
        center = self.center_loss(all_embeddings, all_labels, training=training and alone)
        center = keras.ops.mean(center) / replicas()  # Keras sums the losses of the replicas
        if training and not alone:  # each replica adds its part to the update of the centers
            self.center_loss(embeddings, labels, training=True)
        size = keras.ops.shape(y)[0]
        self.softmax_term.update_state(softmax * replicas(), sample_weight=size)
        self.center_term.update_state(center * replicas(), sample_weight=size)
        return softmax + self.weight * center

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return super().compute_metrics(x, y, y_pred[0], sample_weight)


def build_center_loss(config: Config, classes: int) -> CenterLoss | None:
    """Builds the centers of a run, which its stages share; `None` unless `loss=softmax_center`."""
    if config.loss.name is not Loss.softmax_center:
        return None
    center_loss = CenterLoss(
        classes,
        config.loss.center_rule.value,
        config.loss.center_alpha,
        config.loss.center_normalization.value,
        config.optimizer.accumulation_steps,
        name="center_loss",
    )
    center_loss.build((None, config.head.embedding))
    return center_loss
