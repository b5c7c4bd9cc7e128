"""What a stage minimises, and the figure that tells its best epoch."""

import dataclasses
from collections.abc import Callable

import keras

from conf.schema import PRIMARY_METRIC, Loss, LossConfig, Task
from losses import CompactnessLoss, TripletHardLoss, TripletSemiHardLoss


@dataclasses.dataclass(frozen=True)
class Objective:
    """A loss, the curves beside it, and the one that matters.

    Attributes:
        loss: of (labels, outputs of the stage's model).
        metrics: curves of both splits.
        monitor: the curve, larger is better, whose best validation value tells the epoch to keep.
        one_hot: labels as vectors; else as integers.
        validate: validation's curves, from the stage's model, where they are no means over batches;
            by default those of the loss and the metrics.
        weights: of the losses, where there is one for each of several outputs.
        global_batch: each replica compares all samples of a batch; else only those of its part.
    """

    loss: keras.losses.Loss | list[keras.losses.Loss]
    metrics: tuple[keras.metrics.Metric, ...] | tuple[list[keras.metrics.Metric], ...]
    monitor: str
    one_hot: bool = True
    validate: Callable[[keras.Model], dict[str, float]] | None = None
    weights: tuple[float, ...] | None = None
    global_batch: bool = True


def classification_objective(config: LossConfig, classes: int) -> Objective:
    """Cross-entropy of one-hot labels and logits; the best epoch is the most accurate one."""
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
    """Cross-entropy of the first stream's one-hot labels and logits, plus weighted compactness of
    the second's features."""
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
    """A triplet loss of integer labels and embeddings; the epoch that finds best is the best.

    Args:
        config: `name`, `margin`, `soft`, `distance_metric` and `global_mining`.
        validate: retrieval figures of the validation split.
    """
    options = {"margin": config.margin, "distance_metric": config.distance_metric.value}
    if config.name is Loss.triplet_hard:
        loss = TripletHardLoss(soft=config.soft, **options)
    else:
        loss = TripletSemiHardLoss(**options)
    return Objective(
        loss,
        (),
        PRIMARY_METRIC[Task.metric_learning],
        one_hot=False,
        validate=validate,
        global_batch=config.global_mining,
    )
