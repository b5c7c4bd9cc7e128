"""What a stage minimises, and the figure that tells its best epoch."""

import dataclasses
from collections.abc import Callable

import keras

from conf.schema import HEADLINE, LossConfig, Task


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
    """

    loss: keras.losses.Loss
    metrics: tuple[keras.metrics.Metric, ...]
    monitor: str
    one_hot: bool = True
    validate: Callable[[keras.Model], dict[str, float]] | None = None


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
