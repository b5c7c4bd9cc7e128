"""What a stage minimises, and the figure that tells its best epoch."""

import dataclasses
from collections.abc import Callable

import keras

from conf.schema import HEADLINE, LossConfig, Task
from losses import CompactnessLoss


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
    """

    loss: keras.losses.Loss | list[keras.losses.Loss]
    metrics: tuple[keras.metrics.Metric, ...] | tuple[list[keras.metrics.Metric], ...]
    monitor: str
    one_hot: bool = True
    validate: Callable[[keras.Model], dict[str, float]] | None = None
    weights: tuple[float, ...] | None = None


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
        HEADLINE[Task.classification],
    )


def compactness_objective(config: LossConfig, classes: int) -> Objective:
    """Cross-entropy of the first stream's one-hot labels and logits, plus weighted compactness of
    the second's features."""
    descriptive = classification_objective(config, classes)
    return Objective(
        [descriptive.loss, CompactnessLoss()],
        (list(descriptive.metrics), []),
        HEADLINE[Task.one_class],
        weights=(1.0, config.compactness_weight),
    )
