"""The loss of a stage, its metrics, and the metric that selects its best epoch."""

import dataclasses
from collections.abc import Callable

import keras

from conf.schema import PRIMARY_METRIC, Loss, LossConfig, Task
from losses import CompactnessLoss, TripletHardLoss, TripletSemiHardLoss


@dataclasses.dataclass(frozen=True)
class Objective:
    """A loss and its metrics.

    Attributes:
        loss: of labels and outputs of the stage's model; one for each output.
        metrics: computed on the training and the validation split; one list for each output, if
            there are several.
        monitor: name of the metric whose largest validation value selects the epoch.
        one_hot: whether labels are one-hot vectors instead of integers.
        validate: computes validation metrics that are not means over batches, from the stage's
            model. Default: `loss` and `metrics` are computed on the validation split.
        weights: factors on the losses, if there are several.
        global_batch: whether loss and metrics see the whole batch. If not, each replica computes
            them for its part, which changes a loss that compares samples.
    """

    loss: keras.losses.Loss | list[keras.losses.Loss]
    metrics: tuple[keras.metrics.Metric, ...] | tuple[list[keras.metrics.Metric], ...]
    monitor: str
    one_hot: bool = True
    validate: Callable[[keras.Model], dict[str, float]] | None = None
    weights: tuple[float, ...] | None = None
    global_batch: bool = True


def classification_objective(config: LossConfig, classes: int) -> Objective:
    """Cross-entropy of one-hot labels and logits; the most accurate epoch is selected."""
    return Objective(
        keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=config.label_smoothing
        ),
        (
            keras.metrics.CategoricalAccuracy(name="accuracy"),
            keras.metrics.TopKCategoricalAccuracy(k=min(5, classes), name="top5_accuracy"),
        ),
        PRIMARY_METRIC[Task.classification],
    )


def compactness_objective(config: LossConfig, classes: int) -> Objective:
    """Cross-entropy of the first stream's one-hot labels and logits, plus
    `config.compactness_weight` times the compactness of the second stream's features."""
    descriptive = classification_objective(config, classes)
    return Objective(
        [descriptive.loss, CompactnessLoss()],
        (list(descriptive.metrics), []),
        PRIMARY_METRIC[Task.one_class],
        weights=(1.0, config.compactness_weight),
    )


def metric_objective(
    config: LossConfig, validate: Callable[[keras.Model], dict[str, float]]
) -> Objective:
    """A triplet loss of integer labels and embeddings; the epoch of the best retrieval is selected.

    Args:
        config: reads `name`, `margin`, `soft`, `distance_metric` and `global_mining`.
        validate: computes retrieval metrics of the validation split.
    """
    options = {"margin": config.margin, "distance_metric": config.distance_metric.value}
    hard = config.name is Loss.triplet_hard
    loss = TripletHardLoss(soft=config.soft, **options) if hard else TripletSemiHardLoss(**options)
    return Objective(
        loss,
        (),
        PRIMARY_METRIC[Task.metric_learning],
        one_hot=False,
        validate=validate,
        global_batch=config.global_mining,
    )
