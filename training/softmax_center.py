"""loss=softmax_center: softmax on the logits and center loss on the embeddings, together."""

import keras

from conf.schema import Config, Loss
from errors import UserError
from losses import CenterLoss
from models.classifier import Classifier
from training.distributed.global_batch import GlobalBatchModel, all_gather, outputs_of, replicas


class SoftmaxCenterModel(GlobalBatchModel):
    """A model with logits and embeddings, trained on softmax + `weight` x center loss.

    Both terms have a curve of their own: "softmax_loss" and "center_loss".

    Args:
        network: from a sample to [logits, embeddings].
        center_loss: built; its centers go on from where they are.
        weight: of the center loss.
    """

    def __init__(self, network: keras.Model, center_loss: CenterLoss, weight: float):
        super().__init__()
        self.network, self.center_loss, self.weight = network, center_loss, weight
        self.softmax_term = keras.metrics.Mean(name="softmax_loss")
        self.center_term = keras.metrics.Mean(name="center_loss")
        center_loss.reset_accumulation()  # an earlier stage may have stopped between two steps
        self.built = True

    def call(self, inputs, training=None):
        return outputs_of(self.network, inputs, training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        logits, embeddings = y_pred
        softmax = super().compute_loss(x, y, logits, sample_weight, training)
        labels = keras.ops.argmax(y, axis=-1)
        alone = replicas() == 1
        all_embeddings, all_labels = all_gather([embeddings, labels])
        center = self.center_loss(all_embeddings, all_labels, training=training and alone)
        center = keras.ops.mean(center) / replicas()  # as Keras scales a loss that replicas share
        if training and not alone:  # each brings its part of what moves the centers
            self.center_loss(embeddings, labels, training=True)
        size = keras.ops.shape(y)[0]
        self.softmax_term.update_state(softmax * replicas(), sample_weight=size)
        self.center_term.update_state(center * replicas(), sample_weight=size)
        return softmax + self.weight * center

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return super().compute_metrics(x, y, y_pred[0], sample_weight)


def build_center_loss(config: Config, classifier: Classifier) -> CenterLoss | None:
    """The centers of a run, which all its stages share; None unless `loss=softmax_center`.

    Raises:
        UserError: there is no embedding to have centers.
    """
    if config.loss.name is not Loss.softmax_center:
        return None
    if config.head.embedding is None:
        raise UserError(
            "loss=softmax_center: needs head.embedding, the size of the layer whose outputs have "
            "centers, for example head.embedding=64"
        )
    center_loss = CenterLoss(
        classifier.linear.output.shape[-1],
        config.loss.center_rule.value,
        config.loss.center_alpha,
        config.loss.center_normalization.value,
        config.optimizer.accumulation_steps,
        name="center_loss",
    )
    center_loss.build((None, config.head.embedding))
    return center_loss
